"""A contact sheet: the crops that a recogniser would see, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsr.preprocessing.faces import sheet
from avsr.transcribing.doctor.examine import Examination
from avsr.transcribing.doctor.seen import SHEET


def contact_sheet(files: Sequence[Examination]) -> bytes:
    """The crops of files, each with its time, under the file's name.

    Args:
        files: those with crops are shown.

    Returns:
        A PNG.
    """
    parts = []
    for file in files:
        if file.crops:
            crops = [(f"{time_s:.1f} s", crop) for time_s, crop in _spread(file.crops)]
            parts.append((file.file, crops))
    return sheet.contact_sheet(parts)


def _spread(crops: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """At most SHEET of them, evenly."""
    count = min(SHEET, len(crops))
    return [crops[i * len(crops) // count] for i in range(count)]
