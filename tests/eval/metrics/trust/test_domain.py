"""Fitting what tells a model's own language from other speech."""

from __future__ import annotations

import numpy as np

from avsr.decoding.domain import Domain
from avsr.eval.metrics.trust.domain import OWN_REFUSED, balanced, part


def features(rng: np.random.Generator, count: int, middle: tuple[float, ...]) -> np.ndarray:
    return rng.normal(middle, (1.0, 0.1, 0.1), (count, 3))


def test_kinds_that_lie_apart_are_parted_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    own, other = features(rng, 400, (5.0, 1.0, 0.1)), features(rng, 200, (0.0, 0.2, 0.6))
    domain = Domain(*part(own, other))
    assert all(domain.score(row) > 0 for row in features(rng, 400, (5.0, 1.0, 0.1)))
    assert all(domain.score(row) < 0 for row in features(rng, 200, (0.0, 0.2, 0.6)))


def test_own_sentences_are_kept_where_the_kinds_overlap() -> None:
    rng = np.random.default_rng(1)
    own, other = features(rng, 1000, (1.0, 0.9, 0.2)), features(rng, 300, (0.0, 0.8, 0.2))
    domain = Domain(*part(own, other))
    assert sum(domain.score(row) < 0 for row in own) <= 2 * OWN_REFUSED * len(own)


def test_unsaid_speech_never_speaks_for_a_model() -> None:
    rng = np.random.default_rng(2)
    own, other = features(rng, 300, (2.0, 0.9, 0.5)), features(rng, 300, (0.0, 0.4, 0.1))
    weights, _ = part(own, other)
    assert weights[2] == 0


def test_all_speakers_come_up_alike() -> None:
    order = balanced([5, 0, 3, 1, 4, 2], ["a", "a", "a", "a", "b", None])
    assert order == [5, 0, 4, 3, 1, 2]
