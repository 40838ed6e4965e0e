from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.tokenizer import BLANK, Tokenizer


def test_vocabulary_is_the_characters_of_the_texts() -> None:
    assert Tokenizer.from_texts(["bin blue", "at"]).tokens == (BLANK, " ", *"abeilntu")


@given(st.lists(st.text("abcdé", min_size=1), min_size=1).map(" ".join))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    tokenizer = Tokenizer((BLANK, " ", *"abcdé"))
    assert tokenizer.decode(tokenizer.encode(text)) == text


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
