"""Words of a file in segments."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.decoding.words import Word
from avsr.transcribing.transcript import LONGEST_S, segments


def spoken(pauses: list[float]) -> list[Word]:
    """Words of 0.1 s with these pauses before them."""
    starts = np.cumsum([pause + 0.1 for pause in pauses]) - 0.1
    return [Word("a", at, at + 0.1, 0.9, 1.0) for at in starts.tolist()]


@pytest.mark.parametrize("step", [0.0, 1e-4, -1e-4])
def test_a_long_talk_without_a_pause_is_parted_however_its_pauses_grow(step: float):
    words = spoken([0.5 + step * n for n in range(1500)])
    present = np.ones(30_000, np.bool_)
    found = segments(words, present, present)
    assert [word for segment in found for word in segment.words] == words
    assert all(segment.end_s - segment.start_s <= LONGEST_S for segment in found)


def test_a_pause_of_a_second_begins_another_segment():
    present = np.ones(300, np.bool_)
    found = segments(spoken([0.2, 0.9, 1.1, 0.0, 1.5]), present, present)
    assert [len(segment.words) for segment in found] == [2, 2, 1]
    assert segments([], present, present) == []
