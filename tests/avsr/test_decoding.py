"""Decoding: what the posteriors spell, against brute force over all paths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.decoding import beam_search, greedy


def frames(*tokens: int, vocabulary: int = 4) -> torch.Tensor:
    """(T, U) log posteriors that are nearly sure of one token a frame."""
    return torch.nn.functional.one_hot(torch.tensor(tokens), vocabulary).float().mul(20).log_softmax(-1)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def all_texts(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every text, summed over every path: what CTC means, written down."""
    total: dict[tuple[int, ...], float] = {}
    probs = log_probs.exp().tolist()
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = collapse(path)
        total[text] = total.get(text, 0.0) + math.prod(frame[token] for frame, token in zip(probs, path, strict=True))
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
    log_probs = torch.randn(length, 3, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)
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


def test_scorer_decides_between_texts_that_sound_alike():
    log_probs = torch.tensor([[0.02, 0.5, 0.48], [0.98, 0.01, 0.01]]).log()

    def prefer_two(prefix: tuple[int, ...], token: int | None) -> float:
        return 0.0 if token in (2, None) else -1.0

    assert beam_search(log_probs, width=4)[0].ids == (1,)
    best = beam_search(log_probs, width=4, scorer=prefer_two)[0]
    assert best.ids == (2,)
    assert best.score == pytest.approx(best.ctc)


def test_scorer_sees_the_end_of_the_utterance():
    log_probs = torch.tensor([[0.1, 0.5, 0.4]]).log()
    best = beam_search(log_probs, width=4, scorer=lambda prefix, token: -9.0 if (prefix, token) == ((1,), None) else 0)
    assert best[0].ids == (2,)


def test_nothing_and_nonsense():
    assert beam_search(torch.zeros(0, 3), width=3)[0].ids == ()
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(torch.zeros(1, 3), width=0)


def test_narrow_beam_on_sure_posteriors_equals_greedy():
    log_probs = frames(0, 1, 1, 0, 2, 2, 0, 2, 3)
    assert list(beam_search(log_probs, width=1)[0].ids) == greedy(log_probs[None], torch.tensor([9]))[0]
