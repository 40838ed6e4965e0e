"""The figures above the rows, on numbers whose answer is known."""

from __future__ import annotations

import pytest

from avsr.eval.metrics.results import Gain
from avsr.eval.metrics.summary import follows, snr_gain

AUDIO = {0.0: 0.4, 5.0: 0.2}


@pytest.mark.parametrize(
    ("both", "gain_db"),
    [
        # straight between: 0.4 lies two thirds of the way down to -5 dB
        ({-5.0: 0.5, 0.0: 0.2}, 3.33),
        ({-5.0: 0.41, -2.5: 0.4, 0.0: 0.1}, 2.5),
        ({-5.0: 0.9, 0.0: 0.5, 5.0: 0.3}, -2.5),  # worse than hearing alone
        # the first time that it gets as bad counts
        ({-10.0: 0.6, -5.0: 0.3, 0.0: 0.45, 5.0: 0.1}, -0.71),
    ],
)
def test_gain_is_where_both_are_as_bad_as_hearing_at_0_db(
    both: dict[float, float], gain_db: float
) -> None:
    assert snr_gain(both, AUDIO) == Gain(gain_db=gain_db, note=None)


@pytest.mark.parametrize(
    ("both", "audio", "says"),
    [
        ({-10.0: 0.3, 0.0: 0.1}, AUDIO, "more than 10 dB: still no worse at -10 dB"),
        ({-10.0: 0.9, 0.0: 0.8}, AUDIO, "even at 0 dB"),
        ({0.0: 0.1}, AUDIO, "fewer than two"),
        ({-10.0: 0.3, 0.0: 0.1}, {5.0: 0.1}, "no audio-only condition at 0 dB"),
    ],
)
def test_where_the_gain_is_not_in_the_range_it_says_so(both: dict, audio: dict, says: str) -> None:
    found = snr_gain(both, audio)
    assert found.gain_db is None
    assert says in found.note


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("bin blue at f two now", [3, 0, 3]),
        ("bin red at f six soon", [3, 3, 0]),
        ("bin red at f two soon", [3, 2, 1]),
        ("lay green by q one please", [3, 0, 0]),
        ("", [3, 0, 0]),
        ("at f two now", [3, 0, 2]),  # two words left out: the rest is still in its place
    ],
)
def test_words_that_differ_follow_the_sound_or_the_lips(output: str, counts: list[int]) -> None:
    assert follows("Bin blue at f two now", "bin red at f six soon", output).tolist() == counts


def test_sentences_of_different_length_differ_where_words_stand_against_words() -> None:
    assert follows("a b c", "a x c d", "a x c d").tolist() == [1, 1, 0]
    assert follows("", "a b", "a").tolist() == [0, 0, 0]
