"""A transcript as a notebook shows it: a table of what was said, with a player."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from avsr.base.errors import AvsrError
from avsr.base.pages import templates
from avsr.decoding.words import Word
from avsr.transcribing.captions.colours import LIKELY, ramp
from avsr.transcribing.explain.film import film

TEMPLATE = "notebook.html.j2"
LONGEST_S = 120.0  # of a recording that goes into the notebook itself; a longer one is linked to


class Segment(Protocol):
    """As `Transcript` has it."""

    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def speaker(self) -> str | None: ...
    @property
    def words(self) -> Sequence[Word]: ...


def table(
    file: str, duration_s: float, segments: Sequence[Segment], warnings: Sequence[str]
) -> str:
    """A table with a row for each segment, above it the recording; a click on a word plays it.

    Args:
        file: the recording; without one that can be read there is no player.
        duration_s: of the recording.
        segments: of its transcript.
        warnings: of its transcript.

    Returns:
        HTML that stands for itself; the recording is in it if it lasts up to LONGEST_S.
    """
    environment = templates(Path(__file__).parent)
    environment.globals |= {"ramp": ramp, "doubtful": LIKELY}
    source = _player(Path(file), duration_s)
    return environment.get_template(TEMPLATE).render(
        source=source,
        is_sound=source.startswith("data:audio"),
        segments=segments,
        warnings=warnings,
        with_speakers=any(segment.speaker for segment in segments),
    )


def _player(path: Path, duration_s: float) -> str:
    """What a player plays; empty where there is nothing."""
    if not path.is_file():
        return ""
    if duration_s > LONGEST_S:  # notebooks serve what lies beside them
        return "" if path.is_absolute() else path.as_posix()
    try:
        found = path.stat()
        return _film(path, found.st_mtime_ns, found.st_size)
    except (AvsrError, OSError):
        return ""


@lru_cache(maxsize=8)
def _film(path: Path, changed: int, size: int) -> str:
    """A notebook shows the same transcript often."""
    return film(path, LONGEST_S)
