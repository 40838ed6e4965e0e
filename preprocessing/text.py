"""One form for a text, whoever typed it: what looks the same is the same, what cannot be seen is
not there.

Vocabularies, training texts and the evaluation share it. A model that is trained for a language
may learn it without letter case and punctuation: `spelt`.
"""

from __future__ import annotations

import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point, besides the two joiners: soft hyphen, zero-width space,
# byte order mark, marks of direction, variation selectors, fillers, tags.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINERS = re.compile("[\u200c\u200d]+")
# a range of letters for regular expressions: the scripts that are written without spaces
SPACELESS = (
    # of South East Asia
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u3035\u3038-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_VIRAMA = 9  # combining class of the sign that mutes a vowel in the scripts of India
# What people type for an apostrophe; signs that NFKC would make letters of; what is not spoken: the
# stretch of Arabic script, joiners, enclosing marks.
SIGNS = str.maketrans(
    {
        **dict.fromkeys(
            "\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02c8\u00b4\u0060\uff07",
            "'",
        ),
        # Armenian, Hebrew, saltillo, Greek
        **dict.fromkeys("\u055a\u05f3\ua78b\ua78c\u1fbd\u1fbf\u1ffd\u1ffe", "'"),
        **dict.fromkeys("\u2122\u2120", " "),
        **dict.fromkeys("\u0640\u07fa\u200c\u200d\u20dd\u20de\u20df\u20e0\u20e2\u20e3\u20e4", ""),
    }
)
_LOOSE_APOSTROPHE = re.compile(r"(?<!\S)'+|'+(?!\S)")
_SPACE_BESIDE = re.compile(rf"(?<=[{SPACELESS}]) | (?=[{SPACELESS}])")
_TURKISH = str.maketrans({"I": "\u0131", "\u0130": "i"})
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# ISO 639 codes of the languages that `spelt` knows, those of MuAViC and some more.
LANGUAGES = ("ar", "de", "el", "en", "es", "fr", "it", "ja", "nl", "pt", "ru", "tr", "zh")


def canonical(text: str) -> str:
    """The text with composed letters (NFC), without invisible characters, its words one plain space
    apart.

    A joiner or non-joiner stays where it changes what is written: after a virama, and between
    letters of the scripts that join them, such as Arabic (RFC 5892, appendix A). Letter case,
    punctuation and width stay as they are.
    """
    text = _IGNORABLE.sub("", unicodedata.normalize("NFC", text))
    text = "".join(
        char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cs")
    )
    text = " ".join(_JOINERS.sub(_kept_joiner, text).split())
    # what stood between a letter and its accent is gone now
    return unicodedata.normalize("NFC", text)


def spelt(text: str, language: str = "") -> str:
    """A text as a model of a language learns to write it; numbers are not spelt out.

    Args:
        text: as somebody typed it.
        language: one of LANGUAGES: small letters of plain width, no punctuation but apostrophes
            within words, in scripts without spaces none. Empty: the canonical form alone.
    """
    if not language:
        return canonical(text)
    text = unicodedata.normalize("NFKC", canonical(text).translate(SIGNS))
    text = text.translate(_TURKISH if language == "tr" else {}).lower()
    return canonical(no_space_between_letters(words_alone(text)))


def digits_in_words(text: str) -> str:
    """Each digit as its English word, wherever it stands ("f2" is "f two"), words a space apart."""
    words = re.sub("[0-9]", lambda digit: f" {NUMBERS[int(digit.group())]} ", text)
    return " ".join(words.split())


def words_alone(text: str) -> str:
    """The words of a text one space apart, its punctuation and symbols gone; an apostrophe stays
    inside a word."""
    return " ".join(_LOOSE_APOSTROPHE.sub(" ", "".join(_spoken(text))).split())


def no_space_between_letters(text: str) -> str:
    """Without the spaces beside letters of scripts that are written without them."""
    return _SPACE_BESIDE.sub("", text)


def _spoken(text: str) -> list[str]:
    """Letters, numbers and the marks on them, which carry vowels in many scripts; a space for all
    else."""
    kept: list[str] = []
    for char in text:
        kind = unicodedata.category(char)
        if kind[0] == "M":
            # a mark on nothing is no word
            kept.append(char if kept and kept[-1] not in " '" else " ")
        elif kind == "Nd":
            kept.append(str(unicodedata.decimal(char)))
        else:
            kept.append(char if char == "'" or kind[0] in "LN" else " ")
    return kept


def _kept_joiner(match: re.Match[str]) -> str:
    """The joiner that a run of them stands for where it carries meaning, nothing elsewhere."""
    text, last, following = match.string, match.start() - 1, match.end()
    if last < 0 or following == len(text):
        return ""
    if unicodedata.combining(text[last]) == _VIRAMA:
        return match[0][0]
    # vowel signs stand between a letter and what follows
    while last > 0 and unicodedata.combining(text[last]):
        last -= 1
    joins = "\u200c" in match[0] and _is_joining(text[last]) and _is_joining(text[following])
    return "\u200c" if joins else ""


def _is_joining(char: str) -> bool:
    """A letter of Arabic, Syriac or their kin."""
    return unicodedata.bidirectional(char) == "AL"
