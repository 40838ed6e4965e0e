"""Text to token ids and back: characters, with one id kept for the CTC blank."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from avsr.preprocessing.text import canonical

BLANK = "<blank>"


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
        spelt = [self._spell(char) for char in canonical(text)]
        unknown = sorted({char for chars in spelt for char in chars} - self._ids.keys())
        if unknown:
            raise ValueError(f"{text!r} has {unknown}, which this model's vocabulary lacks")
        return [self._ids[char] for chars in spelt for char in chars]

    def _spell(self, char: str) -> str:
        """The character, or its letter and accents where only those are tokens, as in an older model's vocabulary."""
        parts = unicodedata.normalize("NFD", char)
        return char if char in self._ids or not self._ids.keys() >= set(parts) else parts

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids that are already collapsed and hold no blank; outer and repeated spaces are dropped."""
        return " ".join("".join(self.tokens[i] for i in ids).split())
