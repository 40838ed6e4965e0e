"""Which recordings are meant by files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.base import outputs
from avsr.base.errors import MediaError, UsageError
from avsr.preprocessing.recordings import COPIES, MEDIA_SUFFIXES, media_below


@dataclass(frozen=True)
class Source:
    """A recording to transcribe.

    Attributes:
        path: the file.
        folder: in which it lies below the folder that was named, "." for a file that was named
            itself.
    """

    path: Path
    folder: Path = Path()


Failure = tuple[Path, Exception]
"""What was named, and why nothing can be done with it."""


def recordings(
    named: Sequence[Path], out: Path | None = None
) -> tuple[list[Source], list[Failure]]:
    """The recordings that a call means, each once, in the order of what was named.

    A file counts whatever it is called. In a folder, and by a pattern (`talks/**/*.mp4`, for shells
    that leave it to the program), files with the suffix of a recording count, see
    `media_below`, but for what avsr made itself: copies of films, and whatever it wrote into the
    folder of the outputs.

    Args:
        named: files, folders and patterns. A file that is not there is kept: who reads it says so.
        out: the folder of the outputs.

    Returns:
        The recordings, and the folders and patterns that hold none or cannot be read.

    Raises:
        UsageError: a file is named twice.
    """
    found: dict[Path, Source] = {}
    failures: dict[Path, Exception] = {}
    files: list[Path] = []
    for path in named:
        if os.path.isdir(path):  # False whatever is wrong with the name
            below, errors = _in_folder(path, out)
        elif glob.has_magic(str(path)) and not os.path.lexists(path):
            below, errors = _by_pattern(path, out)
        else:
            below, errors = [Source(path)], []
            files.append(path)
        for source in below:
            found.setdefault(source.path, source)
        failures |= errors  # what is named twice is told once
    _refuse_twice(files)
    return list(found.values()), list(failures.items())


def _refuse_twice(files: Sequence[Path]) -> None:
    """Refuses a file that was named twice, whatever it is spelt like."""
    seen = set()
    for file in files:
        # a hard link of another name may have outputs of its own
        this = file.stem, outputs.identity(file) or file
        if this in seen:
            raise UsageError(f"{file} is named twice: name it once")
        seen.add(this)


def _in_folder(folder: Path, out: Path | None) -> tuple[list[Source], list[Failure]]:
    unreadable: list[OSError] = []
    found = _not_ours(media_below(folder, MEDIA_SUFFIXES, unreadable), out)
    failures: list[Failure] = []
    for error in unreadable:
        below = Path(os.fsdecode(error.filename or folder))
        reason = MediaError(f"{below}: cannot be read ({error.strerror}): its files are left out")
        failures.append((below, reason))
    if not found and not failures:
        failures.append((folder, MediaError(f"{folder}: {_NOTHING}")))
    return [_below(folder, path) for path in found], failures


def _by_pattern(pattern: Path, out: Path | None) -> tuple[list[Source], list[Failure]]:
    """As _in_folder; the folders that a pattern finds are searched too, but for links to them."""
    first = next(n for n, part in enumerate(pattern.parts) if glob.has_magic(part))
    top, rest = Path(*pattern.parts[:first]), Path(*pattern.parts[first:])
    found: set[Path] = set()
    try:
        for match in top.glob(str(rest)):
            if any(part.startswith(".") for part in match.relative_to(top).parts):
                continue
            if match.is_dir() and not match.is_symlink():
                found.update(media_below(match, MEDIA_SUFFIXES))
            elif match.suffix.lower() in MEDIA_SUFFIXES and match.is_file():
                found.add(match)
    except (ValueError, NotImplementedError) as error:
        return [], [(pattern, MediaError(f"{pattern}: {error}; give a file, or another pattern"))]
    kept = _not_ours(sorted(found), out)
    if not kept:
        return [], [(pattern, MediaError(f"{pattern}: {_NOTHING}"))]
    return [_below(top, path) for path in kept], []


def _below(top: Path, path: Path) -> Source:
    return Source(path, path.parent.relative_to(top))


def _not_ours(found: Iterable[Path], out: Path | None) -> list[Path]:
    """Those that avsr did not make."""
    inside = None if out is None else out.resolve()
    kept = []
    for path in found:
        made = inside is not None and path.resolve().is_relative_to(inside)
        if path.stem.endswith(COPIES) or (made and outputs.is_ours(path)):
            continue
        kept.append(path)
    return kept


_NOTHING = (
    "holds no recordings: files of these kinds count, and any other that is named itself: "
    + " ".join(sorted(suffix[1:] for suffix in MEDIA_SUFFIXES))
)
