"""How texts are cut into the pieces of a research network, which training needs to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.imported.units import UnitsTokenizer, read_units, scores_of

TEXTS = ["THE CAT SAT ON THE MAT", "A CAT THAT ATE THE HAT", "THAT HAT IS ON THE MAT"] * 8


def pieces(*strings: str) -> tuple[str, ...]:
    return ("<blank>", "<unk>", *strings, "<eos>")


def cut(tokenizer: UnitsTokenizer, text: str) -> list[str]:
    return [tokenizer.tokens[id] for id in tokenizer.encode(text)]


def test_texts_take_the_case_of_the_pieces_and_as_few_of_them_as_possible():
    tokenizer = UnitsTokenizer(pieces("\u2581", *"CATSH", "\u2581CA", "TS", "\u2581C", "ATS"))
    assert cut(tokenizer, "cats hat") == ["\u2581C", "ATS", "\u2581", "H", "A", "T"]
    assert tokenizer.decode(tokenizer.encode("cats hat")) == "CATS HAT"
    assert tokenizer.fold("cat") == "CAT"
    small = UnitsTokenizer(pieces("\u2581", *"cat"))
    assert small.fold("CAT") == "cat"
    assert cut(small, "CAT") == ["\u2581", "c", "a", "t"]


def test_a_letter_that_is_only_inside_pieces_is_unknown_where_they_do_not_fit():
    tokenizer = UnitsTokenizer(pieces("\u2581", "\u2581QU", "A"))
    assert tokenizer.unknown("qua") == []
    assert tokenizer.unknown("quaz\u00e9") == ["z", "\u00e9"]
    assert cut(tokenizer, "qua") == ["\u2581QU", "A"]
    assert cut(tokenizer, "aq") == ["\u2581", "A", "<unk>"]
    with pytest.raises(ValueError, match="lacks"):
        tokenizer.encode("zoo")


def test_the_scores_beside_a_list_cut_as_sentencepiece_does(tmp_path: Path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / "small"),
        vocab_size=24,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "small.model"))
    own = [model.id_to_piece(id) for id in range(3, model.vocab_size())]
    lines = [f"{piece} {number}" for number, piece in enumerate(["<unk>", *sorted(own)], 1)]
    units = tmp_path / "small_units.txt"
    units.write_text("\n".join(lines) + "\n", encoding="utf-8")
    listed = read_units(units)
    tokenizer = UnitsTokenizer(listed, scores_of(units, listed))
    for text in TEXTS[:3]:
        assert cut(tokenizer, text.lower()) == model.encode(text, out_type=str)
    with pytest.raises(AvsrError, match=r"lacks '.ZEBRA' of small_units\.txt"):
        scores_of(units, (*listed[:-1], "\u2581ZEBRA", "<eos>"))
    (tmp_path / "small.model").write_bytes(b"no model")
    with pytest.raises(AvsrError, match="no model of SentencePiece"):
        scores_of(units, listed)
    assert scores_of(tmp_path / "others_units.txt", listed) == ()
