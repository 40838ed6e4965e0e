"""Words from sub-word pieces: their text, their times by CTC alignment, and how sure they are.

T  frames        V  vocabulary, 0 is the CTC blank        L  pieces of the text
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from avsr.decoding.alignment import WordSpan, forced_align
from avsr.model.tokenizer import Tokenizer

LETTER_FRAMES = 1.8  # that a letter takes: the mean over 4285 words of GRID


def piece_times(log_probs: Tensor, ids: Sequence[int], tokenizer: Tokenizer) -> list[WordSpan]:
    """The words that pieces spell, each with its frames and its confidence, whatever found them.

    The alignment places a piece where its posterior is high, which is a frame or two in the middle
    of what may be a whole word. So a word takes the time of its letters around these frames, as far
    as half of the way to its neighbours'.

    Args:
        log_probs: (T, V) float, CTC log posteriors of one clip without padding.
        ids: the L pieces of the text, without blanks.
        tokenizer: of the V pieces.

    Returns:
        One span per word, in order.

    Raises:
        AvsrError: the text needs more frames than there are.
    """
    placed = forced_align(log_probs, ids)  # (L, 2)
    words = [word for stretch in tokenizer.words(ids) for word in stretch]
    peaks = [
        float(log_probs[first:last, token].max().exp())
        for (first, last), token in zip(placed.tolist(), ids, strict=True)
    ]
    texts = [tokenizer.decode(ids[place] for place in word) for word in words]
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
