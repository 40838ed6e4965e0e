"""Named normalisers: what two spellings of the same words have in common, and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.base.errors import AvsrError
from avsr.eval.metrics.normalize import NORMALIZERS, get_normalizer
from avsr.eval.metrics.wer import cer, wer

CASES = [
    ("none", "  Bin  BLUE,\tat f ", "Bin BLUE, at f"),
    ("basic", "Bin blue, at F two -- now!", "bin blue at f two now"),
    ("basic", "don\u2019t 'quote' the dogs' tail_end", "don't quote the dogs tail end"),
    ("basic", "\uff21\uff22 \u00c9t\u00e9", "ab \u00e9t\u00e9"),
    # marks belong to words
    ("basic", "\u0928\u092e\u0938\u094d\u0924\u0947!", "\u0928\u092e\u0938\u094d\u0924\u0947"),
    ("basic", "", ""),
    ("basic", " ... ", ""),
    ("grid", "sil Bin blue at F2 now sp", "bin blue at f two now"),
    ("grid", "set red with l 09 please", "set red with l zero nine please"),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_texts_come_out_as_stated(name: str, text: str, expected: str) -> None:
    assert get_normalizer(name)(text) == expected


SAME = [
    ("co\u00adoperate", "cooperate"),  # soft hyphen
    ("bin\u200d", "bin"),
    # Persian
    (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
    ),
    ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),  # Hindi
    ("\u0d05\u0d35\u0d28\u0d4d\u200d", "\u0d05\u0d35\u0d7b"),  # Malayalam, old and new
    ("\ufeffbin \u200eblue\u2060", "bin blue"),
    ("\u0130STANBUL", "istanbul"),
    ("I\u0307STANBUL", "istanbul"),
    ("STRASSE", "stra\u00dfe"),
    ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),  # final sigma
    ("\uff22\uff49\uff4e \uff12", "bin 2"),
    ("\u0661\u0662", "12"),
    ("e\u0301te\u0301", "\u00e9t\u00e9"),
    *((f"don{sign}t", "don't") for sign in "\u2019\u2018\u02bc\u00b4`\u2032\uff07"),
    *((f"well{dash}known", "well-known") for dash in "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"),
    ("\u0643\u0640\u0640\u062a\u0627\u0628", "\u0643\u062a\u0627\u0628"),  # tatweel
    ("Foo\u2122 \u2764\ufe0f 1\ufe0f\u20e3", "foo 1"),
    ("\u1112\u1161\u11ab", "\ud55c"),  # Hangul
    ("\u4eca\u5929\uff0c\u5929\u6c14\u5f88\u597d\u3002", "\u4eca\u5929\u5929\u6c14\u5f88\u597d"),
    ("\u4eca\u5929 \u5929\u6c14 \u5f88\u597d", "\u4eca\u5929\u5929\u6c14\u5f88\u597d"),
    ("\u6211\u6709 iPhone X", "\u6211\u6709iPhone X"),
    ("\uff76\uff9e\uff97\uff7d", "\u30ac\u30e9\u30b9"),  # half-width katakana
    ("\u0e17\u0e35\u0e48 \u0e19\u0e35\u0e48", "\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48"),  # Thai
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_the_same_words_have_no_errors(one: str, other: str) -> None:
    assert wer([one], [other]).rate == cer([one], [other]).rate == 0


DIFFERENT = [
    ("k\u0131r", "kir"),  # Turkish: field, dirt
    ("p\u00eache", "p\u00e9ch\u00e9"),
    ("schon", "sch\u00f6n"),
    ("can't", "cant"),
    ("well known", "wellknown"),
    ("10\u00b2", "102"),
    ("\u0d05\u0d35\u0d28\u0d4d", "\u0d05\u0d35\u0d7b"),
    ("\u0915\u0932", "\u0915\u093e\u0932\u093e"),  # vowel signs of Hindi
    ("\u0643\u064e\u062a\u0628", "\u0643\u064f\u062a\u0628"),  # and of Arabic
    ("\u306f", "\u3070"),
    ("\u5929\u6c14", "\u5929\u6c7d"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_words_stay_other_words(one: str, other: str) -> None:
    assert wer([one], [other]).errors > 0
    assert cer([one], [other]).errors > 0


def test_a_letter_is_a_word_where_the_script_has_no_spaces() -> None:
    said, heard = (
        "\u4eca\u5929\uff0c\u5929\u6c14\u5f88\u597d\u3002 OK go",
        "\u4eca\u5929\u5929\u6c7d\u5f88\u597dok no",
    )
    words, letters = wer([said], [heard]), cer([said], [heard])
    assert (words.substitutions, words.units) == (2, 6 + 2)
    # the space between two English words counts
    assert (letters.substitutions, letters.units) == (2, 6 + 5)
    assert wer([""], [heard]).insertions == 8
    assert cer([""], [heard]).insertions == 11


def test_an_apostrophe_beside_a_letter_that_stands_alone_goes() -> None:
    basic = get_normalizer("basic")
    assert basic("0`\U00020000") == "0 \U00020000"
    assert basic("don`t 天'气") == "don't 天 气"


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=st.text(max_size=40))
def test_normalising_twice_changes_nothing(name: str, text: str) -> None:
    once = get_normalizer(name)(text)
    assert get_normalizer(name)(once) == once


def test_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(AvsrError, match=r"'whisper'.*none, basic, grid"):
        get_normalizer("whisper")
