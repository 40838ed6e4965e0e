"""Texts that look the same are the same, and what cannot be seen is not there."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.preprocessing.text import LANGUAGES, canonical, spelt

MIXED = st.text(
    st.sampled_from(
        "aeé \u0301\u0323\u200b\u200c\u200d\u00ad\u00a0\u034f\u064e\u0928\u094d\u0645\u06cc"
    )
)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cafe\u0301", "café"),
        ("a\u0323\u0302", "ậ"),  # two accents
        ("\u212bngstro\u0308m", "Ångström"),
        ("\u1112\u1161\u11ab", "한"),  # Hangul from its parts
        ("e\u200b\u0301", "é"),  # the accent was kept from its letter
        ("e\u034f\u0301", "é"),
        ("Stra\u00adße", "Straße"),
        ("a\u200bb", "ab"),
        ("a\u200db\u200cc", "abc"),  # joiners that join nothing
        ("\ufeffa\u2060b\u200e\u202ac\u202c", "abc"),
        ("a\ufe0fb\U000e0101", "ab"),
        ("a\x00b\x1bc\x9fd\ud800", "abcd"),
        (" a\u00a0b\u202fc\u3000d\t\r\ne\u2028f\x85", "a b c d e f"),
        ("\u200b", ""),
        ("", ""),
        ("İSTANBUL ½ \uff37 “x”", "İSTANBUL ½ \uff37 “x”"),  # how it is written stays
    ],
)
def test_what_looks_the_same_is_the_same(text: str, same: str) -> None:
    assert canonical(text) == unicodedata.normalize("NFC", same)


@pytest.mark.parametrize(
    "text",
    [
        # Persian: without it the word is spelt wrong
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "مِ\u200cی",
        "क्\u200dष",  # Hindi: the half letter, not the ligature
        "क्\u200cष",
    ],
)
def test_joiners_that_change_what_is_written_stay(text: str) -> None:
    assert canonical(text) == unicodedata.normalize("NFC", text)


@given(st.one_of(st.text(), MIXED))
def test_the_form_is_settled_at_once(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    assert canonical(unicodedata.normalize("NFD", once)) == once
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in once)


@pytest.mark.parametrize(
    ("language", "typed", "learnt"),
    [
        ("", "C\u2019est  l'\u00c9t\u00e9 !", "C\u2019est l'\u00c9t\u00e9 !"),
        (
            "fr",
            "\u00ab C\u2019est l'\u00c9t\u00e9, peut-\u00eatre... \u00bb",
            "c'est l'\u00e9t\u00e9 peut \u00eatre",
        ),
        ("de", "Die STRASSE, Gr\u00f6\u00dfe: \u1e9e!", "die strasse gr\u00f6\u00dfe \u00df"),
        (
            "zh",
            "\u4f60\u597d\uff0c \u4e16\u754c\uff01\uff2f\uff2b 3",
            "\u4f60\u597d\u4e16\u754cok 3",
        ),
        ("tr", "\u0130yi \u0130\u015f, ILIK", "iyi i\u015f \u0131l\u0131k"),
        ("en", "'Tis rock 'n' roll.", "tis rock n roll"),
    ],
)
def test_texts_are_spelt_as_a_language_needs_it(language: str, typed: str, learnt: str) -> None:
    assert spelt(typed, language) == learnt
    assert spelt(learnt, language) == learnt
    assert not language or language in LANGUAGES
