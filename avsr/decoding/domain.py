"""Is it a model's own language that was heard: what its words, and the speech that they leave over,
say about it.

A recogniser of few words has no other words for what it does not know. Then it is not sure of
them, their order is none that its sentences have, or it finds none at all where somebody speaks. A
logistic regression weighs these; `avsr calibrate --other` fits it and stores it in the model
file.

T  frames, 25 a second
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.decoding.confidence import logit
from avsr.decoding.words import Word
from avsr.preprocessing.clip import FPS

FEATURES = ("sure", "order", "unsaid")
REACH = 12  # frames around a word that belong to it, as many as voice activity holds around a voice
LEAST_S = 1.5  # of speech, below which nothing is said about it
NO_WORDS = (0.0, 0.0, 1.0)  # the features of speech in which no word was found
AGAIN = "fit it again with avsr calibrate --other"

Pairs = Collection[tuple[str, str]]
"""Words of which the second may follow the first."""


def domain_features(
    words: Sequence[Word], speaking: np.ndarray, origin_s: float, follows: Pairs
) -> tuple[float, ...]:
    """What is known of a stretch of speech, in the order of FEATURES.

    - sure: mean logit of the confidence of its words;
    - order: share of neighbours that may follow each other; half where there are no neighbours;
    - unsaid: share of the frames in which somebody speaks that belong to no word.

    Args:
        words: that lie in the stretch, in order.
        speaking: (T,) bool, frames of the stretch in which somebody speaks.
        origin_s: where it begins.
        follows: of the model's language; with none, order says nothing.
    """
    if not words:
        return NO_WORDS
    sure = sum(logit(word.confidence) for word in words) / len(words)
    pairs = [(a.word, b.word) for a, b in pairwise(words)]
    known = bool(pairs) and bool(follows)
    order = sum(pair in follows for pair in pairs) / len(pairs) if known else 0.5
    left = speaking & ~covered(words, len(speaking), origin_s)
    unsaid = float(left.sum() / speaking.sum()) if speaking.any() else 0.0
    return sure, order, unsaid


def covered(words: Sequence[Word], frames: int, origin_s: float = 0.0) -> np.ndarray:
    """(T,) bool: frames that belong to a word."""
    out = np.zeros(frames, np.bool_)
    for word in words:
        first = math.floor((word.start_s - origin_s) * FPS) - REACH
        last = math.ceil((word.end_s - origin_s) * FPS) + REACH
        out[max(first, 0) : max(last, 0)] = True
    return out


@dataclass(frozen=True)
class Domain:
    """Tells a model's own language from other speech.

    Attributes:
        weights: one for each of FEATURES.
        bias: what is added to their sum; from 0 on, speech is taken for the model's own language.
        follows: pairs of words that its sentences have.
        language: what the model knows, for people, such as "51 GRID words".
    """

    weights: tuple[float, ...]
    bias: float
    follows: Pairs = field(default=frozenset(), repr=False)
    language: str = ""

    def score(self, features: Sequence[float]) -> float:
        """Above 0 for the model's own language, in logits."""
        pairs = zip(self.weights, features, strict=True)
        return self.bias + sum(weight * value for weight, value in pairs)

    def judge(
        self, words: Sequence[Word], speaking: np.ndarray, origin_s: float = 0.0
    ) -> bool | None:
        """Whether a stretch is of the model's language; None where hardly anybody speaks.

        Args:
            words, speaking, origin_s: as of `domain_features`.
        """
        if not words and speaking.sum() < LEAST_S * FPS:
            return None
        return self.score(domain_features(words, speaking, origin_s, self.follows)) >= 0

    def to_info(self) -> dict[str, Any]:
        """What stands in a model's info under "domain"."""
        return {"features": list(FEATURES), "weights": list(self.weights), "bias": self.bias}

    @classmethod
    def from_info(cls, info: dict[str, Any], follows: Pairs = frozenset()) -> Domain | None:
        """What a model brings along, None where it brings nothing.

        Args:
            info: of the model.
            follows: pairs of words of its language.

        Raises:
            AvsrError: it is not what this version can use.
        """
        entry = info.get("domain")
        if entry is None:
            return None
        about = entry if isinstance(entry, dict) else {}
        names, weights, bias = (about.get(name) for name in ("features", "weights", "bias"))
        if names != list(FEATURES) or not isinstance(weights, list) or len(weights) != len(names):
            wanted = ", ".join(FEATURES)
            raise AvsrError(f"the model's domain must have a weight for each of {wanted}: {AGAIN}")
        numbers = [*weights, bias]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise AvsrError(f"the model's domain holds {numbers}, not all of them numbers: {AGAIN}")
        language = str(info.get("knows", ""))
        return cls(tuple(map(float, weights)), float(numbers[-1]), follows, language)
