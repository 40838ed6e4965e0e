"""A contact sheet: crops side by side, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE

COLUMNS = 8  # crops side by side
EDGE, TITLE = 4, 18  # pixels around a crop, and above the crops of a part
LETTERS = 12  # that fit into a crop

Part = tuple[str, Sequence[tuple[str, np.ndarray]]]
"""A title and crops, each with its label."""


def contact_sheet(parts: Sequence[Part]) -> bytes:
    """Crops under their titles; a part without crops is its title alone.

    Args:
        parts: at least one.

    Returns:
        A PNG.
    """
    import cv2

    sheet = np.concatenate([_drawn(title, crops) for title, crops in parts])
    return cv2.imencode(".png", sheet)[1].tobytes()


def _drawn(title: str, crops: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """(height, width) uint8 grey."""
    cell = CROP_SIZE + EDGE
    rows = -(-len(crops) // COLUMNS)
    part = np.zeros((TITLE + rows * cell, COLUMNS * cell + EDGE), np.uint8)
    _write(part, title, EDGE, TITLE - 5)
    for number, (label, crop) in enumerate(crops):
        row, column = divmod(number, COLUMNS)
        top, left = TITLE + row * cell, EDGE + column * cell
        part[top : top + CROP_SIZE, left : left + CROP_SIZE] = crop
        _write(part, label[-LETTERS:], left + 3, top + CROP_SIZE - 5)
    return part


def _write(picture: np.ndarray, text: str, left: int, bottom: int) -> None:
    """White letters with a black edge; OpenCV has none but those of ASCII."""
    import cv2

    text = text.encode("ascii", "replace").decode()
    for colour, thickness in ((0, 3), (255, 1)):
        cv2.putText(picture, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness)
