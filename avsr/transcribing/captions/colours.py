"""The colour of a word: whether it was heard or read from the lips, and how sure that is.

In captions there are six, which any player shows; pages have a ramp.

White and blue are heard, yellow and orange are lip-read; the stronger the colour, the less sure the
word. What is more likely wrong than right is underlined too, for eyes that tell colours badly. Each
colour has a contrast of 7 and more against black (WCAG 2.2, level AAA).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsr.decoding.words import Word

HEARD_SHARE = 0.5  # of a word's audio weight, from which on it counts as heard
SURE, LIKELY = 0.9, 0.5  # confidence
# Colours of audio weight 0, 0.5 and 1: orange, violet, blue. They differ for all kinds of eyes.
RAMP = (224, 134, 26), (160, 108, 200), (61, 143, 214)


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


def ramp(audio_weight: float) -> str:
    """The colour of an audio weight, as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*rgb_of(audio_weight))


def rgb_of(audio_weight: float) -> tuple[int, int, int]:
    """The same as three numbers, 0 to 255."""
    places = np.linspace(0, 1, len(RAMP))
    found = [
        round(float(np.interp(audio_weight, places, part))) for part in zip(*RAMP, strict=True)
    ]
    return found[0], found[1], found[2]
