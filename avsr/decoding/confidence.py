"""How sure is a word: what the posteriors say about it, mapped to the share of such words that are
right.

The map is a logistic regression on a few numbers a word (Platt, "Probabilistic outputs for support
vector machines", 1999). `avsr.eval.metrics.trust.calibration` fits it and stores it in the model
file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avsr.base.errors import AvsrError
from avsr.decoding.alignment import WordSpan

FEATURES = ("letters", "neighbours", "one letter", "heard")
NEIGHBOURS = 2  # words to either side
LARGEST_LOGIT = 9.0  # posteriors beyond 1 - 1e-4 say no more
AGAIN = "fit it again with avsr calibrate"


def word_features(
    spans: Sequence[WordSpan], audio_weights: Sequence[float]
) -> list[tuple[float, ...]]:
    """What is known of each word of an utterance, in the order of FEATURES.

    - letters: logit of the mean posterior of its letters at their peaks;
    - neighbours: mean logit of the weakest letter of each of the up to two words on either side,
      its own where it is alone: a recogniser that is lost is lost for longer than a word;
    - one letter: 1 for words of one letter, which nothing but that letter tells from each other,
      else 0;
    - heard: its audio_weight; sound and lips are not sure of themselves in the same way.

    Args:
        spans: the words of one utterance.
        audio_weights: of each of them, in [0, 1].
    """
    weakest = [logit(span.weakest) for span in spans]
    found: list[tuple[float, ...]] = []
    for n, (span, heard) in enumerate(zip(spans, audio_weights, strict=True)):
        around = weakest[max(0, n - NEIGHBOURS) : n] + weakest[n + 1 : n + 1 + NEIGHBOURS] or [
            weakest[n]
        ]
        found.append(
            (logit(span.confidence), sum(around) / len(around), float(len(span.word) == 1), heard)
        )
    return found


def logit(probability: float) -> float:
    """ln(p / (1 - p)), kept within LARGEST_LOGIT."""
    if not 0 < probability < 1:
        return math.copysign(LARGEST_LOGIT, probability - 0.5)
    return max(-LARGEST_LOGIT, min(LARGEST_LOGIT, math.log(probability / (1 - probability))))


@dataclass(frozen=True)
class Calibration:
    """Features of a word to the probability that it is right.

    Attributes:
        weights: one for each of FEATURES.
        bias: what is added to their sum.
    """

    weights: tuple[float, ...]
    bias: float

    def __call__(self, features: Sequence[float]) -> float:
        """Confidence in (0, 1)."""
        score = self.bias + sum(
            weight * value for weight, value in zip(self.weights, features, strict=True)
        )
        return 0.5 * (1 + math.tanh(score / 2))  # the logistic function, without overflow

    def to_info(self) -> dict[str, Any]:
        """What stands in a model's info under "calibration"."""
        return {"features": list(FEATURES), "weights": list(self.weights), "bias": self.bias}

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> Calibration | None:
        """The map that a model brings along, None where it brings none.

        Raises:
            AvsrError: it is not what this version can use.
        """
        entry = info.get("calibration")
        if entry is None:
            return None
        names, weights, bias = (
            (entry.get("features"), entry.get("weights"), entry.get("bias"))
            if isinstance(entry, dict)
            else (None, None, None)
        )
        if (
            names != list(FEATURES)
            or not isinstance(weights, list)
            or len(weights) != len(FEATURES)
        ):
            raise AvsrError(
                f"the model's calibration must have a weight for each of {', '.join(FEATURES)}: "
                f"{AGAIN}"
            )
        numbers = [*weights, bias]
        if not all(
            isinstance(number, (int, float)) and math.isfinite(number) for number in numbers
        ):
            raise AvsrError(
                f"the model's calibration holds {numbers}, which are not all numbers: {AGAIN}"
            )
        return cls(tuple(map(float, weights)), float(numbers[-1]))
