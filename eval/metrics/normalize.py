"""Named text normalisers: two systems are compared only after the same one.

A word is what stands between two spaces. In scripts without spaces (Chinese, Japanese, Thai, Lao,
Khmer, Burmese and their kin) every letter with its marks is a word, as in the mixed error rate that
is usual for Chinese beside English. There the word error rate is the character error rate, and it
makes no difference how somebody cut the text into words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from avsr.base.errors import AvsrError
from avsr.preprocessing.text import (
    SIGNS,
    SPACELESS,
    canonical,
    digits_in_words,
    no_space_between_letters,
    words_alone,
)

# raised when a normaliser gives another text, so that old error rates are not mixed with new ones
VERSION = 3

GRID_SILENCES = {"sil", "sp"}  # labels of GRID's alignments, not words

# In Malayalam a joiner makes another letter of a consonant; newer texts have that letter.
_CHILLUS = {
    "\u0d23": "\u0d7a",
    "\u0d28": "\u0d7b",
    "\u0d30": "\u0d7c",
    "\u0d32": "\u0d7d",
    "\u0d33": "\u0d7e",
}
_CHILLU = re.compile("([\u0d23\u0d28\u0d30\u0d32\u0d33])\u0d4d\u200d")
# 10^2 is not 102
_RAISED = re.compile("(?<=[0-9])(?=[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215f])")
# of a capital I with a dot, in lower case; decomposed
_DOTTED_I = re.compile("(i[\u0321-\u0331]*)\u0307")

_LETTER = re.compile(rf"(?=[{SPACELESS}])\w[^\w\s']*")


def keep(text: str) -> str:
    """Leaves spelling alone and collapses white space, which separates words and carries nothing
    else."""
    return " ".join(text.split())


def basic(text: str) -> str:
    """Letter case, width, composition and what cannot be seen make no difference; punctuation and
    symbols go.

    The text in Unicode's form for caseless comparison (NFKC, case folded, so "ß" is "ss"). The
    capital dotted I of Turkish is an i; its dotless one stays another letter. Decimal digits of
    every script are 0 to 9. The stretch of Arabic script goes. An apostrophe stays inside a word,
    whichever sign stands for it. Accents and vowel signs stay: they make other words. In scripts
    without spaces each letter stands by itself, see the top of the file.
    """
    text = _CHILLU.sub(lambda match: _CHILLUS[match[1]], unicodedata.normalize("NFC", text))
    text = _RAISED.sub(" ", canonical(text).translate(SIGNS))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize(
        "NFC", _DOTTED_I.sub(r"\1", unicodedata.normalize("NFD", text.translate(SIGNS)))
    )
    apart = _LETTER.sub(r" \g<0> ", words_alone(text))
    return words_alone(apart)  # an apostrophe that was beside such a letter is inside no word


def grid(text: str) -> str:
    """As `basic`, then GRID's vocabulary: a digit is spelt out wherever it stands ("f2" is "f
    two"), silences go."""
    words = basic(digits_in_words(basic(text))).split()
    return " ".join(word for word in words if word not in GRID_SILENCES)


def characters(text: str) -> str:
    """A normalised text as the character error rate counts it: no space beside letters of scripts
    without spaces."""
    return no_space_between_letters(text)


NORMALIZERS: dict[str, Callable[[str], str]] = {"none": keep, "basic": basic, "grid": grid}


def get_normalizer(name: str) -> Callable[[str], str]:
    """The normaliser of that name.

    Raises:
        AvsrError: no such normaliser.
    """
    if name not in NORMALIZERS:
        raise AvsrError(
            f"normalizer {name!r} does not exist; choose one of {', '.join(NORMALIZERS)}"
        )
    return NORMALIZERS[name]
