"""Augmentation keeps sound, lips and words in step, and does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsr.preprocessing.audio import LogMel, hz_to_mel, mel_to_hz
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


# -------------------------------------------------------------------------------------------- joined, or nobody speaks


@pytest.mark.parametrize("cut", [1, 2])
def test_joining_keeps_sound_lips_and_words_together(cut: int) -> None:
    first, second = sample(0), sample(1, frames=60)
    out = augment.join(first, second, cut)
    assert len(out.audio) == 640 * out.frames
    assert len(out.audio_present) == len(out.video_present) == out.frames
    heads, tails = ["bin0", "blue0", "now0"], ["bin1", "blue1", "now1"]
    assert out.text.split() == [word for word, _, _ in out.words] == heads[cut:] + tails[:cut]
    heard = out.audio[320::640].round().astype(int)
    np.testing.assert_array_equal(heard % 251, out.lips[:, 0, 0])
    sources = {"0": first, "1": second}
    for word, start, end in out.words:
        middle = int((start + end) / 2 * 25)
        assert heard[middle] // 100 == int(word[-1])  # the word's time points into the clip it came from
        source = {w: (a + b) / 2 for w, a, b in sources[word[-1]].words}[word]
        assert abs(heard[middle] % 100 - source * 25) <= 1.5
    seam = int(np.flatnonzero(heard >= 100)[0])
    assert heard[seam - 1] == first.frames - 1  # the pause after the first sentence is kept whole
    assert heard[seam] == 100
    assert all(end <= out.frames / 25 + 0.04 for _, _, end in out.words)


def test_joining_carries_the_masks_of_each_half() -> None:
    first, second = sample(0), sample(1)
    first.audio_present[:], second.video_present[:] = False, False
    out = augment.join(first, second, 1)
    seam = int(out.audio_present.argmax())
    assert out.audio_present.tolist() == [False] * seam + [True] * (out.frames - seam)
    assert out.video_present.tolist() == [True] * seam + [False] * (out.frames - seam)


def test_where_nobody_speaks_there_is_no_text_no_speech_and_no_moving_mouth() -> None:
    rng = np.random.default_rng(0)
    levels, pictures = [], set()
    for _ in range(60):
        before = sample(3)
        noise = rng.normal(0, 5.0, 640 * before.frames).astype(np.float32)
        out = augment.nothing(before, noise, rng)
        assert (out.text, out.words) == ("", [])
        assert out.frames == before.frames
        assert out.audio.shape == before.audio.shape
        assert out.audio.dtype == np.float32
        assert out.lips.dtype == np.uint8
        assert (out.lips == out.lips[0]).all()
        levels.append(float(out.audio.std()))
        assert levels[-1] < 10**-1.4
        assert abs(np.corrcoef(out.audio + 1e-9 * noise, noise)[0, 1]) > 0.99  # the noise, and nothing of the clip
        pictures.add(int(out.lips[0, 0, 0]))
        np.testing.assert_array_equal(out.audio_present, before.audio_present)
        np.testing.assert_array_equal(out.video_present, before.video_present)
    assert pictures == {0, 49}  # black, or the first picture of the clip
    assert 0 < sum(level == 0 for level in levels) < len(levels)
    silent = np.zeros(640 * 50, np.float32)
    assert not augment.nothing(sample(3), silent, rng).audio.any()


# ------------------------------------------------------------------------------------------------- vocal tract length


def warped(mel: np.ndarray, factor: float) -> np.ndarray:
    """Independent of the code: each bin read at `factor` times its centre in Hz, linear between the bins' places."""
    bins = mel.shape[1]
    centres = np.arange(1, bins + 1) / (bins + 1)
    hz = mel_to_hz(torch.from_numpy(centres).double()) * factor
    places = hz_to_mel(hz).numpy()
    return np.stack([np.interp(places, centres, row) for row in mel])


@pytest.mark.parametrize("factor", [0.86, 0.97, 1.0, 1.05, 1.16])
def test_formants_move_as_an_interpolation_says(factor: float) -> None:
    mel = np.random.default_rng(0).normal(size=(2, 12, 80)).astype(np.float32)
    out = augment.warp_mel(torch.from_numpy(mel), torch.tensor([factor, 1.0]))
    np.testing.assert_allclose(out[0].numpy(), warped(mel[0], factor), atol=2e-3)
    np.testing.assert_allclose(out[1].numpy(), mel[1], atol=2e-3)  # each clip has its own factor; 1 changes nothing


def test_a_longer_vocal_tract_has_lower_formants() -> None:
    """A tone of 1200 Hz, read by a factor of 1.2 from higher bins, looks like one of 1000 Hz."""
    log_mel = LogMel()
    times = torch.arange(640 * 25) / 16000

    def loudest(hz: float, factor: float) -> int:
        mel = log_mel.power(torch.sin(2 * torch.pi * hz * times)[None]).clamp_min(1e-10).log10()
        return int(augment.warp_mel(mel, torch.tensor([factor]))[0, 50].argmax())

    assert abs(loudest(1200, 1.2) - loudest(1000, 1.0)) <= 1
    assert abs(loudest(2400, 0.8) - loudest(3000, 1.0)) <= 1
    assert loudest(1200, 1.2) < loudest(1200, 1.0) < loudest(1200, 0.8)
    absent = augment.warp_mel(
        log_mel(torch.zeros(1, 640 * 25), torch.zeros(1, 25, dtype=torch.bool)), torch.tensor([1.1])
    )
    assert not absent.any()  # what is absent stays zero


def test_warping_reads_nothing_from_beyond_the_highest_bin() -> None:
    mel = torch.arange(80.0).expand(1, 4, 80)
    out = augment.warp_mel(mel, torch.tensor([1.15]))
    assert out.max() == 79
    assert (out.diff(dim=-1) >= 0).all()
    assert (out >= mel - 1e-3).all()  # from higher bins
    assert (augment.warp_mel(mel, torch.tensor([0.87])) <= mel + 1e-3).all()
