"""Where a turn ends amid speech, as when somebody turns away for a moment: no word is lost there.

Speakers are given the sound a little beyond their turn, as far as the voice runs on. Of the words
that are found there they keep none, or those at the edge that nobody else has.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsr.decoding.words import Word
from avsr.preprocessing.clip import FPS

BEYOND_FRAMES = FPS
EDGE_FRAMES = 2  # by which two readings of one word may differ


def beyond(heard: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """(T,) bool: frames next to a turn into which its voice runs on.

    Args:
        heard: (T,) bool, the turns of a speaker.
        voice: (T,) bool, where a voice is heard.
    """
    return _spread(heard & voice, BEYOND_FRAMES, voice) & ~heard


def _spread(flags: np.ndarray, by: int, over: np.ndarray) -> np.ndarray:
    """Flags and what lies so many frames around them, over allowed frames alone."""
    spread = flags.copy()
    for _ in range(by):
        beside = np.zeros_like(spread)
        beside[1:] |= spread[:-1]
        beside[:-1] |= spread[1:]
        spread |= beside & over
    return spread


def own_words(
    said: Sequence[Sequence[Word]], turns: Sequence[np.ndarray], voice: np.ndarray
) -> list[list[Word]]:
    """The words of each speaker without those that lie beyond their turns.

    Args:
        said: what was found in the sound of each, and beyond.
        turns: (T,) bool of each.
        voice: (T,) bool, where a voice is heard.
    """
    kept: list[list[Word]] = []
    doubtful: list[list[list[Word]]] = [[], []]  # on this side of a seam, and beyond it
    for words, heard in zip(said, turns, strict=True):
        outside = beyond(heard, voice)
        inner = _spread(outside, EDGE_FRAMES, heard) & heard
        outer = _spread(inner, EDGE_FRAMES, outside) & outside
        kept.append([word for word in words if not _lies_in(word, outside | inner)])
        for sides, edge in zip(doubtful, (inner, outer), strict=True):
            sides.append([word for word in words if _lies_in(word, edge)])
    for side in doubtful:
        for n, words in enumerate(side):
            others = [word for m, own in enumerate(kept) if m != n for word in own]
            kept[n] += [word for word in words if not any(_overlap(word, one) for one in others)]
    return [sorted(words, key=lambda word: word.start_s) for words in kept]


def _lies_in(word: Word, flags: np.ndarray) -> bool:
    """Whether the middle of a word lies where flags are."""
    middle = int((word.start_s + word.end_s) / 2 * FPS)
    return bool(flags[middle : middle + 1].any())


def _overlap(a: Word, b: Word) -> bool:
    """Whether two words take much of the same time."""
    together_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    return 2 * together_s > min(a.end_s - a.start_s, b.end_s - b.start_s)
