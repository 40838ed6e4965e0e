"""From posteriors to token ids: greedy CTC and prefix beam search.

T  outputs of the model, one or more for each frame        U  tokens, 0 is the CTC blank        B
clips in a batch
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

BLANK = 0
PRUNE_LOG_PROB = -8.0  # a token below this share of an output (0.03 %) is not tried by the beam


class Scorer(Protocol):
    """What the beam search asks about the language: log scores, their weight included, and a state
    for each prefix."""

    def start(self) -> Hashable:
        """The state of the empty text."""

    def extend(self, state: Any, token: str) -> tuple[Any, float]:
        """The state after one more token, and what that token adds to the score."""

    def finish(self, state: Any) -> float:
        """What the end of the text adds to the score."""


def greedy(log_probs: Tensor, lens: Tensor) -> list[list[int]]:
    """What the path of the best token per output spells.

    Args:
        log_probs: (B, T, U) float.
        lens: (B,) int64, outputs that count in each clip.

    Returns:
        Per clip the ids without blanks.
    """
    return collapse(log_probs.argmax(dim=-1), lens)


def collapse(paths: Tensor, lens: Tensor) -> list[list[int]]:
    """What paths spell: repeats collapsed, blanks dropped.

    Args:
        paths: (B, T) int64 tokens.
        lens: (B,) int64, outputs that count in each clip.

    Returns:
        Per clip the ids without blanks.
    """
    return [
        [token for token in torch.unique_consecutive(row[: int(length)]).tolist() if token != BLANK]
        for row, length in zip(paths.cpu(), lens.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Beam:
    """One candidate: its ids, its CTC log probability over all paths, and that plus the scorer's
    part."""

    ids: tuple[int, ...]
    ctc: float
    score: float


@dataclass
class _Mass:
    """Log probability of the paths that spell a prefix, by whether they end in a blank or in its
    last token."""

    blank: float = -math.inf
    token: float = -math.inf

    @property
    def total(self) -> float:
        return _add(self.blank, self.token)


def beam_search(
    log_probs: Tensor,
    width: int = 8,
    scorer: Scorer | None = None,
    prune: float = PRUNE_LOG_PROB,
    *,
    tokens: Sequence[str] = (),
    closed: bool = True,
) -> list[Beam]:
    """Prefix beam search: sums over all CTC paths of a text, where greedy follows a single one.

    Method: Hannun et al., "First-Pass Large Vocabulary Continuous Speech Recognition using
    Bi-Directional Recurrent DNNs", arXiv 1408.2873.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        width: prefixes kept after each output, at least 1.
        scorer: a language model; None for CTC alone.
        prune: tokens with a lower log probability in an output are not tried there; -inf tries all.
        tokens: the string of each id, for the scorer.
        closed: the text ends with the clip; otherwise the scorer is not asked about its end.

    Returns:
        At most `width` candidates, the best first; never empty.

    Raises:
        ValueError: width below 1.
    """
    if width < 1:
        raise ValueError(f"beam width {width}: must be at least 1")
    beams: dict[tuple[int, ...], _Mass] = {(): _Mass(blank=0.0)}
    # prefix -> state and score of the language
    heard: dict[tuple[int, ...], tuple[Any, float]] = {}
    if scorer is not None:
        heard[()] = scorer.start(), 0.0
    for frame in log_probs.double().cpu():
        likely = [
            (i, frame[i].item())
            for i in torch.nonzero(frame > prune).flatten().tolist()
            if i != BLANK
        ]
        beams = _step(beams, float(frame[BLANK]), likely, frame.tolist())
        if scorer is not None:
            for prefix in beams.keys() - heard.keys():
                state, score = heard[prefix[:-1]]
                state, more = scorer.extend(state, tokens[prefix[-1]])
                heard[prefix] = state, score + more
        scores = {
            prefix: mass.total + (heard[prefix][1] if heard else 0.0)
            for prefix, mass in beams.items()
        }
        kept = sorted(beams, key=scores.__getitem__, reverse=True)[:width]
        beams = {prefix: beams[prefix] for prefix in kept}
        heard = {prefix: heard[prefix] for prefix in kept if heard}
    found = []
    for prefix, mass in beams.items():
        state, score = heard.get(prefix, (None, 0.0))
        ending = scorer.finish(state) if scorer is not None and closed else 0.0
        found.append(Beam(prefix, mass.total, mass.total + score + ending))
    return sorted(found, key=lambda beam: beam.score, reverse=True)


def _step(
    beams: dict[tuple[int, ...], _Mass],
    blank: float,
    tokens: list[tuple[int, float]],
    frame: list[float],
) -> dict[tuple[int, ...], _Mass]:
    """All prefixes after one more frame, unranked."""
    after: dict[tuple[int, ...], _Mass] = defaultdict(_Mass)
    for prefix, mass in beams.items():
        total = mass.total
        same = after[prefix]
        same.blank = _add(same.blank, total + blank)
        if prefix:  # the last token again, without a blank between, spells the same prefix
            same.token = _add(same.token, mass.token + frame[prefix[-1]])
        for token, log_prob in tokens:
            # a doubled letter needs a blank between its two spikes
            before = mass.blank if prefix and token == prefix[-1] else total
            if before == -math.inf:
                continue
            longer = after[(*prefix, token)]
            longer.token = _add(longer.token, before + log_prob)
    return after


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)) without overflow."""
    low, high = (a, b) if a < b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
