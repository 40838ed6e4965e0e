"""A model's own language against other speech: what the features say, and what a model file may
hold."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.decoding.domain import FEATURES, NO_WORDS, Domain, covered, domain_features
from avsr.decoding.grammar import Grammar, load_grammar
from avsr.decoding.words import Word
from avsr.preprocessing.clip import FPS

GRID = load_grammar("grid").follows()
DOMAIN = Domain((1.0, 4.0, -4.0), -2.0, GRID, "51 GRID words")


def said(text: str, confidence: float = 0.95, start_s: float = 1.0) -> list[Word]:
    """Words of 0.3 s, one after the other."""
    times = start_s + 0.3 * np.arange(len(text.split()) + 1)
    pairs = zip(text.split(), times, times[1:], strict=False)
    return [Word(word, float(a), float(b), confidence, 1.0) for word, a, b in pairs]


def test_own_sentences_are_in_domain_and_other_speech_is_not() -> None:
    speaking = np.ones(4 * FPS, np.bool_)
    assert DOMAIN.judge(said("bin blue at f two now"), speaking) is True
    assert DOMAIN.judge(said("bin two f no at blue", 0.4), speaking) is False
    assert DOMAIN.judge([], speaking) is False
    assert DOMAIN.judge([], np.zeros(100, np.bool_)) is None


def test_features_are_what_they_are_called() -> None:
    speaking = np.ones(10 * FPS, np.bool_)
    sure, order, unsaid = domain_features(said("now bin blue two", 0.5), speaking, 0.0, GRID)
    assert sure == 0
    assert order == pytest.approx(2 / 3)  # "now bin" goes on with the next sentence
    frames = 1.2 * FPS + 2 * 12
    assert unsaid == pytest.approx(1 - frames / len(speaking), abs=0.01)
    assert domain_features([], speaking, 0.0, GRID) == NO_WORDS
    assert domain_features(said("bin"), speaking, 0.0, GRID)[1] == 0.5
    assert domain_features(said("bin blue"), speaking, 0.0, frozenset())[1] == 0.5
    later = domain_features(said("now bin blue two", 0.5, 61.0), speaking, 60.0, GRID)
    assert later == pytest.approx((sure, order, unsaid))


def test_frames_of_words_beyond_the_stretch_do_not_count() -> None:
    assert not covered(said("bin", start_s=-3.0), 50).any()
    assert not covered(said("bin", start_s=30.0), 50).any()
    assert covered(said("bin", start_s=0.0), 50).sum() == 8 + 12


def test_what_may_follow_what() -> None:
    small = Grammar.parse("small", "a b | c\nd |\ne")
    assert small.follows() == {
        *(("a", "b"), ("b", "d"), ("b", "e"), ("c", "d"), ("c", "e"), ("d", "e")),
        *(("e", "a"), ("e", "c")),
    }
    assert small.lexicon().slots == (("a", "b", "c", "d", "e"),)
    assert len(load_grammar("grid").lexicon().slots[0]) == 51


def test_it_travels_in_the_model_file() -> None:
    info = {"domain": DOMAIN.to_info(), "knows": "51 GRID words"}
    assert Domain.from_info(info, GRID) == DOMAIN
    assert Domain.from_info({}) is None


@pytest.mark.parametrize(
    "entry",
    [
        3,
        {},
        {"features": ["sure"], "weights": [1.0], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0, 2.0, None], "bias": 0.0},
        {"features": list(FEATURES), "weights": [1.0, 2.0, 3.0], "bias": float("nan")},
    ],
)
def test_a_file_that_holds_something_else_is_refused_in_a_line(entry: object) -> None:
    with pytest.raises(AvsrError, match=r"the model's domain .* fit it again"):
        Domain.from_info({"domain": entry})
