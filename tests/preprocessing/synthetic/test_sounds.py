"""Sounds without speech: bounded, repeatable, each kind unlike the next, and cheap enough to draw
while training."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.preprocessing.synthetic.sounds import KINDS, non_speech

SAMPLES = 48_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_drawn_by_its_generator_alone(kind: str):
    sound = non_speech(SAMPLES, np.random.default_rng(5), kind)
    assert sound.shape == (SAMPLES,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() < 1
    assert np.array_equal(sound, non_speech(SAMPLES, np.random.default_rng(5), kind))
    if kind != "zeros":
        assert not np.array_equal(sound, non_speech(SAMPLES, np.random.default_rng(6), kind))


@pytest.mark.parametrize("samples", [0, 1, 640])
@pytest.mark.parametrize("kind", KINDS)
def test_a_short_sound_is_as_long_as_asked_for(kind: str, samples: int):
    assert non_speech(samples, np.random.default_rng(0), kind).shape == (samples,)


def test_all_kinds_are_drawn_and_levels_differ():
    rng = np.random.default_rng(1)
    levels = [float(np.sqrt(np.square(non_speech(SAMPLES // 4, rng)).mean())) for _ in range(200)]
    assert min(levels) == 0  # silence of the digital kind too
    assert max(levels) > 100 * min(level for level in levels if level)
