"""Words from sub-word pieces: their text, their times by CTC alignment, and how sure they are.

T  frames        V  vocabulary, 0 is the CTC blank        L  pieces of the text
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from avsr.decoding.alignment import WordSpan, forced_align

BEGIN = "\u2581"  # a piece with it in front begins a word, as SentencePiece writes it
SPACES = (" ", "<space>")  # what parts the words of models whose pieces are characters
LETTER_FRAMES = 1.8  # that a letter takes: the mean over 4285 words of GRID


def word_pieces(ids: Sequence[int], pieces: Sequence[str]) -> list[list[int]]:
    """Which pieces spell each word.

    Args:
        ids: the L pieces of a text, without blanks.
        pieces: the string of each id.

    Returns:
        For each word the places of its pieces in `ids`; spaces belong to none.
    """
    words: list[list[int]] = []
    inside = False
    for place, piece in enumerate(pieces[i] for i in ids):
        if piece in SPACES:
            inside = False
            continue
        if not inside or piece.startswith(BEGIN):
            words.append([])
        words[-1].append(place)
        inside = True
    return [word for word in words if spelt([ids[place] for place in word], pieces)]


def spelt(ids: Sequence[int], pieces: Sequence[str]) -> str:
    """The text of pieces, its words parted by single spaces."""
    text = "".join(" " if pieces[i] in SPACES else pieces[i] for i in ids)
    return " ".join(text.replace(BEGIN, " ").split())


def piece_times(log_probs: Tensor, ids: Sequence[int], pieces: Sequence[str]) -> list[WordSpan]:
    """The words that pieces spell, each with its frames and its confidence, whatever found them.

    The alignment places a piece where its posterior is high, which is a frame or two in the middle
    of what may be a whole word. So a word takes the time of its letters around these frames, as far
    as half of the way to its neighbours'.

    Args:
        log_probs: (T, V) float, CTC log posteriors of one clip without padding.
        ids: the L pieces of the text, without blanks.
        pieces: the string of each id.

    Returns:
        One span per word, in order.

    Raises:
        AvsrError: the text needs more frames than there are.
    """
    placed = forced_align(log_probs, ids)  # (L, 2)
    words = word_pieces(ids, pieces)
    peaks = [
        float(log_probs[first:last, token].max().exp())
        for (first, last), token in zip(placed.tolist(), ids, strict=True)
    ]
    texts = [spelt([ids[place] for place in word], pieces) for word in words]
    cores = [(float(placed[word[0], 0]), float(placed[word[-1], 1])) for word in words]
    spans = []
    for word, text, core, (first, last) in zip(
        words, texts, cores, _widened(cores, texts, len(log_probs)), strict=True
    ):
        sure = [peaks[place] for place in word]
        spans.append(WordSpan(text, first, last, core, float(np.mean(sure)), min(sure)))
    return spans


def _widened(
    cores: Sequence[tuple[float, float]], texts: Sequence[str], frames: int
) -> list[tuple[float, float]]:
    """Where words begin and end, in frames, from where their pieces do."""
    limits = [0.0, *((a[1] + b[0]) / 2 for a, b in pairwise(cores)), float(frames)]
    found = []
    for (first, last), text, low, high in zip(cores, texts, limits, limits[1:], strict=False):
        more = max(LETTER_FRAMES * len(text) - (last - first), 0.0) / 2
        found.append((max(first - more, low), min(last + more, high)))
    return found
