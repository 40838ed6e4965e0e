"""Pauses of digital silence get faint noise; sound, muted sound and what is absent stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.transcribing.voice.gated import LSB, ungated

LEVEL = 0.01  # of the sound around
PAUSE = 30  # frames


def noise(frames: int, level: float = LEVEL) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, (frames, SAMPLES_PER_FRAME))


def film(middle: np.ndarray, moving: bool = False) -> Clip:
    """Two seconds of sound on each side of another, (T, 640), in which the mouth rests or moves."""
    sound = np.concatenate([noise(50), middle, noise(50)]).astype(np.float32)
    shapes = np.random.default_rng(2).integers(0, 255, (len(sound), 8, 8), dtype=np.uint8)
    lips = shapes.repeat(CROP_SIZE // 8, 1).repeat(CROP_SIZE // 8, 2)
    if not moving:
        lips[50:-50] = lips[50]
    there = np.ones(len(sound), np.bool_)
    return Clip("x", sound.ravel(), lips, there, there.copy())


def filled(clip: Clip) -> np.ndarray:
    """(T,) bool, frames whose sound is another afterwards."""
    changed = ungated(clip).audio != clip.audio
    return changed.reshape(clip.frames, SAMPLES_PER_FRAME).mean(1) > 0.5


ZERO = np.zeros((PAUSE, SAMPLES_PER_FRAME))
DITHER = LSB * np.random.default_rng(1).integers(-1, 2, ZERO.shape)


@pytest.mark.parametrize("silence", [ZERO, DITHER, ZERO + 8 * LSB, ZERO[:4]])
def test_what_codecs_make_of_a_pause_gets_noise_as_loud_as_the_faintest_sound(silence: np.ndarray):
    clip = film(silence)
    assert np.flatnonzero(filled(clip)).tolist() == list(range(50, 50 + len(silence)))
    middle = ungated(clip).audio.reshape(-1, SAMPLES_PER_FRAME)[50 : 50 + len(silence)]
    assert middle.std() == pytest.approx(LEVEL, rel=0.2)


@pytest.mark.parametrize("sound", [ZERO[:1], noise(PAUSE, 4 * LSB), ZERO + 11 * LSB])
def test_any_sound_stays(sound: np.ndarray):
    assert not filled(film(sound)).any()


@pytest.mark.parametrize("seconds", [1, 4])
def test_sound_that_is_muted_while_a_mouth_moves_stays_silent(seconds: int):
    silence = np.zeros((25 * seconds, SAMPLES_PER_FRAME))
    assert not filled(film(silence, moving=True)).any()
    assert filled(film(silence)).sum() == 25 * seconds


def test_without_lips_every_silence_is_a_pause():
    clip = film(ZERO, moving=True)
    clip = replace(clip, video_present=np.zeros_like(clip.video_present))
    assert filled(clip).sum() == PAUSE


def test_what_is_absent_says_nothing_of_how_loud_it_was():
    clip = film(ZERO)
    present = clip.audio_present.copy()
    present[:40] = False
    clip = replace(
        clip, audio=clip.audio * present.repeat(SAMPLES_PER_FRAME), audio_present=present
    )
    given = ungated(clip).audio.reshape(-1, SAMPLES_PER_FRAME)
    assert not given[:40].any()
    assert given[50:80].std() == pytest.approx(LEVEL, rel=0.2)


def test_a_recording_without_any_sound_stays():
    clip = film(ZERO)
    clip = replace(clip, audio=np.zeros_like(clip.audio))
    assert ungated(clip) is clip


def test_the_noise_is_that_of_the_time_in_whatever_window():
    clip = film(ZERO)
    whole, part = ungated(clip).audio, ungated(clip.window(20, 110)).audio
    inside = slice(50 * SAMPLES_PER_FRAME, 80 * SAMPLES_PER_FRAME)
    shifted = part[30 * SAMPLES_PER_FRAME : 60 * SAMPLES_PER_FRAME]
    assert np.corrcoef(whole[inside], shifted)[0, 1] == pytest.approx(1)
