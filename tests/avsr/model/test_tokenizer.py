from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.model.tokenizer import BLANK, Tokenizer


def test_vocabulary_is_the_characters_of_the_texts() -> None:
    assert Tokenizer.from_texts(["bin blue", "at"]).tokens == (BLANK, " ", *"abeilntu")


@given(st.lists(st.text("abcdé", min_size=1), min_size=1).map(" ".join))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    tokenizer = Tokenizer((BLANK, " ", *"abcdé"))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_row_20_one_token_for_what_looks_the_same_and_none_for_what_cannot_be_seen() -> None:
    texts = [
        "café",
        "cafe\u0301",
        "a\u200bb",
        "Stra\u00adße",
        "a\u00a0b\tc\u3000d",
        "\ufeffx\u200d",
    ]
    tokenizer = Tokenizer.from_texts(texts)
    assert tokenizer.tokens == (BLANK, " ", *"Sabcdefrtxßé")
    assert tokenizer.encode("cafe\u0301\u200b") == tokenizer.encode("café")
    assert tokenizer.decode(tokenizer.encode("a\u00a0 b")) == "a b"


def test_an_older_vocabulary_of_letters_and_accents_can_still_be_written() -> None:
    tokenizer = Tokenizer((BLANK, " ", *"aef\u0301", "\u200b"))
    assert tokenizer.encode("fée") == tokenizer.encode("fe\u0301e") == [4, 3, 5, 3]
    # what it has learnt to write stays as it was
    assert tokenizer.decode([3, 5, 6, 2]) == "e\u0301\u200ba"


def test_spaces_at_the_ends_are_dropped() -> None:
    tokenizer = Tokenizer((BLANK, " ", "a"))
    assert tokenizer.decode([1, 2, 1, 1, 2, 1]) == "a a"


def test_a_character_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(ValueError, match="x"):
        Tokenizer((BLANK, " ", "a")).encode("a x")


@pytest.mark.parametrize("tokens", [(), ("a",), (BLANK, "a", "a")])
def test_bad_vocabularies_are_refused(tokens: tuple) -> None:
    with pytest.raises(ValueError):
        Tokenizer(tokens)
