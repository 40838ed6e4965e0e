"""The colour of a word: whether it was heard or read from the lips, and how sure that is.

White and blue are heard, yellow and orange are lip-read; the stronger the colour, the less sure the
word. What is more likely wrong than right is underlined too, for eyes that tell colours badly. Each
colour has a contrast of 7 and more against black (WCAG 2.2, level AAA).
"""

from __future__ import annotations

from dataclasses import dataclass

from avsr.decoding.words import Word

HEARD_SHARE = 0.5  # of a word's audio weight, from which on it counts as heard
SURE, LIKELY = 0.9, 0.5  # confidence


@dataclass(frozen=True)
class Colour:
    """A kind of word.

    Attributes:
        name: a class in WebVTT and in pages.
        rgb: as #rrggbb.
        underlined: whether the word is in doubt.
        meaning: for people.
    """

    name: str
    rgb: str
    underlined: bool
    meaning: str


COLOURS = {
    ("heard", "sure"): Colour("heard", "#ffffff", False, "heard"),
    ("heard", "likely"): Colour("heard-likely", "#b5dcff", False, "heard, less sure"),
    ("heard", "doubtful"): Colour("heard-doubtful", "#6fbcff", True, "heard, in doubt"),
    ("read", "sure"): Colour("read", "#ffe873", False, "lip-read"),
    ("read", "likely"): Colour("read-likely", "#ffc14d", False, "lip-read, less sure"),
    ("read", "doubtful"): Colour("read-doubtful", "#ff9a5c", True, "lip-read, in doubt"),
}


def colour(word: Word) -> Colour:
    """The colour of a word."""
    source = "heard" if word.audio_weight >= HEARD_SHARE else "read"
    if word.confidence >= SURE:
        return COLOURS[source, "sure"]
    return COLOURS[source, "likely" if word.confidence >= LIKELY else "doubtful"]
