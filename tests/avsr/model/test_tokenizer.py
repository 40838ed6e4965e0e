from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.model.tokenizer import BLANK, PieceTokenizer, Tokenizer

PIECES = Tokenizer.of((BLANK, "\u2581GOOD", "\u2581MORN", "ING", "\u2581", "S", "<eos>"))
LETTERS = Tokenizer.of((BLANK, "A", "B", "<space>", "<eos>"))


def test_vocabulary_is_the_characters_of_the_texts() -> None:
    assert Tokenizer.from_texts(["bin blue", "at"]).tokens == (BLANK, " ", *"abeilntu")


@given(st.lists(st.text("abcdé", min_size=1), min_size=1).map(" ".join))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    tokenizer = Tokenizer((BLANK, " ", *"abcdé"))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_one_token_for_what_looks_the_same_and_none_for_what_cannot_be_seen() -> None:
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


@pytest.mark.parametrize(
    ("ids", "words", "text"),
    [
        ([], [], ""),
        ([1, 2, 3], [[0], [1, 2]], "GOOD MORNING"),
        ([3, 1], [[0], [1]], "ING GOOD"),  # a text may begin within a word
        ([1, 4, 5, 3], [[0], [2, 3]], "GOOD SING"),  # the mark may stand alone
        ([1, 4], [[0]], "GOOD"),
    ],
)
def test_words_begin_where_a_piece_says_so(ids, words, text):
    assert [word for stretch in PIECES.words(ids) for word in stretch] == words
    assert PIECES.decode(ids) == text


def test_words_of_characters_are_parted_by_the_space():
    assert LETTERS.words([3, 1, 2, 3, 3, 2, 3]) == [[[1, 2]], [[5]]]
    assert LETTERS.decode([3, 1, 2, 3, 3, 2, 3]) == "AB B"
    assert LETTERS.encode("AB B") == [1, 2, 3, 2]


@given(st.lists(st.text("abcd", min_size=1), min_size=1).map(" ".join))
def test_pieces_give_back_what_was_encoded(text: str) -> None:
    pieces = Tokenizer.of((BLANK, "\u2581", *"abcd", "\u2581ab", "cd", "\u2581abc"))
    assert isinstance(pieces, PieceTokenizer)
    ids = pieces.encode(text)
    assert pieces.decode(ids) == text
    assert len(pieces.words(ids)) == len(text.split())


def test_the_longest_piece_that_fits_comes_first() -> None:
    pieces = Tokenizer.of((BLANK, "\u2581", *"abc", "\u2581ab", "bc"))
    assert pieces.encode("abc bc") == [5, 4, 1, 6]
    with pytest.raises(ValueError, match="x"):
        pieces.encode("abx")


def test_letters_of_scripts_without_spaces_are_words_of_their_own() -> None:
    pieces = Tokenizer.of((BLANK, "\u2581", "你", "好", "ok", "ไ", "ท่"))
    ids = [1, 2, 3, 4, 1, 5, 6]
    assert pieces.words(ids) == [[[1], [2], [3]], [[5], [6]]]
    assert pieces.decode(ids) == "你好ok ไท่"


def test_with_scores_the_most_probable_pieces_are_chosen_and_new_characters_are_the_last_resort():
    tokens = (BLANK, "\u2581", *"abc", "\u2581ab", "bc")
    pieces = Tokenizer.of(tokens, (0, -2, -2, -4, -4, -9, -1))
    assert pieces.encode("abc") == [1, 2, 6]  # -5; the longest first would be -13
    grown = pieces.grown(["é"])
    assert grown.tokens == (*tokens, "é")
    assert grown.encode("abcé") == [1, 2, 6, 7]
    with pytest.raises(ValueError, match="2 scores for 7 tokens"):
        Tokenizer.of(tokens, (0, -1))
