"""Decoding: what the posteriors spell, against brute force over all paths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.decoding.ctc import beam_search, greedy


def frames(*tokens: int, vocabulary: int = 4) -> torch.Tensor:
    """(T, U) log posteriors that are nearly sure of one token a frame."""
    return (
        torch.nn.functional.one_hot(torch.tensor(tokens), vocabulary)
        .float()
        .mul(20)
        .log_softmax(-1)
    )


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def all_texts(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every text, summed over every path: what CTC means, written down."""
    total: dict[tuple[int, ...], float] = {}
    probs = log_probs.exp().tolist()
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = collapse(path)
        total[text] = total.get(text, 0.0) + math.prod(
            frame[token] for frame, token in zip(probs, path, strict=True)
        )
    return total


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((0, 0, 0), []),
        ((1, 1, 2), [1, 2]),
        ((1, 0, 1), [1, 1]),  # a blank between makes it a doubled letter
        ((0, 3, 3, 0, 3), [3, 3]),
    ],
)
def test_greedy_collapses_repeats_and_drops_blanks(path, expected):
    assert greedy(frames(*path)[None], torch.tensor([len(path)])) == [expected]


def test_greedy_ignores_padding():
    batch = torch.stack([frames(1, 2, 3, 3), frames(2, 3, 1, 1)])
    assert greedy(batch, torch.tensor([4, 1])) == [[1, 2, 3], [2]]
    assert greedy(batch, torch.tensor([0, 2])) == [[], [2, 3]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_wide_beam_equals_the_sum_over_all_paths(seed, length):
    log_probs = (
        torch.randn(length, 3, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)
    )
    truth = all_texts(log_probs)
    beams = beam_search(log_probs, width=1000, prune=-math.inf)
    assert {beam.ids for beam in beams} == {text for text in truth if truth[text] > 0}
    for beam in beams:
        assert math.exp(beam.ctc) == pytest.approx(truth[beam.ids], rel=1e-4)
    assert beams[0].ids == max(truth, key=truth.__getitem__)


def test_beam_finds_the_text_whose_paths_together_win():
    """Blank is the best single path, but three paths spell "a"."""
    log_probs = torch.tensor([[0.55, 0.45], [0.55, 0.45]]).log()
    assert greedy(log_probs[None], torch.tensor([2])) == [[]]
    assert beam_search(log_probs, width=4)[0].ids == (1,)


class Judge:
    """A scorer that knows the text so far and gives each ending of it a score."""

    def __init__(self, scores: dict[str, float], endings: dict[str, float] | None = None) -> None:
        self.scores, self.endings = scores, endings or {}

    def start(self) -> str:
        return ""

    def extend(self, state: str, token: str) -> tuple[str, float]:
        return state + token, self.scores.get(state + token, 0.0)

    def finish(self, state: str) -> float:
        return self.endings.get(state, 0.0)


def test_scorer_decides_between_texts_that_sound_alike():
    log_probs = torch.tensor([[0.02, 0.5, 0.48], [0.98, 0.01, 0.01]]).log()
    assert beam_search(log_probs, width=4)[0].ids == (1,)
    best = beam_search(log_probs, width=4, scorer=Judge({"a": -1.0}), tokens="_ab")[0]
    assert best.ids == (2,)
    assert best.score == pytest.approx(best.ctc)


def test_scorer_is_asked_about_the_end_where_there_is_one():
    log_probs = torch.tensor([[0.1, 0.5, 0.4]]).log()
    judge = Judge({}, {"a": -9.0})
    assert beam_search(log_probs, width=4, scorer=judge, tokens="_ab")[0].ids == (2,)
    assert beam_search(log_probs, width=4, scorer=judge, tokens="_ab", closed=False)[0].ids == (1,)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_wide_beam_with_a_scorer_finds_the_best_sum_of_both(seed, length):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(length, 3, generator=generator).mul(2).log_softmax(-1)
    texts = ["".join(text) for n in range(length + 1) for text in itertools.product("ab", repeat=n)]
    scores, ends = (
        dict(zip(texts, torch.randn(len(texts), generator=generator).tolist(), strict=True))
        for _ in "12"
    )
    truth = all_texts(log_probs)

    def total(ids: tuple[int, ...]) -> float:
        text = "".join("_ab"[i] for i in ids)
        language = sum(scores[text[:n]] for n in range(1, len(text) + 1)) + ends[text]
        return math.log(truth[ids]) + language if truth[ids] else -math.inf

    best = beam_search(
        log_probs, width=1000, scorer=Judge(scores, ends), prune=-math.inf, tokens="_ab"
    )[0]
    assert best.ids == max(truth, key=total)
    assert best.score == pytest.approx(total(best.ids), abs=1e-4)


def test_nothing_and_nonsense():
    assert beam_search(torch.zeros(0, 3), width=3)[0].ids == ()
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(torch.zeros(1, 3), width=0)


def test_narrow_beam_on_sure_posteriors_equals_greedy():
    log_probs = frames(0, 1, 1, 0, 2, 2, 0, 2, 3)
    assert (
        list(beam_search(log_probs, width=1)[0].ids)
        == greedy(log_probs[None], torch.tensor([9]))[0]
    )
