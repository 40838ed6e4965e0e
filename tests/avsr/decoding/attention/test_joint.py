"""The joint search of research models, against brute force over all texts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avsr.decoding.attention.joint import JointSearch, Scored, joint_search
from avsr.decoding.attention.prefix import CtcPrefixScorer, Prefixes

MEMORY = torch.zeros(3, 1)
Texts = list[tuple[int, ...]]


class FakeScorer:
    """Next-token probabilities that depend on the whole text before, reproducibly; its state is
    that text."""

    def __init__(self, vocabulary: int, seed: int = 0, end_bias: float = 0.0) -> None:
        self.vocabulary = vocabulary
        self._seed = seed
        self._end_bias = end_bias
        self.calls = 0

    def next_log_probs(self, text: tuple[int, ...]) -> Tensor:
        seed = self._seed
        for token in text:
            seed = (seed * 31 + token + 1) % 1_000_003
        logits = 2 * torch.randn(self.vocabulary, generator=torch.Generator().manual_seed(seed))
        logits[-1] += self._end_bias
        return logits.double().log_softmax(-1)

    def start(self, memory: Tensor) -> Texts:
        return [()]

    def step(self, tokens: Tensor, state: Texts) -> tuple[Tensor, Texts]:
        self.calls += 1
        texts = [(*text, token) for text, token in zip(state, tokens.tolist(), strict=True)]
        return torch.stack([self.next_log_probs(text) for text in texts]), texts

    def select(self, state: Texts, indices: Tensor) -> Texts:
        return [state[i] for i in indices.tolist()]


def posteriors(frames: int, vocabulary: int, seed: int) -> Tensor:
    """(T, V) log posteriors without any sense."""
    noise = torch.randn(frames, vocabulary, generator=torch.Generator().manual_seed(seed))
    return noise.mul(2).double().log_softmax(-1)


def all_texts(log_probs: Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every text, summed over every path."""
    total: dict[tuple[int, ...], float] = {}
    probs = log_probs.exp().tolist()
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(token for token, _ in itertools.groupby(path) if token)
        total[text] = total.get(text, 0.0) + math.prod(
            frame[token] for frame, token in zip(probs, path, strict=True)
        )
    return total


def grown(ctc: CtcPrefixScorer, text: tuple[int, ...]) -> Prefixes:
    prefixes = ctc.start()
    for token in text:
        prefixes = ctc.extend(prefixes, torch.tensor([0]), torch.tensor([token]))
    return prefixes


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_prefix_scores_are_sums_over_all_paths(seed, frames):
    log_probs = posteriors(frames, 3, seed)
    truth, ctc = all_texts(log_probs), CtcPrefixScorer(log_probs)
    for text in truth:
        prefixes = grown(ctc, text)
        assert ctc.ends(prefixes).exp().item() == pytest.approx(truth[text])
        begins = ctc.begins(prefixes, torch.tensor([[1, 2]])).exp()[0].tolist()
        for token, probability in zip((1, 2), begins, strict=True):
            longer = (*text, token)
            assert probability == pytest.approx(
                sum(truth[t] for t in truth if t[: len(longer)] == longer)
            )


def test_prefix_scores_stay_exact_over_long_clips():
    sure = torch.tensor([[0.0, -60.0, -60.0]]).repeat(2000, 1)
    sure[1500] = torch.tensor([-60.0, 0.0, -60.0])
    ctc = CtcPrefixScorer(sure.log_softmax(-1))
    assert ctc.ends(grown(ctc, (1,))).item() == pytest.approx(0.0, abs=1e-9)
    assert math.isfinite(ctc.ends(grown(ctc, (1, 1))).item())


def test_posteriors_of_zero_are_no_trouble():
    certain = torch.full((4, 3), -math.inf)
    certain[[0, 1, 2, 3], [0, 1, 1, 0]] = 0.0
    ctc = CtcPrefixScorer(certain)
    assert ctc.ends(grown(ctc, (1,))).item() == pytest.approx(0.0)
    assert ctc.ends(grown(ctc, (2,))).item() < -1000


@pytest.mark.parametrize("seed", range(5))
def test_wide_search_finds_the_best_of_all_texts(seed):
    log_probs = posteriors(4, 4, seed)
    decoder, lm = FakeScorer(4, seed), FakeScorer(4, seed + 100)
    options = JointSearch(
        beam=1000, ctc_weight=0.3, lm_weight=0.5, penalty=0.2, end_detection=False
    )
    truth = {}
    for text, probability in all_texts(log_probs).items():
        if 3 in text or not probability:
            continue
        score = 0.3 * math.log(probability)
        tokens = (
            (*text, 3) if len(text) < len(log_probs) else text
        )  # at one token a frame the end is not asked about
        for place, token in enumerate(tokens):
            before = (3, *text[:place])
            score += 0.7 * decoder.next_log_probs(before)[token].item() + 0.2
            score += 0.5 * lm.next_log_probs(before)[token].item()
        truth[text] = score
    shorter = {text: score for text, score in truth.items() if len(text) < len(log_probs)}
    found = joint_search(log_probs, MEMORY, decoder, lm, options)
    scores = {text.ids: text.score for text in found if len(text.ids) < len(log_probs)}
    assert scores == pytest.approx(shorter)
    assert found == sorted(found, key=lambda text: -text.score)


def test_all_hypotheses_are_scored_at_once():
    decoder = FakeScorer(6)
    joint_search(
        posteriors(8, 6, 1), MEMORY, decoder, options=JointSearch(beam=5, end_detection=False)
    )
    assert decoder.calls <= 8


def test_texts_longer_than_the_frames_can_spell_vanish():
    log_probs = posteriors(3, 3, 2)
    found = joint_search(
        log_probs, MEMORY, FakeScorer(3, end_bias=-9.0), options=JointSearch(beam=20)
    )
    assert found
    assert all(math.isfinite(text.score) for text in found)
    assert (1, 1, 1) not in {text.ids for text in found}  # needs two blanks between


def test_no_text_holds_a_blank_or_an_end():
    found = joint_search(posteriors(6, 5, 3), MEMORY, FakeScorer(5), options=JointSearch(beam=30))
    assert all(set(text.ids) <= {1, 2, 3} for text in found)


def test_search_ends_where_texts_only_get_worse():
    blank = torch.tensor([0.0, -9.0, -9.0, -9.0, -40.0]).log_softmax(-1).repeat(60, 1)
    decoder, patient = FakeScorer(5, end_bias=8.0), FakeScorer(5, end_bias=8.0)
    quick = joint_search(blank, MEMORY, decoder, options=JointSearch(beam=4))
    whole = joint_search(blank, MEMORY, patient, options=JointSearch(beam=4, end_detection=False))
    assert decoder.calls < patient.calls
    assert quick[0] == whole[0]


def test_the_language_model_decides_between_what_sounds_alike():
    log_probs = torch.tensor([0.02, 0.48, 0.48, 0.02]).log()[None].double()

    class Prefers(FakeScorer):
        def next_log_probs(self, text):
            odds = torch.full((4,), -4.0)
            odds[self._seed if len(text) == 1 else 3] = 0.0
            return odds.double().log_softmax(-1)

    class Undecided(FakeScorer):
        def next_log_probs(self, text):
            return torch.zeros(4).double().log_softmax(-1)

    for word in (1, 2):
        found = joint_search(
            log_probs, MEMORY, Undecided(4), Prefers(4, word), JointSearch(lm_weight=0.5)
        )
        assert found[0].ids == (word,)


def test_a_clip_without_frames_says_nothing():
    assert joint_search(torch.zeros(0, 4), MEMORY, FakeScorer(4)) == [Scored((), 0.0)]


@pytest.mark.parametrize("wrong", [{"beam": 0}, {"ctc_weight": 0.0}, {"ctc_weight": 1.5}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        JointSearch(**wrong)
