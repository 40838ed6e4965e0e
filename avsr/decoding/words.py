"""What a recogniser gives back: words with their times, and the text that they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

PAUSE_S = 1.0  # silence between two words, after which what follows stands for itself


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said, in seconds of its source; audio_weight 1 is heard, 0 is
    lip-read.

    Where a text has no spaces, a word is a letter of a script without them, or what was said
    between two pauses. Such a word is `glued` to the one before: `join` writes no space there.
    `letters` tells where each of its letters begins and ends; it serves to put windows together and
    is no part of a transcript. `source` names the recogniser, where there are several.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float
    audio_weight: float
    glued: bool = False
    letters: tuple[tuple[float, float], ...] = field(default=(), repr=False, compare=False)
    source: str | None = None


@dataclass(frozen=True)
class Hypothesis:
    """What one clip says; confidence is the mean over the words, 0 where there are none."""

    text: str
    words: list[Word]
    confidence: float


class Spelt(Protocol):
    """A word, and whether it is written without a space before it."""

    @property
    def word(self) -> str: ...

    @property
    def glued(self) -> bool: ...


def join(words: Iterable[Spelt]) -> str:
    """The text that words make, with a space before each but the first and those that are glued."""
    return "".join(("" if word.glued else " ") + word.word for word in words).lstrip(" ")


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
