"""A font that has the letters of a text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

# Those first that have many scripts and are read well; what a system has besides comes after them.
LIKED = ("NotoSans-Regular", "DejaVuSans.", "Arial.", "Arial Unicode", "arial", "NotoSansCJK")
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
NOWHERE = "\U0010ffff"  # a letter that no font has


def font_for(letters: str, size: int) -> Any:
    """A font of Pillow.

    Args:
        letters: that it must have; where no font has all of them, that with the most is taken.
        size: pixels.
    """
    from PIL import ImageFont

    own = ImageFont.load_default(size)
    best, most = own, _count(own, letters)
    for path in _paths():
        if most == len(letters):
            break
        try:
            font = ImageFont.truetype(path, size)
            found = _count(font, letters)
        except OSError:
            continue
        if found > most:
            best, most = font, found
    return best


def _count(font: Any, letters: Iterable[str]) -> int:
    """How many of the letters a font has: what it lacks looks like any other that it lacks."""
    missing = bytes(font.getmask(NOWHERE))
    return sum(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in letters)


@cache
def _paths() -> tuple[str, ...]:
    """The font files of this machine, those first that are liked."""
    found = []
    for folder in map(Path, FOLDERS):
        for path in sorted(folder.expanduser().rglob("*")):
            if path.suffix.lower() in (".ttf", ".ttc", ".otf"):
                found.append(path)

    def rank(path: Path) -> int:
        places = [place for place, name in enumerate(LIKED) if path.name.startswith(name)]
        return min(places, default=len(LIKED))

    return tuple(str(path) for path in sorted(found, key=rank))
