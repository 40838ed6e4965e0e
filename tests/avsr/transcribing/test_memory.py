"""What is held of a recording does not grow with its length, but for its words."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from avsr.decoding.words import Hypothesis, Word, join
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME, Clip
from avsr.recognisers.base import Recogniser
from avsr.transcribing.engine import Listener
from avsr.transcribing.voice.activity import everything

CLIP_S, SETTLED, CLIPS = 10, 20, 60  # windows and clips come round within eight clips
SAID_PER_S = 2  # words
KEPT_PER_S = 2000  # bytes: words and flags; the sound alone is 64,000, the lips 230,400


class Talker(Recogniser):
    """Hears the same words all the time."""

    name, sha256, calibrated = "talker", "", False

    def __init__(self, window_s: float | None) -> None:
        self.window_s, self.activity = window_s, everything

    def recognise(self, clips, modality):
        return [self._said(clip) for clip in clips]

    def _said(self, clip: Clip) -> Hypothesis:
        words = []
        for n in range(int(clip.duration_s * SAID_PER_S)):
            start_s, end_s = (clip.start_s + (n + at) / SAID_PER_S for at in (0.2, 0.8))
            letters = ((start_s, end_s),) * 5
            words.append(Word(f"word{n % 7}", start_s, end_s, 0.9, 0.5, letters=letters))
        return Hypothesis(join(words), words, 0.9)


def film(held: list[tuple[int, int]]) -> Iterator[Clip]:
    """Clips that follow each other; notes what is in use, and the most that was, before each."""
    frames = CLIP_S * FPS
    for number in range(CLIPS):
        held.append(tracemalloc.get_traced_memory())
        tracemalloc.reset_peak()
        sound = np.full(frames * SAMPLES_PER_FRAME, 0.1, np.float32)
        lips = np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8)
        there = np.ones(frames, np.bool_)
        yield Clip("film", sound, lips, there, there.copy(), number * float(CLIP_S))


@pytest.mark.parametrize("window_s", [20.0, None])
def test_what_is_held_of_a_recording_hardly_grows(window_s: float | None):
    recogniser = Talker(window_s)
    listener = Listener(recogniser, "av", recogniser.recognise_part)
    held: list[tuple[int, int]] = []
    tracemalloc.start(1)
    try:
        words, _ = listener.read(film(held), lambda *_: None)
    finally:
        tracemalloc.stop()
    assert len(words) >= (CLIPS - 1) * CLIP_S * SAID_PER_S
    allowed = (CLIPS - SETTLED) * CLIP_S * KEPT_PER_S
    early, late = held[:SETTLED], held[SETTLED:]
    for before, after in zip(zip(*early, strict=True), zip(*late, strict=True), strict=True):
        assert max(after) <= max(before) + allowed
