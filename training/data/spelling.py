"""Texts from elsewhere, written as a model writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from avsr.model.config import ModelConfig
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.text import canonical, digits_in_words, spelt

TimedWord = tuple[str, float, float]  # what is said, from and to, seconds


def speller(config: ModelConfig) -> Callable[[str], str]:
    """How texts are written for a model: as they are where it can write them, else in small letters
    without punctuation, in English with digits in words if it has none."""
    tokenizer = Tokenizer.of(config.tokens, config.piece_scores)
    return speller_of(tokenizer, config.language or "en")


def speller_of(tokenizer: Tokenizer, language: str) -> Callable[[str], str]:
    """The same for what a model writes with, and the language whose spelling it has."""

    def spell(text: str) -> str:
        plain = spelt(text, language)
        forms = [text, plain]
        if language == "en":
            forms.append(digits_in_words(plain))
        for form in forms:
            if not tokenizer.unknown(canonical(form)):
                return form
        return plain

    return spell


def respelt(clip: Clip, spell: Callable[[str], str]) -> Clip:
    """The clip with its text and its words with times written so."""
    words = None if clip.words is None else tuple(_respelt(clip.words, spell))
    text = None if clip.text is None else spell(clip.text)
    return replace(clip, text=text, words=words)


def _respelt(words: Sequence[TimedWord], spell: Callable[[str], str]) -> Iterator[TimedWord]:
    """What becomes several words ("f2") shares its time evenly."""
    for word, start_s, end_s in words:
        parts = spell(word).split()
        for number, part in enumerate(parts):
            begin, end = (
                start_s + (end_s - start_s) * place / len(parts) for place in (number, number + 1)
            )
            yield part, round(begin, 3), round(end, 3)
