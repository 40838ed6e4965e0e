"""Augmentation keeps sound, lips and words in step, and does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.training import augment
from avsr.training.augment import Sample
from avsr.training.config import AugmentConfig


def sample(number: int, frames: int = 50, words: tuple[str, ...] = ("bin", "blue", "now")) -> Sample:
    """Lips and sound both hold the number of the frame, 100 x clip + frame, so that stretches can be recognised."""
    marks = 100 * number + np.arange(frames)
    starts = np.linspace(0.4, 1.6, len(words) + 1) + 0.04 * number
    return Sample(
        id=f"clip{number}",
        text=" ".join(f"{word}{number}" for word in words),
        speaker="s1",
        audio=np.repeat(marks, 640).astype(np.float32),
        lips=np.broadcast_to((marks % 251).astype(np.uint8)[:, None, None], (frames, 96, 96)).copy(),
        audio_present=np.ones(frames, bool),
        video_present=np.ones(frames, bool),
        words=[(f"{w}{number}", a, b) for w, a, b in zip(words, starts, starts[1:], strict=False)],
    )


@pytest.mark.parametrize("seed", range(8))
def test_splicing_keeps_sound_lips_and_words_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clips = [sample(0), sample(1), sample(2)]
    out = augment.splice(clips[0], clips[1:], rng)
    assert len(out.audio) == 640 * out.frames
    assert out.text == " ".join(word for word, _, _ in out.words)
    assert [word[:-1] for word in out.text.split()] == ["bin", "blue", "now"]
    heard = out.audio[320::640].round().astype(int)  # the middle of each frame, away from the seams
    np.testing.assert_array_equal(heard % 251, out.lips[:, 0, 0])
    for word, start, end in out.words:
        middle = int((start + end) / 2 * 25)
        assert heard[middle] // 100 == int(word[-1])  # the word's time points into the clip it came from
        source = {w: (a + b) / 2 for w, a, b in clips[int(word[-1])].words}[word]
        assert abs(heard[middle] % 100 - source * 25) <= 1.5


def test_speed_moves_sound_lips_and_words_alike() -> None:
    out = augment.change_speed(sample(1), 1.25)
    assert out.frames == 40
    assert len(out.audio) == 640 * 40
    np.testing.assert_allclose(out.audio[320::640], 100 + np.arange(40) * 1.25, atol=1.5)
    np.testing.assert_allclose(out.lips[:, 0, 0], 100 + np.arange(40) * 1.25, atol=1)
    assert out.words[0][1] == pytest.approx(0.44 / 1.25)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5])
def test_noise_has_the_stated_level(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.05, 16000).astype(np.float32)
    noise = augment.coloured_noise(16000, 1.0, rng)
    mixed = augment.add_noise(speech, noise, snr_db)
    measured = 10 * np.log10(np.mean(speech**2) / np.mean((mixed - speech) ** 2))
    assert measured == pytest.approx(snr_db, abs=0.05)


def test_noise_leaves_silence_alone() -> None:
    silence = np.zeros(1000, np.float32)
    assert augment.add_noise(silence, np.ones(1000, np.float32), 0.0) is silence


def test_a_room_keeps_the_voice_in_step_with_the_lips() -> None:
    click = np.zeros(8000, np.float32)
    click[4000] = 1
    room = np.zeros(2000, np.float32)
    room[300], room[900] = 1, 0.4  # the direct sound comes 300 samples late in the recording
    out = augment.channel(click, room, False, np.random.default_rng(0))
    assert len(out) == 8000
    assert int(np.argmax(np.abs(out))) == 4000


def test_masks_have_their_shapes_and_sometimes_take_everything() -> None:
    rng = np.random.default_rng(0)
    gone = np.array([augment.spans(75, rng).mean() for _ in range(400)])
    assert gone.min() < 0.15
    assert gone.max() > 0.9
    keep = augment.mel_keep(75, 80, 2, rng)
    assert keep.shape == (300, 80)
    assert 0.4 < keep.mean() < 1
    assert augment.mel_keep(75, 80, 0, rng).all()


def test_pictures_are_changed_alike_in_all_frames() -> None:
    lips = np.broadcast_to(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8), (5, 96, 96)).copy()
    out = augment.picture(lips, 64, AugmentConfig(picture=0), np.random.default_rng(3))
    assert out.shape == (5, 64, 64)
    assert out.dtype == np.uint8
    assert (out == out[0]).all()
    plain = augment.picture(
        lips, 64, AugmentConfig(picture=0, scale=0, rotate_deg=0, shift_px=0, flip=0), np.random.default_rng(0)
    )
    mirrored = augment.picture(
        lips, 64, AugmentConfig(picture=0, scale=0, rotate_deg=0, shift_px=0, flip=1), np.random.default_rng(0)
    )
    np.testing.assert_allclose(plain[0, :, ::-1].astype(int), mirrored[0].astype(int), atol=1)
