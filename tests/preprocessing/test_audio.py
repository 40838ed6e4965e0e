"""Log-mel: librosa's numbers, four frames to a video frame, and nothing learned from what is
absent."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from avsr.preprocessing.audio import HOP, N_FFT, WINDOW, LogMel, WhisperLogMel, mel_filterbank
from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME


@pytest.fixture(scope="module")
def mel() -> LogMel:
    return LogMel()


def voice(frames: int, seed: int = 0) -> Tensor:
    """(N,) float32: a buzz of gliding pitch that swells and fades, over faint noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames * SAMPLES_PER_FRAME) / SAMPLE_RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time + seed)
    buzz = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)) * (
        0.55 + 0.45 * np.sin(9 * time)
    )
    return torch.from_numpy((0.2 * buzz + 0.01 * rng.normal(size=len(time))).astype(np.float32))


@pytest.mark.parametrize("n_mels", [40, 80, 128])
def test_filterbank_is_librosas(n_mels: int) -> None:
    import librosa

    reference = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    np.testing.assert_allclose(mel_filterbank(n_mels).numpy(), reference.T, rtol=1e-5, atol=1e-9)


def test_power_is_librosas(mel: LogMel) -> None:
    import librosa

    audio = voice(30)
    reference = librosa.feature.melspectrogram(
        y=audio.numpy(), sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, win_length=WINDOW,
        window="hann",
        center=True, pad_mode="constant", power=2.0, n_mels=80,
    )  # fmt: skip
    power = mel.power(audio[None])[0].numpy()
    assert len(power) == reference.shape[1] - 1  # librosa's last frame is centred on the end
    np.testing.assert_allclose(power, reference.T[:-1], rtol=1e-3, atol=1e-6)


def test_a_model_is_built_without_librosa() -> None:
    """Importing it takes a second that every start of the program would pay."""
    code = (
        "import sys; from avsr.preprocessing.audio import LogMel; "
        "LogMel(); print('librosa' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_filterbank_travels_in_the_checkpoint(mel: LogMel) -> None:
    assert {name: tuple(value.shape) for name, value in mel.state_dict().items()} == {
        "filterbank": (257, 80)
    }


@pytest.mark.parametrize("frames", [1, 2, 7, 75])
def test_four_mel_frames_to_a_video_frame(mel: LogMel, frames: int) -> None:
    features = mel(torch.zeros(2, frames * 640), torch.ones(2, frames, dtype=torch.bool))
    assert features.shape == (2, 4 * frames, 80)
    assert features.dtype == torch.float32


def test_what_stands_in_absent_frames_cannot_change_the_features(mel: LogMel) -> None:
    audio = voice(20)[None]
    present = torch.ones(1, 20, dtype=torch.bool)
    present[:, [0, 7, 8, 19]] = False
    expected = mel(audio, present)
    for value in (0.0, 1.0, 1e30, torch.inf, torch.nan):
        filled = torch.where(present.repeat_interleave(SAMPLES_PER_FRAME, 1), audio, value)
        assert torch.equal(mel(filled, present), expected)
    assert not expected[~present.repeat_interleave(4, 1)].any()
    assert torch.isfinite(expected).all()


def test_a_clip_alone_and_in_a_padded_batch_agree(mel: LogMel) -> None:
    short, long = voice(9, 1), voice(31, 2)
    batch = torch.stack(
        [torch.nn.functional.pad(short, (0, len(long) - len(short)), value=0.3), long]
    )
    present = torch.arange(31) < torch.tensor([[9], [31]])
    together = mel(batch, present)
    alone = mel(short[None], torch.ones(1, 9, dtype=torch.bool))
    torch.testing.assert_close(together[:1, :36], alone, atol=1e-4, rtol=1e-4)
    assert not together[0, 36:].any()


def test_silence_and_nothing_give_finite_numbers(mel: LogMel) -> None:
    silence = torch.zeros(1, 6400)
    for present in (True, False):
        features = mel(silence, torch.full((1, 10), present))
        assert torch.isfinite(features).all()
        assert features.abs().max() < 1e-3


@pytest.mark.parametrize("kind", [LogMel, WhisperLogMel])
def test_absent_frames_hold_the_value_of_absence(kind: type[LogMel]) -> None:
    present = torch.arange(20) < 12
    for given in (present, torch.zeros(20, dtype=torch.bool)):
        out = kind()(torch.randn(1, 20 * 640), given[None])
        assert (out[0, 4 * int(given.sum()) :] == torch.tensor(kind.absent)).all()


def test_loudness_does_not_matter(mel: LogMel) -> None:
    audio, present = voice(40)[None], torch.ones(1, 40, dtype=torch.bool)
    expected = mel(audio, present)
    for gain in (0.01, 0.1, 3.0):
        torch.testing.assert_close(mel(gain * audio, present), expected, atol=2e-3, rtol=2e-3)


def test_every_bin_has_zero_mean_and_unit_variance_over_the_present_frames(mel: LogMel) -> None:
    present = torch.ones(1, 40, dtype=torch.bool)
    present[:, 10:20] = False
    features = mel(voice(40)[None], present)[0][present[0].repeat_interleave(4)]
    assert features.mean(0).abs().max() < 1e-4
    assert (features.square().mean(0).sqrt() - 1).abs().max() < 1e-3


def test_what_hardly_changes_is_not_blown_up(mel: LogMel) -> None:
    """A steady tone varies at its ends only, by less than MIN_STD: its bin stays below unit
    variance."""
    tone = (
        0.3
        * torch.sin(2 * torch.pi * 1000 * torch.arange(25 * SAMPLES_PER_FRAME) / SAMPLE_RATE)[None]
    )
    features = mel(tone, torch.ones(1, 25, dtype=torch.bool))[0]
    assert features[:, mel.power(tone)[0].mean(0).argmax()].std() < 0.9


@pytest.mark.parametrize("gain", [0.05, 0.3, 1.0, 4.0])
def test_whispers_features_are_whispers_at_an_ordinary_level(gain: float) -> None:
    """Whisper: log10 of the mel power (librosa, 400 samples), no more than 8 below the loudest,
    plus 4, over 4."""
    import librosa

    audio, present = voice(40), torch.ones(1, 40, dtype=torch.bool)
    power = librosa.feature.melspectrogram(
        y=audio.numpy(), sr=SAMPLE_RATE, n_fft=400, hop_length=HOP, n_mels=80, pad_mode="constant"
    )[:, :-1]
    log = np.log10(np.maximum(power, 1e-10))
    expected = (np.maximum(log, log.max() - 8) + 4) / 4
    features = WhisperLogMel()(gain * audio[None], present)[0].T.numpy()
    np.testing.assert_allclose(features, expected + (1.4 - expected.max()), atol=2e-3)


def test_whispers_features_of_silence_are_low_and_of_nothing_lowest() -> None:
    mel, present = WhisperLogMel(), torch.ones(2, 10, dtype=torch.bool)
    present[1] = False
    assert (mel(torch.zeros(2, 6400), present) <= -0.599).all()
    faint = mel(1e-5 * torch.randn(2, 6400), present)
    assert faint[0].max() < 0.5  # is not turned up to the level of speech
    assert (faint[1] <= -0.599).all()
