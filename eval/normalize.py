"""Named text normalisers: two systems are compared only after the same one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from avsr.preprocessing.errors import AvsrError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GRID_SILENCES = {"sil", "sp"}  # labels of GRID's alignments, not words

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "`": "'"})
_LOOSE_APOSTROPHE = re.compile(r"(?<!\S)'+|'+(?!\S)")


def keep(text: str) -> str:
    """Leaves spelling alone and collapses white space, which separates words and carries nothing else."""
    return " ".join(text.split())


def basic(text: str) -> str:
    """Lower case (NFKC), punctuation and symbols out except the apostrophe inside a word, white space collapsed."""
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    text = unicodedata.normalize("NFKC", text)  # lower case may take a letter apart again
    # Letters, numbers and marks, which carry vowels in many scripts, make words.
    words = "".join(char if char == "'" or unicodedata.category(char)[0] in "LMN" else " " for char in text)
    return keep(_LOOSE_APOSTROPHE.sub(" ", words))


def grid(text: str) -> str:
    """As `basic`, then GRID's vocabulary: a digit is spelt out wherever it stands ("f2" is "f two"), silences go."""
    spelt = re.sub(r"[0-9]", lambda digit: f" {DIGITS[int(digit.group())]} ", basic(text))
    return " ".join(word for word in basic(spelt).split() if word not in GRID_SILENCES)


NORMALIZERS: dict[str, Callable[[str], str]] = {"none": keep, "basic": basic, "grid": grid}


def get_normalizer(name: str) -> Callable[[str], str]:
    """The normaliser of that name.

    Raises:
        AvsrError: no such normaliser.
    """
    if name not in NORMALIZERS:
        raise AvsrError(f"normalizer {name!r} does not exist; choose one of {', '.join(NORMALIZERS)}")
    return NORMALIZERS[name]
