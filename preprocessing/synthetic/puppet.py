"""A portrait that speaks: phones -> mouth shapes -> frames.

The portrait, `portrait.png`, is a photograph of the astronaut Eileen Collins by NASA, in the public
domain (NASA Great Images, https://flic.kr/p/r9qvLn; the upper 300 of the 512 rows that scikit-image
ships as `astronaut`). Its landmarks were measured once with mediapipe and are written down here.
Around the mouth the picture is stretched vertically between the contours of the lips and the chin,
column by column, then horizontally; teeth come from the photograph itself. Neighbouring sounds
blend by the dominance functions of Cohen and Massaro, "Modeling coarticulation in synthetic visual
speech", 1993.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.synthetic.formant import Span

# In pixels of the portrait, x then y, from the left to the right corner of the mouth.
_OUTER_UP = [
    (202, 139.6),
    (205, 139.4),
    (212, 139.6),
    (217, 139.8),
    (223.5, 141),
    (230, 140.3),
    (239.6, 140.5),
    (245, 141.2),
]
_INNER_UP = [
    (202, 139.6),
    (206, 140.6),
    (213, 141.8),
    (223, 143.6),
    (234, 142.6),
    (241, 141.9),
    (245, 141.2),
]
_INNER_LO = [
    (202, 139.6),
    (207, 143.5),
    (213, 147.8),
    (223, 150),
    (233, 148.6),
    (240, 144.8),
    (245, 141.2),
]
_OUTER_LO = [
    (202, 139.6),
    (207.4, 148.1),
    (211.3, 152),
    (216.5, 154.5),
    (222.6, 155.6),
    (229, 155.1),
    (238.9, 149.5),
    (245, 141.2),
]
_CHIN = [
    (181, 129),
    (186, 149),
    (195, 163),
    (205, 173),
    (221, 178.5),
    (238, 175),
    (249, 166),
    (261, 153),
    (268, 134),
]
_MOUTH_X, _MOUTH_Y, _HALF_WIDTH = 223.5, 142.0, 21.5
_NOSE_Y, _NECK_Y = 133.5, 205.0
_ROI = (158, 118, 290, 212)  # left, top, right, bottom of what moves
_FACE_CENTRE = (223.5, 125.0)
_FACE_ROWS = 215.0  # rows of the portrait that fill the height of a frame

# jaw drop, lip opening, width (-1 rounded, 1 spread), lower lip under the teeth, tongue; all but
# width in 0..1
_SHAPES: dict[str, tuple[float, float, float, float, float]] = {
    "PAU": (0.0, 0.0, 0.0, 0.0, 0.0),
    **{
        "AA": (0.95, 0.9, -0.05, 0, 0),
        "AE": (0.8, 0.75, 0.4, 0, 0.2),
        "AH": (0.55, 0.5, 0, 0, 0.1),
    },
    **{"AO": (0.7, 0.6, -0.55, 0, 0), "AX": (0.3, 0.3, 0, 0, 0.2), "EH": (0.5, 0.5, 0.4, 0, 0.3)},
    **{
        "ER": (0.3, 0.32, -0.3, 0, 0.2),
        "IH": (0.3, 0.35, 0.4, 0, 0.4),
        "IY": (0.18, 0.3, 0.85, 0, 0.5),
    },
    **{"UH": (0.25, 0.28, -0.6, 0, 0), "UW": (0.15, 0.2, -1.0, 0, 0)},
    **{
        "W": (0.1, 0.12, -1.0, 0, 0),
        "R": (0.2, 0.22, -0.5, 0, 0.2),
        "Y": (0.15, 0.25, 0.5, 0, 0.5),
    },
    **{
        "L": (0.35, 0.35, 0.1, 0, 0.9),
        "TH": (0.2, 0.25, 0.1, 0, 1.0),
        "DH": (0.2, 0.25, 0.1, 0, 1.0),
    },
    **{"M": (0.05, 0.0, 0, 0, 0), "B": (0.08, 0.0, 0, 0, 0), "P": (0.08, 0.0, 0, 0, 0)},
    **{"F": (0.1, 0.26, 0.1, 1.0, 0), "V": (0.1, 0.26, 0.1, 1.0, 0)},
    **{"S": (0.05, 0.24, 0.35, 0, 0.3), "Z": (0.05, 0.24, 0.35, 0, 0.3)},
    **{"SH": (0.08, 0.3, -0.6, 0, 0.2), "ZH": (0.08, 0.3, -0.6, 0, 0.2)},
    **{
        "T": (0.15, 0.22, 0.15, 0, 0.5),
        "D": (0.15, 0.22, 0.15, 0, 0.5),
        "N": (0.2, 0.22, 0.15, 0, 0.6),
    },
    **{
        "K": (0.25, 0.3, 0.1, 0, 0.2),
        "G": (0.25, 0.3, 0.1, 0, 0.2),
        "NG": (0.25, 0.3, 0.1, 0, 0.2),
    },
    "HH": (0.35, 0.35, 0.05, 0, 0),
}
_GLIDES = {
    **{
        "EY": ("EH", "IY"),
        "AY": ("AA", "IY"),
        "OW": ("AO", "UW"),
        "AW": ("AA", "UW"),
        "OY": ("AO", "IY"),
    },
    **{"CH": ("T", "SH"), "JH": ("D", "ZH")},
}
# How firmly a sound insists on (jaw, opening, width, tuck, tongue); 1 where not listed.
_FIRM = {
    **dict.fromkeys("BPM", (0.7, 12.0, 0.3, 1.0, 0.3)),
    **dict.fromkeys("FV", (1.0, 6.0, 0.3, 8.0, 0.3)),
    **dict.fromkeys(("W", "UW", "SH", "ZH"), (1.0, 2.0, 3.0, 1.0, 1.0)),
    **dict.fromkeys(("T", "D", "N", "K", "G", "NG", "HH"), (0.6, 0.7, 0.25, 1.0, 1.0)),
    **dict.fromkeys(("S", "Z"), (3.0, 1.5, 0.6, 1.0, 1.0)),
    **dict.fromkeys(("AX", "PAU"), (0.6, 0.6, 0.5, 0.6, 0.6)),
}
JAW, OPEN, WIDTH, TUCK, TONGUE = range(5)


def mouth_shapes(phones: list[Span], frames: int) -> np.ndarray:
    """Smooth course of the mouth over a sentence.

    Args:
        phones: (phone, start_s, end_s), ARPABET; sounds that are not listed count as the neutral
            vowel.
        frames: T, at 25 a second.

    Returns:
        (T, 5) float32: jaw drop, lip opening, width, lower lip under the teeth, tongue.
    """
    last = frames / FPS
    start, end = (phones[0][1], phones[-1][2]) if phones else (0.0, 0.0)
    pieces: list[Span] = [
        ("PAU", start - 0.35, start - 0.05),
        ("PAU", end + 0.08, max(last, end + 0.4)),
    ]
    for phone, a, b in phones:
        halves = _GLIDES.get(phone, (phone,))
        edges = np.linspace(a, b, len(halves) + 1)
        pieces += [(half, edges[i], edges[i + 1]) for i, half in enumerate(halves)]
    at = (np.arange(frames) + 0.5)[:, None] / FPS
    top = np.zeros((frames, 5))
    weight = np.full((frames, 5), 1e-6)  # far from every sound the mouth rests
    for phone, a, b in pieces:
        # a short sound has a short reach, but neighbours always overlap
        reach = 0.55 * (b - a) + 0.025
        dominance = np.exp(-(((at - (a + b) / 2) / reach) ** 2)) * np.array(
            _FIRM.get(phone, (1.0,) * 5)
        )
        top += dominance * np.array(_SHAPES.get(phone, _SHAPES["AX"]))
        weight += dominance
    return (top / weight).astype(np.float32)


@functools.cache
def _portrait() -> np.ndarray:
    """(300, 512, 3) uint8 RGB: head and shoulders."""
    import cv2

    path = Path(__file__).with_name("portrait.png")
    # not imread, which knows no names beyond the code page of Windows
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if data is None:
        raise AvsrError(f"{path} is not a readable picture: install avsr again")
    return cv2.cvtColor(data, cv2.COLOR_BGR2RGB)


class Puppet:
    """One portrait at one size, ready to take mouth shapes.

    Args:
        scale: output pixels for a pixel of the portrait.
        gain: how far this face moves, 1 is usual.
    """

    def __init__(self, scale: float, gain: float = 1.0) -> None:
        import cv2

        self.scale, self.gain = scale, gain
        self.picture = cv2.resize(
            _portrait(), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
        left, top, right, bottom = (round(edge * scale) for edge in _ROI)
        self._window = (slice(top, bottom), slice(left, right))
        self._source = self.picture[self._window].copy()
        self._left, self._top = left, top
        # portrait coordinates of the window's columns and rows
        x = (np.arange(left, right) + 0.5) / scale
        y = (np.arange(top, bottom) + 0.5) / scale
        self._rows = y[:, None].astype(np.float32)
        self._columns = np.broadcast_to(np.arange(right - left, dtype=np.float32), (len(y), len(x)))
        self._u = (x - _MOUTH_X) / _HALF_WIDTH
        curves = [
            np.interp(x, *np.transpose(curve))
            for curve in (_OUTER_UP, _INNER_UP, _INNER_LO, _OUTER_LO)
        ]
        chin = np.interp(x, *np.transpose(_CHIN))
        chin = np.maximum(chin, np.maximum(curves[3] + 6, 150))
        self._knots = np.stack(
            [np.full_like(x, _NOSE_Y), *curves, chin, np.full_like(x, _NECK_Y)]
        ).astype(np.float32)
        inside = np.clip(1 - self._u**2, 0, None)
        self._inside = inside**0.6  # an open mouth is rather an ellipse than a parabola
        # 1 at the mouth, 0 far away
        self._cheek = np.exp(-((np.clip(np.abs(self._u) - 0.6, 0, None) / 0.8) ** 2))
        far = np.clip(np.abs(self._u) - 0.7, 0, None) * _HALF_WIDTH
        above = self._rows < _MOUTH_Y + 3
        fade = np.exp(-(((self._rows - _MOUTH_Y - 3) / np.where(above, 11, 17)) ** 2))
        self._sideways = (((x - _MOUTH_X) * np.exp(-((far / 13) ** 2)))[None, :] * fade).astype(
            np.float32
        )

    def draw(self, shape: np.ndarray) -> np.ndarray:
        """The portrait, scaled, with its mouth in a shape.

        Args:
            shape: (5,) as a row of `mouth_shapes`.

        Returns:
            (h, w, 3) uint8 RGB; overwritten by the next call.
        """
        import cv2

        target = self._targets(shape)
        rows = self._source_rows(target)
        flat = cv2.remap(
            self._source, self._columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self._draw_inside(flat, target, shape)
        stretch = self._stretch(shape[WIDTH])
        across = self._columns + np.float32((1 / stretch - 1) * self.scale) * self._sideways
        down = np.broadcast_to(np.arange(len(flat), dtype=np.float32)[:, None], across.shape)
        moved = cv2.remap(flat, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.picture[self._window] = moved
        return self.picture

    def _stretch(self, width: float) -> float:
        """Mouth width over that of the portrait, whose smile is wider than speech."""
        return 0.88 + self.gain * (0.1 * width if width > 0 else 0.24 * width)

    def _targets(self, shape: np.ndarray) -> np.ndarray:
        """Where the seven contours (nose to neck) lie in the drawn picture: (7, columns), portrait
        pixels."""
        jaw, opening, width, tuck, _ = shape
        nose, outer_up, inner_up, inner_lo, outer_lo, chin, neck = self._knots
        inside, cheek = self._inside, self._cheek
        drop = self.gain * 9.0 * jaw * cheek  # the chin and all below the mouth
        gap = self.gain * 12.0 * opening * inside
        rounding = max(0.0, -width)
        # Rest takes the smile away: corners sink, the upper lip comes down over the teeth and gets
        # fuller.
        rest = outer_up + (0.8 + (1.2 + 1.5 * rounding) * np.minimum(self._u**2, 1)) * cheek
        upper = rest - (0.9 * opening + 1.3 * tuck) * inside
        lip = (inner_up - outer_up) * (1.55 + 0.5 * rounding - 0.3 * tuck)
        seam = upper + lip
        corners = 0.35 * drop * (1 - inside)  # an open jaw pulls the corners down a little
        seam, upper = seam + corners, upper + corners
        low = seam + np.maximum(gap, 0.02)
        lower_lip = (outer_lo - inner_lo) * (1.0 + 0.3 * rounding - 0.45 * tuck)
        chin_now = chin - 2.0 * cheek + drop
        edge = np.minimum(low + lower_lip, chin_now - 4)
        return np.stack([nose, upper, seam, low, np.maximum(edge, low + 0.02), chin_now, neck])

    def _source_rows(self, target: np.ndarray) -> np.ndarray:
        """For each pixel of the window the row of the source that lands there, piecewise linear
        between contours."""
        source = self._knots
        rows = np.broadcast_to(source[0] - target[0], self._columns.shape) + np.minimum(
            self._rows, target[0]
        )
        for k in range(len(source) - 1):
            length = np.maximum(target[k + 1] - target[k], 1e-3)
            slope = ((source[k + 1] - source[k]) / length).astype(np.float32)
            rows = rows + slope * np.clip(self._rows - target[k], 0, length).astype(np.float32)
        rows = rows + np.maximum(self._rows - target[-1], 0)
        return (rows * self.scale - 0.5 - self._top).astype(np.float32)

    def _draw_inside(self, flat: np.ndarray, target: np.ndarray, shape: np.ndarray) -> None:
        """Paints what an open mouth shows: the dark, the tongue, and the photograph's own teeth."""
        seam, low = target[2], target[3]
        open_columns = np.flatnonzero(low - seam > 0.15)
        if not len(open_columns):
            return
        columns = slice(open_columns[0], open_columns[-1] + 1)
        first = max(int((seam[columns].min() - self._rows[0, 0]) * self.scale) - 1, 0)
        last = int((low[columns].max() - self._rows[0, 0]) * self.scale) + 3
        y = self._rows[first:last]
        seam, low = seam[columns], low[columns]
        cover = np.clip((y - seam) * self.scale + 0.5, 0, 1) * np.clip(
            (low - y) * self.scale + 0.5, 0, 1
        )
        depth = np.clip((y - seam) / np.maximum(low - seam, 0.1), 0, 1)
        tongue = np.clip((depth - 1 + 0.75 * shape[TONGUE] * self._inside[columns]) * 4, 0, 1)[
            ..., None
        ]
        dark = np.array([42, 14, 14], np.float32) + 22 * depth[..., None]
        paint = dark + tongue * (np.array([150, 78, 76], np.float32) - dark) * 0.8
        teeth_top, teeth_end = self._knots[2, columns], self._knots[3, columns] - 0.8
        # portrait pixels: the drawn upper lip hangs lower than the smiling one
        sink = 2.2 * (1 - shape[TUCK])
        rows = ((y - sink) * self.scale - 0.5 - self._top).astype(np.int32)
        picked = self._source[np.clip(rows, 0, len(self._source) - 1)[:, 0], columns].astype(
            np.float32
        )
        shows = np.clip((teeth_end + sink - y) * self.scale, 0, 1) * np.clip(
            (y - teeth_top) * self.scale, 0, 1
        )
        # rounded lips stand out and cover the teeth
        shows = shows * (1 - 0.7 * max(0.0, -shape[WIDTH]))
        shade = np.clip(0.4 + 0.35 * shape[TUCK] + 0.2 * (y - seam) * self.scale, 0.4, 0.95)[
            ..., None
        ]
        paint = paint + shows[..., None] * (picked * shade - paint)
        patch = flat[first:last, columns]
        patch[:] = (patch + cover[..., None] * (paint - patch)).astype(np.uint8)


def _wander(rng: np.random.Generator, frames: int, seconds: float) -> np.ndarray:
    """Smooth random course (frames,) with about unit variance that changes within `seconds`."""
    from scipy.ndimage import gaussian_filter1d

    sigma = seconds * FPS / 2
    course = gaussian_filter1d(rng.normal(size=frames + int(8 * sigma)), sigma)[int(4 * sigma) :][
        :frames
    ]
    return course * np.sqrt(2 * sigma * np.sqrt(np.pi))


def frames_of(
    shapes: np.ndarray, rng: np.random.Generator, width: int = 360, height: int = 288
) -> Iterator[np.ndarray]:
    """Draws a talking head; place, size, side, colour and movement of the head come from `rng`.

    Args:
        shapes: (T, 5) as of `mouth_shapes`.
        rng: the same state gives the same frames.
        width: of a frame, pixels, even.
        height: of a frame, pixels, even. The mouth is about a fifth of it.

    Yields:
        T frames (height, width, 3) uint8 RGB, contiguous, at 25 a second.
    """
    import cv2

    count = len(shapes)
    scale = height / _FACE_ROWS
    puppet = Puppet(scale, gain=rng.uniform(0.85, 1.15))
    sway = np.stack([_wander(rng, count, 0.8) for _ in range(4)], axis=1) * rng.uniform(0.5, 1.3)
    mirror = rng.random() < 0.5
    stretch = rng.uniform(0.95, 1.05)
    zoom, tilt = rng.uniform(0.94, 1.06), rng.uniform(-3, 3)
    offset = rng.uniform(-0.02, 0.02, size=2) * height
    light = rng.uniform(0.85, 1.12) * rng.uniform(0.94, 1.06, size=3)
    slope = rng.uniform(-0.12, 0.12)
    ramp = 1 + slope * np.linspace(-1, 1, width)[None, :, None]
    gain = (ramp * light * np.ones((height, 1, 1))).astype(np.float32)
    flicker = 1 + 0.01 * _wander(rng, count, 0.5)
    centre = np.array(_FACE_CENTRE) * scale
    middle = np.array([width, height]) * (0.5, 0.52)
    for shape, (dx, dy, turn, near), bright in zip(shapes, sway, flicker, strict=True):
        angle = np.deg2rad(tilt + 0.9 * turn)
        size = zoom * (1 + 0.006 * near)
        flip = -1.0 if mirror else 1.0
        matrix = np.array(
            [
                [np.cos(angle) * flip * stretch, -np.sin(angle)],
                [np.sin(angle) * flip * stretch, np.cos(angle)],
            ]
        )
        matrix = size * matrix
        shift = middle + offset + 0.008 * height * np.array([dx, 0.7 * dy]) - matrix @ centre
        frame = cv2.warpAffine(
            puppet.draw(shape), np.column_stack([matrix, shift]), (width, height),
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        yield cv2.multiply(frame, gain * np.float32(bright), dtype=cv2.CV_8U)
