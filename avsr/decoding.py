"""From frame posteriors to token ids: greedy CTC and prefix beam search.

T  frames, 25 a second        U  tokens, 0 is the CTC blank        B  clips in a batch
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BLANK = 0
PRUNE_LOG_PROB = -8.0  # a token below this share of a frame (0.03 %) is not tried by the beam

Scorer = Callable[[tuple[int, ...], int | None], float]
"""Scores a prefix's next token (None: the end of the utterance) in log domain, its weight included."""


def greedy(log_probs: Tensor, lens: Tensor) -> list[list[int]]:
    """Best token per frame, repeats collapsed, blanks dropped.

    Args:
        log_probs: (B, T, U) float, frame posteriors.
        lens: (B,) int64, frames that count in each clip.

    Returns:
        Per clip the ids without blanks.
    """
    best = log_probs.argmax(dim=-1).cpu()  # (B, T)
    return [
        [token for token in torch.unique_consecutive(row[: int(length)]).tolist() if token != BLANK]
        for row, length in zip(best, lens.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Beam:
    """One candidate: its ids, its CTC log probability over all paths, and that plus the scorer's part."""

    ids: tuple[int, ...]
    ctc: float
    score: float


@dataclass
class _Mass:
    """Log probability of the paths that spell a prefix, by whether they end in a blank or in its last token."""

    blank: float = -math.inf
    token: float = -math.inf

    @property
    def total(self) -> float:
        return _add(self.blank, self.token)


def beam_search(
    log_probs: Tensor, width: int = 8, scorer: Scorer | None = None, prune: float = PRUNE_LOG_PROB
) -> list[Beam]:
    """Prefix beam search: sums over all CTC paths of a text, where greedy follows a single one.

    Method: Hannun et al., "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional
    Recurrent DNNs", arXiv 1408.2873.

    Args:
        log_probs: (T, U) float, frame posteriors of one clip without padding.
        width: prefixes kept after each frame, at least 1.
        scorer: log score of a prefix's next token, for a language model or a grammar; None for CTC alone.
        prune: tokens with a lower log probability in a frame are not tried there; -inf tries all.

    Returns:
        At most `width` candidates, the best first; never empty.

    Raises:
        ValueError: width below 1.
    """
    if width < 1:
        raise ValueError(f"beam width {width}: must be at least 1")
    beams: dict[tuple[int, ...], _Mass] = {(): _Mass(blank=0.0)}
    language: dict[tuple[int, ...], float] = {(): 0.0}  # the scorer's part of each prefix seen
    for frame in log_probs.double().cpu():
        tokens = [(i, frame[i].item()) for i in torch.nonzero(frame > prune).flatten().tolist() if i != BLANK]
        beams = _step(beams, float(frame[BLANK]), tokens, frame.tolist())
        if scorer is not None:
            for prefix in beams:
                if prefix not in language:
                    language[prefix] = language[prefix[:-1]] + scorer(prefix[:-1], prefix[-1])
        ranked = sorted(beams, key=lambda p: beams[p].total + language.get(p, 0.0), reverse=True)[:width]
        beams = {prefix: beams[prefix] for prefix in ranked}
        if scorer is not None:
            language = {prefix: language[prefix] for prefix in beams}
    finished = [
        Beam(p, m.total, m.total + (language[p] + scorer(p, None) if scorer is not None else 0.0))
        for p, m in beams.items()
    ]
    return sorted(finished, key=lambda beam: beam.score, reverse=True)


def _step(
    beams: dict[tuple[int, ...], _Mass], blank: float, tokens: list[tuple[int, float]], frame: list[float]
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
