"""A contact sheet: the crops that a recogniser would see, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE
from avsr.transcribing.doctor.examine import SHEET, Examination

COLUMNS = 8  # crops side by side
EDGE, TITLE = 4, 18  # pixels around a crop, and above the crops of a file


def contact_sheet(files: Sequence[Examination]) -> bytes:
    """The crops of files, each with its time, under the file's name.

    Args:
        files: those with crops are shown.

    Returns:
        A PNG.
    """
    import cv2

    sheet = np.concatenate([_of_file(file) for file in files if file.crops])
    return cv2.imencode(".png", sheet)[1].tobytes()


def _of_file(file: Examination) -> np.ndarray:
    """(height, width) uint8 grey."""
    crops = _spread(file.crops)
    cell = CROP_SIZE + EDGE
    rows = -(-len(crops) // COLUMNS)
    part = np.zeros((TITLE + rows * cell, COLUMNS * cell + EDGE), np.uint8)
    _write(part, file.file, EDGE, TITLE - 5)
    for number, (time_s, crop) in enumerate(crops):
        row, column = divmod(number, COLUMNS)
        top, left = TITLE + row * cell, EDGE + column * cell
        part[top : top + CROP_SIZE, left : left + CROP_SIZE] = crop
        _write(part, f"{time_s:.1f} s", left + 3, top + CROP_SIZE - 5)
    return part


def _spread(crops: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """At most SHEET of them, evenly."""
    count = min(SHEET, len(crops))
    return [crops[i * len(crops) // count] for i in range(count)]


def _write(picture: np.ndarray, text: str, left: int, bottom: int) -> None:
    """White letters with a black edge; OpenCV has none but those of ASCII."""
    import cv2

    text = text.encode("ascii", "replace").decode()
    for colour, thickness in ((0, 3), (255, 1)):
        cv2.putText(picture, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness)
