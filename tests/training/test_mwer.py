"""Expected word errors: the right number, and a gradient that settles what CTC leaves open."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avsr.decoding.ctc import greedy
from avsr.model.tokenizer import BLANK, Tokenizer
from avsr.training.mwer import expected_word_errors

TOKENIZER = Tokenizer([BLANK, " ", "a", "b"])
SURE = 40.0  # logit of a token that is always drawn


def spelt(*paths: str) -> Tensor:
    """(B, T, 4) log-probabilities of outputs that leave no doubt; "_" is the blank."""
    tokens = ["_", *TOKENIZER.tokens[1:]]
    ids = torch.tensor([[tokens.index(char) for char in path] for path in paths])
    return F.one_hot(ids, 4).mul(SURE).log_softmax(-1)


@pytest.mark.parametrize(
    ("path", "text", "errors"),
    [
        ("_a_ b_", "a b", 0),
        ("_a_ a_", "a b", 1),
        ("_a_a__", "a", 1),
        ("a_ a b", "a b", 1),
        ("______", "a b", 2),
        ("_a_ b_", "", 2),
        ("______", "", 0),
    ],
)
def test_it_counts_substitutions_deletions_and_insertions(
    path: str, text: str, errors: int
) -> None:
    rate = expected_word_errors(spelt(path), torch.tensor([6]), [text], TOKENIZER)
    assert rate.item() == pytest.approx(errors / max(1, len(text.split())))


def test_errors_are_pooled_over_the_words_of_all_clips() -> None:
    paths = spelt("_a_ b_", "_b____", "_b____")
    rate = expected_word_errors(paths, torch.full((3,), 6), ["a b", "a", ""], TOKENIZER)
    assert rate.item() == pytest.approx(2 / 3)


def test_the_padding_is_neither_read_nor_taught() -> None:
    outputs = spelt("_a_ bb").clone()
    outputs[:, 3:] = torch.randn(1, 3, 4).log_softmax(-1)
    outputs.requires_grad_()
    rate = expected_word_errors(outputs, torch.tensor([3]), ["b"], TOKENIZER)
    rate.backward()
    assert rate.item() == pytest.approx(1)
    assert not outputs.grad[:, 3:].any()


def test_of_two_places_for_a_letter_one_remains() -> None:
    """With 0.6 at either place CTC is content, and greedy decoding says the letter twice."""
    logits = torch.zeros(1, 8, 4)
    logits[..., 0] = 6.0
    for place, odds in ((2, 0.62), (5, 0.6)):
        logits[0, place] = torch.tensor([(1 - odds), 1e-4, odds, 1e-4]).log()
    lens = torch.tensor([8])
    assert greedy(logits, lens) == [[2, 2]]
    logits.requires_grad_()
    torch.manual_seed(0)
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(200):
        loss = expected_word_errors(logits.log_softmax(-1), lens, ["a"], TOKENIZER)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert greedy(logits, lens) == [[2]]
    assert loss.item() < 0.1


def test_its_gradient_is_that_of_the_expected_errors() -> None:
    """One output that is "a" with probability p: the expected errors are 1 - p, their slope -p (1 -
    p)."""
    logits = torch.tensor([[[0.3, -9.0, 0.0, -9.0]]], requires_grad=True)
    torch.manual_seed(0)
    loss = expected_word_errors(
        logits.log_softmax(-1), torch.tensor([1]), ["a"], TOKENIZER, paths=20_000, sharpness=1.0
    )
    loss.backward()
    p = logits.softmax(-1)[0, 0, 2].item()
    assert loss.item() == pytest.approx(1 - p, abs=0.02)
    assert logits.grad[0, 0, 2].item() == pytest.approx(-p * (1 - p), abs=0.02)
