"""The shape of a hand, for the corruption that holds one before the mouth."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE

# Capsules (line segments with a radius) in crop pixels about the middle of the palm, fingers up:
# direction of the finger in degrees from straight up, where along it the segment begins and ends,
# and its radius.
_PARTS = (
    (180, 0, 90, 15.0),  # wrist and forearm
    (180, 0, 6, 18.0),  # palm
    (-27, 12, 40, 4.5),
    (-9, 12, 47, 5.0),
    (9, 12, 45, 5.0),
    (27, 12, 38, 4.5),
    (68, 10, 34, 5.5),  # thumb
)
# grey levels: the middle of a finger over the tone of the face, and its fall to the edge
_BRIGHTEST, _SHADE = 12, 45


@lru_cache(maxsize=256)
def hand(percent: int, away: int, angle_deg: int) -> tuple[np.ndarray, np.ndarray]:
    """A hand whose fingers point at the mouth.

    Args:
        percent: size; 100 is a palm 36 crop pixels wide.
        away: crop pixels from the mouth to the middle of the palm.
        angle_deg: where it comes from: 0 from below, 90 from the right of the picture.

    Returns:
        shape: (192, 192) bool, true on the hand; the mouth is in the middle.
        grey: (192, 192) int64, grey levels relative to the tone of the skin.
    """
    side = 2 * CROP_SIZE
    y, x = np.mgrid[:side, :side].astype(np.float64) - side // 2
    # squared distance from a part's axis over its squared radius
    nearest = np.full((side, side), np.inf)
    palm_x, palm_y = _point(away, 90 - angle_deg)
    for direction, begin, end, radius in _PARTS:
        # The hand comes from angle_deg, so that its fingers point back along it.
        towards = 270 - angle_deg + direction
        (from_x, from_y), (to_x, to_y) = (
            _point(length * percent / 100, towards) for length in (begin, end)
        )
        run_x, run_y = to_x - from_x, to_y - from_y
        off_x, off_y = x - (palm_x + from_x), y - (palm_y + from_y)
        along = np.clip((off_x * run_x + off_y * run_y) / (run_x * run_x + run_y * run_y), 0, 1)
        off_x, off_y = off_x - along * run_x, off_y - along * run_y
        nearest = np.minimum(
            nearest, (off_x * off_x + off_y * off_y) / (radius * percent / 100) ** 2
        )
    shape = nearest <= 1
    return shape, _BRIGHTEST - (_SHADE * np.minimum(nearest, 1)).astype(np.int64)


def _point(length: float, angle_deg: float) -> tuple[float, float]:
    """x to the right and y downwards in sixteenths of a pixel, so that no library's sine decides a
    bit."""
    angle = math.radians(angle_deg)
    return round(16 * length * math.cos(angle)) / 16, round(16 * length * math.sin(angle)) / 16
