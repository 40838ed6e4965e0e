"""Which parts of a transcript are of the model's own language, and whether the file is.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from avsr.decoding.domain import Domain
from avsr.preprocessing.clip import FPS
from avsr.transcribing.transcript import Segment

MARGIN_S = 2.0  # of the speech before and after its words that a segment is judged with


def judged(
    segments: Sequence[Segment], speaking: np.ndarray, domain: Domain
) -> tuple[list[Segment], bool | None]:
    """Segments that say whether they are of the model's language, and whether the file is.

    Args:
        segments: of the file, in order.
        speaking: (T,) bool, frames of the file in which somebody seems to speak.
        domain: of the model.

    Returns:
        The segments; false for the file where most of its speech is of no such segment, None where
        nobody speaks.
    """
    if not segments:
        return [], domain.judge([], speaking)
    found, own = [], np.zeros(len(speaking), np.bool_)
    for segment, (first, last) in zip(segments, _regions(segments, len(speaking)), strict=True):
        fits = domain.judge(segment.words, speaking[first:last], first / FPS)
        found.append(replace(segment, in_domain=fits))
        own[first:last] |= bool(fits)
    spoken = int(speaking.sum())
    if not spoken:  # words alone say that somebody speaks: from lips, or in loud noise
        return found, any(segment.in_domain for segment in found)
    return found, 2 * int((speaking & own).sum()) >= spoken


def _regions(segments: Sequence[Segment], frames: int) -> list[tuple[int, int]]:
    """The frames that each segment is judged by: its own and a margin, at most half of the way to
    the next one."""
    middles = [(a.end_s + b.start_s) / 2 for a, b in pairwise(segments)]
    starts = [0.0, *middles]
    ends = [*middles, frames / FPS]
    found = []
    for segment, low_s, high_s in zip(segments, starts, ends, strict=True):
        first = round(max(low_s, segment.start_s - MARGIN_S) * FPS)
        last = round(min(high_s, segment.end_s + MARGIN_S) * FPS)
        found.append((min(first, frames), min(max(first + 1, last), frames)))
    return found


def told(in_domain: bool | None, model: str, language: str) -> list[str]:
    """A line for people where speech is not of the model's language; none where it is."""
    if in_domain is not False:
        return []
    knows = f", which knows {language}" if language else ""
    return [
        f"this speech is not of the language of the model {model}{knows}; for any words take "
        "another one, which `avsr models get whisper-small` fetches"
    ]
