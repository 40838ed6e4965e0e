"""Sounds that are no speech: the same for a clip and seed, bounded, under a mouth at rest."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.eval.conditions.axes import Condition
from avsr.eval.conditions.noise import Corpus
from avsr.eval.conditions.nonspeech import SOUNDS, NonSpeech
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip

NOBODY = Corpus([], lambda id: np.zeros(0, np.float32))


def clip(id: str = "a", frames: int = 75) -> Clip:
    lips = np.arange(frames, dtype=np.uint8)[:, None, None].repeat(96, 1).repeat(96, 2)
    audio = np.full(frames * SAMPLES_PER_FRAME, 0.5, np.float32)
    there = np.ones(frames, np.bool_)
    return Clip(id, audio, lips, there, there, text="bin blue")


@pytest.mark.parametrize("kind", SOUNDS)
def test_the_clip_holds_the_sound_alone(kind: str) -> None:
    found = NonSpeech(kind).apply(clip(), 17, NOBODY)
    assert found.audio.dtype == np.float32
    assert 1e-5 < np.abs(found.audio).max() <= 1
    assert found.audio.std() > 0
    assert (found.lips == 0).all()
    assert found.audio_present.all()
    again = NonSpeech(kind).apply(clip(), 17, NOBODY)
    assert np.array_equal(found.audio, again.audio)
    for other in (
        NonSpeech(kind).apply(clip("b"), 17, NOBODY),
        NonSpeech(kind).apply(clip(), 29, NOBODY),
    ):
        assert not np.array_equal(found.audio, other.audio)
    empty = clip(frames=0)
    assert NonSpeech(kind).apply(empty, 17, NOBODY) is empty
    assert NonSpeech(kind).apply(clip(frames=1), 17, NOBODY).frames == 1


def test_no_word_is_the_right_answer() -> None:
    condition = Condition((NonSpeech("typing"),))
    assert condition.empty
    assert condition.label == "nothing there (typing)"
    with pytest.raises(AvsrError, match="sound 'rain' does not exist; choose one of faint noise"):
        NonSpeech("rain")
