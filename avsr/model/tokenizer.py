"""Text to token ids and back: characters, with one id kept for the CTC blank."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from avsr.preprocessing.text import SPACELESS, canonical

BLANK = "<blank>"


_SPACELESS = re.compile(f"[{SPACELESS}]")


def is_spaceless(text: str) -> bool:
    """Whether it begins with a letter of a script that is written without spaces, Chinese for
    one."""
    return _SPACELESS.match(text) is not None and not unicodedata.category(text[0]).startswith("M")


def stretches(ids: Sequence[int], tokens: Sequence[str]) -> list[list[list[int]]]:
    """Where the words of a text begin: the one answer for windows, times and segments.

    Args:
        ids: a text without blanks.
        tokens: the string of each id.

    Returns:
        For each stretch between two spaces its words, each as positions in `ids`. It is one word,
        but each letter of a script without spaces is a word of its own, with the marks on it.
    """
    found: list[list[list[int]]] = []
    inside = False
    for position, token in enumerate(tokens[i] for i in ids):
        if token == " ":
            inside = False
            continue
        if not inside:
            found.append([[position]])
        elif is_spaceless(token) or (
            is_spaceless(tokens[ids[position - 1]])
            and not unicodedata.category(token[0]).startswith("M")
        ):
            found[-1].append([position])
        else:
            found[-1][-1].append(position)
        inside = True
    return found


class Tokenizer:
    """Characters as tokens; id 0 is the CTC blank, the space is a token like any other.

    Args:
        tokens: all token strings in the order of their ids, the blank first.
    """

    blank = 0

    def __init__(self, tokens: Sequence[str]) -> None:
        if not tokens or tokens[0] != BLANK:
            raise ValueError(f"the first token must be {BLANK!r}")
        if len(set(tokens)) != len(tokens):
            raise ValueError("tokens must be distinct")
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Tokenizer:
        """The characters that occur in the canonical form of the texts, sorted."""
        return cls((BLANK, *sorted({char for text in texts for char in canonical(text)})))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of a text in its canonical form.

        Raises:
            ValueError: a character is not in the vocabulary.
        """
        text = canonical(text)
        unknown = self.unknown(text)
        if unknown:
            raise ValueError(f"{text!r} has {unknown}, which this model's vocabulary lacks")
        return [self._ids[char] for char in "".join(map(self._spell, text))]

    def unknown(self, chars: Iterable[str]) -> list[str]:
        """Those of the characters that cannot be written, sorted."""
        return sorted(char for char in set(chars) if self._spell(char)[0] not in self._ids)

    def _spell(self, char: str) -> str:
        """The character, or its letter and accents where only those are tokens, as in an older
        model's vocabulary."""
        parts = unicodedata.normalize("NFD", char)
        return char if char in self._ids or not self._ids.keys() >= set(parts) else parts

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids that are already collapsed and hold no blank; outer and repeated spaces are
        dropped."""
        return " ".join("".join(self.tokens[i] for i in ids).split())
