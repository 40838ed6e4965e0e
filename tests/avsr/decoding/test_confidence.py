"""Confidences: what they are made of, and that a model's map of them is checked."""

from __future__ import annotations

import pytest

from avsr.base.errors import AvsrError
from avsr.decoding.alignment import WordSpan
from avsr.decoding.confidence import FEATURES, LARGEST_LOGIT, Calibration, logit, word_features


def span(word: str, confidence: float, weakest: float) -> WordSpan:
    return WordSpan(word, 0, 1, (0, 1), confidence, weakest)


def test_features_of_a_word_are_its_own_and_its_neighbours():
    words = [
        span("bin", 0.9, 0.8),
        span("f", 0.5, 0.5),
        span("two", 0.9, 0.2),
        span("now", 1.0, 0.5),
    ]
    found = word_features(words, [1.0, 0.5, 0.25, 0.0])
    assert found[1] == pytest.approx((0.0, (logit(0.8) + logit(0.2) + logit(0.5)) / 3, 1.0, 0.5))
    assert found[0] == pytest.approx((logit(0.9), (logit(0.5) + logit(0.2)) / 2, 0.0, 1.0))
    assert found[3][0] == LARGEST_LOGIT
    assert all(len(features) == len(FEATURES) for features in found)
    assert word_features([span("a", 0.9, 0.7)], [1.0])[0][1] == pytest.approx(logit(0.7))
    assert word_features([], []) == []


def test_a_logit_is_bounded():
    assert (logit(0.0), logit(1.0)) == (-LARGEST_LOGIT, LARGEST_LOGIT)
    assert logit(0.75) == pytest.approx(1.0986, abs=1e-4)


def test_the_map_is_logistic_and_never_overflows():
    calibration = Calibration((1.0, 0.0, 0.0, 0.0), 0.0)
    assert calibration((logit(0.8), 5.0, 1.0, 1.0)) == pytest.approx(0.8)
    assert Calibration((1e6, 0.0, 0.0, 0.0), 0.0)((9.0, 0, 0, 0)) == 1.0
    assert Calibration((1e6, 0.0, 0.0, 0.0), 0.0)((-9.0, 0, 0, 0)) == 0.0


def test_it_travels_in_the_models_info():
    calibration = Calibration((1.5, 0.5, -1.0, 0.25), -0.5)
    assert (
        Calibration.from_info({"calibration": calibration.to_info() | {"ece": {}}}) == calibration
    )
    assert Calibration.from_info({}) is None


@pytest.mark.parametrize(
    "entry",
    [
        3,
        {},
        {"features": ["letters"], "weights": [1.0], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0, 0.0, 0.0, "x"], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0, 0.0, 0.0, 0.0]},
        {"features": list(FEATURES), "weights": [1.0, 0.0, 0.0, float("nan")], "bias": 0.0},
    ],
)
def test_a_map_that_cannot_be_used_is_one_line(entry: object):
    with pytest.raises(AvsrError, match=r"calibration .*fit it again"):
        Calibration.from_info({"calibration": entry})
