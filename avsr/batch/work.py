"""Recordings to transcripts, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.console import Bar, note
from avsr.base.errors import AvsrError
from avsr.batch.asked import Asked
from avsr.batch.delivery import Delivery

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.reader import ClipReader
    from avsr.recognisers.base import Recogniser
    from avsr.transcribing.transcript import Transcript

Outcome = tuple[Path, "Transcript | Exception"]
"""A recording with its transcript, or the error that it ended in."""


def transcribed(
    asked: Asked, files: Sequence[Path], finish: Delivery, bar: Bar
) -> Iterator[Outcome]:
    """Each recording with what came of it, in their order; the bar says how far they all are.
    Where there is none, nothing is loaded.

    Raises:
        AvsrError: no recogniser, or one that cannot do what is asked.
    """
    if not files:
        return
    with ExitStack() as stack:
        # reads on while the model is loaded
        begun = _begun(asked, files[0], finish.partial(files[0]))
        if begun is not None:
            stack.enter_context(begun)
        recogniser, mark = asked.recogniser()
        stack.pop_all()  # closed by the call that it is given to
    note(f"model {recogniser.name} on {recogniser.device}")
    options = asked.options | {"reader": begun}
    if finish.folders:
        options["partial"] = partial(finish.partial, asked=mark)
    for file, found in _told(recogniser, files, bar, options):
        yield file, _finished(file, found, recogniser, finish, bar)


def _finished(
    file: Path,
    found: Transcript | Exception,
    recogniser: Recogniser,
    finish: Delivery,
    bar: Bar,
) -> Transcript | Exception:
    """The transcript, or the error that finishing ended in."""
    if isinstance(found, Exception):
        finish.failed(file, found)
        return found
    try:
        with bar.aside():
            finish(file, found, recogniser)
    except Exception as error:
        return error
    return found


def _begun(asked: Asked, file: Path, kept: Partial | None) -> ClipReader | None:
    """A reader of a file that has begun to read; None where it cannot be read, which is told in its
    turn."""
    try:
        reader = asked.reader(file, kept)
    except AvsrError:
        return None
    if reader is not None:
        reader.begin()
    return reader


def _told(
    recogniser: Recogniser, files: Sequence[Path], bar: Bar, options: dict[str, Any]
) -> Iterator[Outcome]:
    done, media_s = 0, 0.0

    def tell(done_s: float, of_s: float) -> None:
        if len(files) == 1:
            bar(done_s, of_s or 1.0)
        else:
            share = min(1.0, done_s / of_s) if of_s > 0 else 0.0
            bar(done + share, len(files), f"{files[done].name}, {media_s + done_s:.0f} s so far")

    tell(0.0, 0.0)
    with closing(recogniser.transcribe_many(files, progress=tell, **options)) as results:
        for file, found in zip(files, results, strict=True):
            yield file, found
            done += 1
            media_s += 0.0 if isinstance(found, Exception) else found.duration_s
            if done < len(files):
                tell(0.0, 0.0)
