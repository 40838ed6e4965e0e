"""A film with its captions in the picture, the words in colours."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.media.redrawn import Planes, redrawn
from avsr.transcribing.captions.colours import colour
from avsr.transcribing.captions.fonts import font_for
from avsr.transcribing.captions.formats import Style, cues_of
from avsr.transcribing.captions.layout import Cue, Piece

if TYPE_CHECKING:
    from avsr.transcribing.engine import Progress
    from avsr.transcribing.transcript import Transcript

TEXT_HEIGHT = 0.055  # of the picture's height, where the longest line is not too wide for it
WIDEST = 0.94  # of the picture's width
SMALLEST = 9  # pixels
FROM_BELOW = 0.05  # of the picture's height
DARK = (0, 0, 0, 150)  # behind the words
PLAIN = "#ffffff"


def burn(
    source: Path,
    transcript: Transcript,
    target: Path,
    style: Style,
    progress: Progress | None = None,
) -> None:
    """Writes a copy of a film with its captions in the picture; see redrawn for the rest of it.

    Args:
        source: the film.
        transcript: what is said in it.
        target: the copy.
        style: of the captions.
        progress: told how far it is; what it raises ends the call.

    Raises:
        MediaError: the film cannot be read or copied, or has no picture.
    """
    captions = Captions(cues_of(transcript, style, named=True))

    def draw(time_s: float, planes: Planes) -> None:
        if progress is not None:
            progress(time_s, transcript.duration_s)
        captions(time_s, planes)

    redrawn(source, target, draw)


@dataclass(frozen=True)
class Stamp:
    """A caption as it goes into a picture, at (top, left), even numbers.

    Attributes:
        alpha: (h, w) float32, 0 to 1.
        luma: (h, w) float32, alpha times what is drawn.
        chroma_alpha: (h/2, w/2) float32.
        chroma: two of (h/2, w/2) float32, as luma.
    """

    top: int
    left: int
    alpha: np.ndarray
    luma: np.ndarray
    chroma_alpha: np.ndarray
    chroma: tuple[np.ndarray, np.ndarray]

    def put(self, planes: Planes) -> None:
        """Draws it into a picture."""
        layers = (self.luma, self.alpha), *((c, self.chroma_alpha) for c in self.chroma)
        for plane, (colours, alpha), part in zip(planes, layers, (1, 2, 2), strict=True):
            height, width = alpha.shape
            top, left = self.top // part, self.left // part
            there = plane[top : top + height, left : left + width]
            there[:] = np.rint(there * (1 - alpha) + colours)


class Captions:
    """Draws the cue that is shown at a time."""

    def __init__(self, cues: Sequence[Cue]) -> None:
        self._cues = list(cues)
        self._starts = [cue.start_s for cue in self._cues]
        self._stamp = lru_cache(2)(self._drawn)

    def __call__(self, time_s: float, planes: Planes) -> None:
        place = bisect_right(self._starts, time_s + 1e-6) - 1
        if place >= 0 and time_s < self._cues[place].end_s:
            self._stamp(place, planes[0].shape).put(planes)

    def _drawn(self, place: int, size: tuple[int, int]) -> Stamp:
        cue = self._cues[place]
        return stamp(picture_of(cue, size, self._font(size)), size)

    def _font(self, size: tuple[int, int]) -> Any:
        """One size for the whole film: that in which the longest line still fits."""
        height, width = size
        lines = [line for cue in self._cues for line in cue.lines]
        letters = "".join(sorted(set("".join(lines))))
        wanted = max(SMALLEST, round(height * TEXT_HEIGHT))
        font = font_for(letters, wanted)
        longest = max((font.getlength(line) for line in lines), default=1.0)
        if longest > WIDEST * width:
            font = font_for(letters, max(SMALLEST, int(wanted * WIDEST * width / longest)))
        return font


def picture_of(cue: Cue, size: tuple[int, int], font: Any) -> np.ndarray:
    """A cue as (h, w, 4) uint8 RGBA, no larger than the picture."""
    from PIL import Image, ImageDraw

    ascent, descent = font.getmetrics()
    row_height, margin = ascent + descent, max(2, descent)
    widths = [font.getlength(line) for line in cue.lines]
    width = min(size[1], int(max(widths)) + 4 * margin)
    height = min(size[0], row_height * len(cue.rows) + 2 * margin)
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), margin, fill=DARK)
    for number, (row, row_width) in enumerate(zip(cue.rows, widths, strict=True)):
        x, y = (width - row_width) / 2, margin + number * row_height
        for piece, text in _in_order(row):
            kind = None if piece.word is None else colour(piece.word)
            fill = PLAIN if kind is None else kind.rgb
            pen.text((x, y), text, fill=fill, font=font)
            long = font.getlength(text)
            if kind is not None and kind.underlined:
                line = y + ascent + max(1, descent // 3)
                begin = x + long - font.getlength(text.lstrip())
                pen.line((begin, line, x + long, line), fill=fill, width=max(1, descent // 5))
            x += long
    return np.asarray(picture)


def _in_order(row: Sequence[Piece]) -> list[tuple[Piece, str]]:
    """The pieces of a line from left to right, each with the space before it."""
    leftwards = any(unicodedata.bidirectional(x) in ("R", "AL") for p in row for x in p.text)
    found = []
    for number, piece in enumerate(row):
        space = " " if number and piece.spaced else ""
        found.append((piece, piece.text + space if leftwards else space + piece.text))
    return found[::-1] if leftwards else found


def stamp(picture: np.ndarray, size: tuple[int, int]) -> Stamp:
    """A picture in the middle of the bottom of another.

    Args:
        picture: (h, w, 4) uint8 RGBA.
        size: (H, W) of the other.
    """
    import av

    height, width = (length // 2 * 2 for length in picture.shape[:2])
    picture = np.ascontiguousarray(picture[:height, :width])
    top = max(0, size[0] - height - round(size[0] * FROM_BELOW)) // 2 * 2
    left = max(0, size[1] - width) // 4 * 2
    alpha = picture[..., 3] / np.float32(255)
    coloured = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., :3]), "rgb24")
    yuv = coloured.reformat(format="yuv444p").to_ndarray() * alpha
    return Stamp(top, left, alpha, yuv[0], _halved(alpha), (_halved(yuv[1]), _halved(yuv[2])))


def _halved(plane: np.ndarray) -> np.ndarray:
    """(h, w) -> (h/2, w/2), the means."""
    height, width = plane.shape
    return plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
