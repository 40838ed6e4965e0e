"""Grammars: only their sentences come out, and of those the most probable, against brute force."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.base.errors import AvsrError
from avsr.decoding.alignment import forced_align
from avsr.decoding.grammar import GRAMMARS, Grammar, load_grammar

LETTERS = ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")
SMALL = ("<blank>", " ", "a", "b")


def posteriors(frames: int, vocabulary: int, seed: int) -> torch.Tensor:
    """(T, U) log posteriors of nothing in particular."""
    return (
        torch.randn(frames, vocabulary, generator=torch.Generator().manual_seed(seed))
        .mul(3)
        .log_softmax(-1)
    )


def sure(path: str) -> torch.Tensor:
    """(T, U) log posteriors, nearly sure of one token a frame; "-" is the blank."""
    ids = torch.tensor([0 if char == "-" else LETTERS.index(char) for char in path])
    return torch.nn.functional.one_hot(ids, len(LETTERS)).float().mul(20).log_softmax(-1)


def text(ids: list[int], tokens: tuple[str, ...] = LETTERS) -> str:
    return "".join(tokens[i] for i in ids)


def path_score(log_probs: torch.Tensor, sentence: str) -> float:
    """Log probability of the best path that spells a sentence over the small alphabet; -inf where
    none fits."""
    ids = [SMALL.index(char) for char in sentence]
    try:
        spans = forced_align(log_probs, ids).tolist()
    except AvsrError:
        return -np.inf
    path = [0] * len(log_probs)
    for token, (first, last) in zip(ids, spans, strict=True):
        path[first:last] = [token] * (last - first)
    return sum(float(log_probs[t, token]) for t, token in enumerate(path))


def test_a_grammar_is_lines_of_alternatives():
    grammar = Grammar.parse(
        "x",
        "# orders\nplease |  # may be left out\nturn on | turn  off\n| dim\n\nthe light | all\n| "
        "the  light\n",
    )
    assert grammar.slots == (("please", ""), ("turn on", "turn off", "dim"), ("the light", "all"))


def test_the_grid_grammar_has_grids_sentences(shared):
    grammar = load_grammar("grid")
    assert [len(slot) for slot in grammar.slots] == [4, 4, 4, 25, 10, 4]
    assert len({word for slot in grammar.slots for word in slot}) == 51
    lists = [
        (shared / "data" / "grid" / name).read_text().split() for name in ("train.txt", "val.txt")
    ]
    assert any(lists)
    from avsr.preprocessing.corpora.grid import transcript

    for name in itertools.chain(*lists):
        words = str(transcript(Path(name).stem)).split()
        assert all(word in slot for word, slot in zip(words, grammar.slots, strict=True)), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 8), st.booleans())
def test_the_search_finds_the_best_sentence_of_all(seed, frames, optional):
    grammar = Grammar("x", (("a", "bb"), ("b", "", "ab") if optional else ("b", "ab")))
    one = [" ".join(filter(None, words)) for words in itertools.product(*grammar.slots)]
    sentences = [
        "",
        *(" ".join(group) for n in (1, 2, 3, 4) for group in itertools.product(one, repeat=n)),
    ]
    log_probs = posteriors(frames, 4, seed)
    found = text(grammar.decode(log_probs, SMALL), SMALL)
    assert found in sentences
    best = max(path_score(log_probs, sentence) for sentence in sentences) if frames else 0.0
    assert path_score(log_probs, found) == pytest.approx(best, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 160))
def test_no_other_sentence_ever_comes_out(seed, frames):
    sentence = " ".join(
        f"({slot.strip().replace(' ', '')})" for slot in GRAMMARS["grid"].strip().splitlines()
    )
    found = text(load_grammar("grid").decode(posteriors(frames, len(LETTERS), seed), LETTERS))
    assert re.fullmatch(f"({sentence}( {sentence})*)?", found)


def test_clear_speech_silence_and_misspelling():
    grammar = load_grammar("grid")
    spoken = "--bin- -blue- at- -f- -two- -now--"
    twice = f"{spoken} {spoken}"
    assert text(grammar.decode(sure(spoken), LETTERS)) == "bin blue at f two now"
    assert (
        text(grammar.decode(sure(twice), LETTERS)) == "bin blue at f two now bin blue at f two now"
    )
    assert grammar.decode(sure("-" * 50), LETTERS) == []
    assert (
        text(grammar.decode(sure("-bim -blu- at -f- -tho- -no--"), LETTERS))
        == "bin blue at f two now"
    )


def test_an_open_end_is_not_completed():
    grammar = load_grammar("grid")
    half = sure("--bin- -blue- at-")
    assert text(grammar.decode(half, LETTERS, closed=False)) == "bin blue at"
    assert text(grammar.decode(half, LETTERS)) != "bin blue at"


def test_sentences_are_units():
    grammar = load_grammar("grid")
    words = ["bin", "blue", "at", "f", "two", "now"]
    assert grammar.units([]) == []
    assert grammar.units(words) == [6]
    assert grammar.units(words * 2) == [6, 6]
    assert grammar.units(words + words[:3]) == [6, 3]
    assert Grammar.parse("x", "turn on | stop\nplease |").units(
        ["turn", "on", "stop", "please", "stop"]
    ) == [2, 2, 1]


@pytest.mark.parametrize("content", ["", "# nothing\n", " | \n"])
def test_a_grammar_without_a_sentence_is_one_line(content: str):
    with pytest.raises(AvsrError, match="grammar x: no sentence in it"):
        Grammar.parse("x", content)


def test_what_cannot_be_spelt_is_one_line():
    with pytest.raises(
        AvsrError, match=r"grammar x: 'gate 7' has '7', which the recogniser cannot spell"
    ):
        Grammar.parse("x", "gate 7").check(LETTERS)


def test_neither_name_nor_file(tmp_path):
    with pytest.raises(AvsrError, match=r"grammar 'grit': neither a known name \(grid\) nor"):
        load_grammar("grit")
    (tmp_path / "mine.txt").write_text("yes | no\n")
    assert load_grammar(tmp_path / "mine.txt").slots == (("yes", "no"),)


def test_a_grammar_is_in_canonical_form(tmp_path):
    (tmp_path / "g.txt").write_text(
        "\u200b\n e\u0301 te\u0301 | a\u200bb # c\n", encoding="utf-8-sig"
    )
    assert load_grammar(tmp_path / "g.txt").slots == (("\u00e9 t\u00e9", "ab"),)
