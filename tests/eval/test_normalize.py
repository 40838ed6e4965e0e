"""Named normalisers: what two spellings of the same words have in common, and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.eval.normalize import NORMALIZERS, get_normalizer
from avsr.preprocessing.errors import AvsrError

CASES = [
    ("none", "  Bin  BLUE,\tat f ", "Bin BLUE, at f"),
    ("basic", "Bin blue, at F two -- now!", "bin blue at f two now"),
    ("basic", "don\u2019t 'quote' the dogs' tail_end", "don't quote the dogs tail end"),
    ("basic", "\uff21\uff22 \u00c9t\u00e9", "ab \u00e9t\u00e9"),
    ("basic", "\u0928\u092e\u0938\u094d\u0924\u0947!", "\u0928\u092e\u0938\u094d\u0924\u0947"),  # marks belong to words
    ("basic", "", ""),
    ("basic", " ... ", ""),
    ("grid", "sil Bin blue at F2 now sp", "bin blue at f two now"),
    ("grid", "set red with l 09 please", "set red with l zero nine please"),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_texts_come_out_as_stated(name: str, text: str, expected: str) -> None:
    assert get_normalizer(name)(text) == expected


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=st.text(max_size=40))
def test_normalising_twice_changes_nothing(name: str, text: str) -> None:
    once = get_normalizer(name)(text)
    assert get_normalizer(name)(once) == once


def test_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(AvsrError, match=r"'whisper'.*none, basic, grid"):
        get_normalizer("whisper")
