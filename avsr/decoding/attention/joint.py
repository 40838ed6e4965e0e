"""Joint CTC/attention beam search with a language model, all hypotheses of a clip at once.

Method: Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", IEEE
JSTSP 2017, as ESPnet searches (Watanabe et al., Interspeech 2018): the research checkpoints were
measured with it.

H  hypotheses        C  tokens tried after each        T  frames        D  width of the encoder
V  vocabulary: token 0 is the CTC blank, token V - 1 begins and ends a text
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avsr.decoding.attention.prefix import CtcPrefixScorer, Prefixes
from avsr.decoding.attention.scorers import TokenScorer
from avsr.decoding.ctc import BLANK

TRIED = 1.5  # times the beam: so many tokens, the decoder's likeliest, are tried after each text
HOPELESS = 10.0  # a text so much below the best one is not what was said
HOPELESS_LENGTHS = 3  # when the best of so many lengths in a row are hopeless, longer ones will be


@dataclass(frozen=True)
class JointSearch:
    """How to search; the defaults are the published ones, but for the beam (40 there).

    Attributes:
        beam: hypotheses kept after each token.
        ctc_weight: of the CTC prefix score, above 0 to 1; the decoder has the rest.
        lm_weight: of the language model, which comes on top.
        penalty: added for each token; more than 0 favours longer texts.
        end_detection: stop where texts only get worse as they get longer; otherwise at one token a
            frame.
    """

    beam: int = 10
    ctc_weight: float = 0.1
    lm_weight: float = 0.0
    penalty: float = 0.0
    end_detection: bool = True

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ValueError(f"beam {self.beam}: must be at least 1")
        if not 0 < self.ctc_weight <= 1:
            raise ValueError(f"ctc_weight {self.ctc_weight}: must be above 0 and at most 1")


@dataclass(frozen=True)
class Scored:
    """A text that the search finished: its tokens without the end, and its log score."""

    ids: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class _Running:
    """H texts that go on, all of the same length n; the best first.

    Attributes:
        ids: (H, n) int64.
        scores: (H,) float64, log scores so far.
        prefixes: their CTC paths.
        begins: (H,) float64, CTC log probability that the text begins so.
        states: of the decoder and of the language model.
    """

    ids: Tensor
    scores: Tensor
    prefixes: Prefixes
    begins: Tensor
    states: list[Any]


@torch.inference_mode()
def joint_search(
    log_probs: Tensor,
    memory: Tensor,
    decoder: TokenScorer[Any],
    lm: TokenScorer[Any] | None = None,
    options: JointSearch | None = None,
) -> list[Scored]:
    """The texts that CTC, the decoder and the language model together find most probable.

    Args:
        log_probs: (T, V) float, CTC log posteriors of one clip without padding.
        memory: (T, D) float, what the encoder made of it.
        decoder: scores the next token with the memory in view.
        lm: scores the next token by the text alone.
        options: widths and weights.

    Returns:
        Finished texts, the best first; never empty. Texts with more tokens than the frames can
        spell are not among them.
    """
    options = options or JointSearch()
    frames = len(log_probs)
    if frames == 0:
        return [Scored((), 0.0)]
    search = _Search(log_probs, memory.device, decoder, lm if options.lm_weight else None, options)
    running = search.start(memory)
    finished: list[Scored] = []
    for step in range(frames):
        running, ended = search.step(running)
        finished += ended
        if step == frames - 1:
            finished += _scored(running.ids, running.scores)
        elif len(running.ids) == 0 or (options.end_detection and _hopeless(finished, step)):
            break
    return sorted(finished, key=lambda text: text.score, reverse=True)


class _Search:
    """One clip's search: what scores a text, and how texts grow."""

    def __init__(
        self,
        log_probs: Tensor,
        device: torch.device,
        decoder: TokenScorer[Any],
        lm: TokenScorer[Any] | None,
        options: JointSearch,
    ) -> None:
        self._device = device  # of the networks; everything else is small and stays on the CPU
        self._ctc = CtcPrefixScorer(log_probs)
        self._end = decoder.vocabulary - 1
        self._options = options
        self._tried = min(int(TRIED * options.beam), decoder.vocabulary)
        self._scorers = [decoder] if lm is None else [decoder, lm]
        self._weights = [1 - options.ctc_weight, options.lm_weight][: len(self._scorers)]

    def start(self, memory: Tensor) -> _Running:
        """The empty text."""
        states = [scorer.start(memory) for scorer in self._scorers]
        nothing = torch.zeros(1, dtype=torch.float64)
        return _Running(
            torch.zeros(1, 0, dtype=torch.int64), nothing, self._ctc.start(), nothing, states
        )

    def step(self, running: _Running) -> tuple[_Running, list[Scored]]:
        """Every text longer by a token: the best that go on, and those that end."""
        tokens, added, states = self._ask(running)
        goes_on = self._ctc.begins(running.prefixes, tokens[:, :-1])
        begins = torch.cat([goes_on, self._ctc.ends(running.prefixes)[:, None]], dim=1)
        ctc = self._options.ctc_weight * (begins - running.begins[:, None])
        total = running.scores[:, None] + added + ctc  # (H, C)
        likely = tokens[:, :-1]  # the end has the last column to itself
        total[:, :-1][(likely == BLANK) | (likely == self._end)] = -torch.inf

        scores, order = total.flatten().sort(descending=True, stable=True)
        best = order[: self._options.beam][scores[: self._options.beam] > -torch.inf]
        parents, newest = best // tokens.shape[1], tokens.flatten()[best]
        ending = newest == self._end
        ended = _scored(running.ids[parents[ending]], total.flatten()[best[ending]])

        best, parents, newest = best[~ending], parents[~ending], newest[~ending]
        chosen = parents.to(self._device)
        longer = _Running(
            ids=torch.cat([running.ids[parents], newest[:, None]], dim=1),
            scores=total.flatten()[best],
            prefixes=self._ctc.extend(running.prefixes, parents, newest),
            begins=begins.flatten()[best],
            states=[
                scorer.select(state, chosen)
                for scorer, state in zip(self._scorers, states, strict=True)
            ],
        )
        return longer, ended

    def _ask(self, running: _Running) -> tuple[Tensor, Tensor, list[Any]]:
        """What decoder and language model say about the next token.

        Returns:
            (H, C) int64, the tokens that are tried after each text, the end in the last column;
            (H, C) float64, what each adds to the score; the new states.
        """
        begun = running.ids.shape[1] > 0
        newest = running.ids[:, -1] if begun else torch.tensor([self._end])
        answers = [
            scorer.step(newest.to(self._device), state)
            for scorer, state in zip(self._scorers, running.states, strict=True)
        ]
        log_probs = [answer for answer, _ in answers]
        likely = log_probs[0].topk(self._tried, dim=1).indices  # for the decoder alone
        tokens = torch.cat([likely, torch.full_like(likely[:, :1], self._end)], dim=1)
        added = torch.full(tokens.shape, self._options.penalty, dtype=torch.float64)
        for weight, answer in zip(self._weights, log_probs, strict=True):
            added += weight * answer.gather(1, tokens).cpu().double()
        return tokens.cpu(), added, [state for _, state in answers]


def _scored(ids: Tensor, scores: Tensor) -> list[Scored]:
    """Texts (H, n) and their scores (H,) one by one."""
    return [
        Scored(tuple(text), score)
        for text, score in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


def _hopeless(finished: Sequence[Scored], step: int) -> bool:
    """Whether longer texts need not be waited for: they only got worse.

    Args:
        finished: texts so far.
        step: from 0; texts of `step` tokens have just been finished. Those of two steps before and
            earlier are looked at, as the published searches do.
    """
    best_of: dict[int, float] = {}
    for text in finished:
        best_of[len(text.ids)] = max(text.score, best_of.get(len(text.ids), text.score))
    lengths = [step - 2 - back for back in range(HOPELESS_LENGTHS)]
    limit = max(best_of.values(), default=0.0) - HOPELESS
    return all(length in best_of and best_of[length] < limit for length in lengths)
