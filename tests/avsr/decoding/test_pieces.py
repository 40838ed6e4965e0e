"""Words from pieces: where they begin, how long they take, how sure they are."""

from __future__ import annotations

import pytest
import torch

from avsr.base.errors import AvsrError
from avsr.decoding.pieces import LETTER_FRAMES, piece_times
from avsr.model.tokenizer import Tokenizer

PIECES = Tokenizer.of(["<blank>", "\u2581GOOD", "\u2581MORN", "ING", "\u2581", "S", "<eos>"])


def spikes(frames: int, at: dict[int, tuple[int, float]], vocabulary: int = 7) -> torch.Tensor:
    """(T, V) log posteriors: blanks, and at some frames a token with a probability."""
    probs = torch.full((frames, vocabulary), 1e-6)
    probs[:, 0] = 1.0
    for frame, (token, probability) in at.items():
        probs[frame, 0], probs[frame, token] = 1 - probability, probability
    return (probs / probs.sum(1, keepdim=True)).log()


def test_times_lie_around_the_spikes_and_confidence_is_their_height():
    log_probs = spikes(100, {20: (1, 0.9), 60: (2, 0.8), 64: (3, 0.6)})
    good, morning = piece_times(log_probs, [1, 2, 3], PIECES)
    assert (good.word, morning.word) == ("GOOD", "MORNING")
    assert good.last - good.first == pytest.approx(4 * LETTER_FRAMES)
    assert (good.first + good.last) / 2 == pytest.approx(20.5)
    assert morning.first < 60 < 65 < morning.last
    assert good.confidence == pytest.approx(0.9, abs=1e-3)
    assert morning.confidence == pytest.approx(0.7, abs=1e-3)
    assert morning.weakest == pytest.approx(0.6, abs=1e-3)


def test_words_neither_overlap_nor_leave_the_clip():
    log_probs = spikes(6, {0: (1, 0.9), 2: (1, 0.9), 5: (2, 0.9)})
    spans = piece_times(log_probs, [1, 1, 2], PIECES)
    edges = [edge for span in spans for edge in (span.first, span.last)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= 6


def test_a_text_that_the_frames_cannot_hold_is_refused():
    with pytest.raises(AvsrError, match="needs 3 outputs"):
        piece_times(spikes(2, {}), [1, 1], PIECES)


def test_no_text_has_no_words():
    assert piece_times(spikes(5, {}), [], PIECES) == []
