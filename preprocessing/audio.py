"""Log-mel features on the model's device: what librosa computes, in torch, four mel frames to a
video frame."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
N_FFT = 512
MELS_PER_FRAME = SAMPLES_PER_FRAME // HOP  # 4, so S = 4 T exactly
# log10 units of power, 80 dB: what lies further below the loudest bin is not sound but arithmetic
DYNAMIC_RANGE = 8.0
MIN_STD = 0.1  # log10 units; keeps a constant signal from being blown up


# Slaney's scale: linear, then logarithmic
KNEE_HZ, HZ_PER_MEL, OCTAVES_PER_MEL = 1000.0, 200 / 3, math.log2(6.4) / 27
KNEE = KNEE_HZ / HZ_PER_MEL
TOP = KNEE + math.log2(SAMPLE_RATE / 2 / KNEE_HZ) / OCTAVES_PER_MEL  # mels at 8 kHz


def mel_to_hz(mel: Tensor) -> Tensor:
    """Slaney's mel scale as a share of its range, 1 at 8 kHz, to Hz."""
    mel = mel * TOP
    return torch.where(
        mel < KNEE, mel * HZ_PER_MEL, KNEE_HZ * 2 ** (OCTAVES_PER_MEL * (mel - KNEE))
    )


def hz_to_mel(hz: Tensor) -> Tensor:
    """The inverse of ``mel_to_hz``."""
    above = KNEE + (hz / KNEE_HZ).clamp_min(1).log2() / OCTAVES_PER_MEL
    return torch.where(hz < KNEE_HZ, hz / HZ_PER_MEL, above) / TOP


def mel_filterbank(n_mels: int, n_fft: int = N_FFT) -> Tensor:
    """Triangular filters on Slaney's mel scale (Auditory Toolbox, 1998), each of unit area, from 0
    to 8 kHz.

    The same as librosa.filters.mel, whose import would cost a second whenever a model is loaded.

    Returns:
        (n_fft // 2 + 1, n_mels) float32.
    """
    edges = mel_to_hz(torch.linspace(0, 1, n_mels + 2, dtype=torch.float64, device="cpu")).numpy()
    bins = np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)[:, None]
    rising, falling = (
        (bins - edges[:-2]) / np.diff(edges[:-1]),
        (edges[2:] - bins) / np.diff(edges[1:]),
    )
    weights = np.minimum(rising, falling).clip(0) * 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy(weights.astype(np.float32))


class LogMel(nn.Module):
    """Waveform to normalised log-mel.

    Mel frame s is centred on sample 160 s. Samples of absent frames are zeroed before the transform
    and never reach the features. Normalisation is per utterance: each bin has zero mean and unit
    variance over the present frames, which removes loudness and the colour of the microphone.
    Absent frames come out as zeros.
    """

    n_fft = N_FFT
    absent = 0.0  # what the bins of absent frames hold, and those that training masks
    filterbank: Tensor
    window: Tensor

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        # travels in the checkpoint
        self.register_buffer("filterbank", mel_filterbank(n_mels, self.n_fft))
        # Real even in a model of the meta device: no checkpoint holds it, so nothing would fill it
        # in.
        self.register_buffer("window", torch.hann_window(WINDOW, device="cpu"), persistent=False)

    def power(self, audio: Tensor) -> Tensor:
        """(B, N) float samples -> (B, N / 160, M) mel power."""
        padded = nn.functional.pad(audio, (self.n_fft // 2, self.n_fft // 2))
        spectrum = torch.stft(
            padded, self.n_fft, HOP, WINDOW, self.window, center=False, return_complex=True
        )
        # N / 160 + 1 frames; the last is centred one past the end: (B, F, S + 1) -> (B, S, F)
        power = spectrum[..., :-1].abs().square().transpose(1, 2)
        return power @ self.filterbank

    def levels(self, audio: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log10 of the mel power (B, S, M), down to the dynamic range; that of the loudest bin (B,
        1, 1); where the mel frames are present (B, S, 1)."""
        audio = audio.masked_fill(~present.repeat_interleave(SAMPLES_PER_FRAME, 1), 0)
        mask = present.repeat_interleave(MELS_PER_FRAME, 1).unsqueeze(-1)
        mel = self.power(audio).clamp_min(1e-10).log10()
        loudest = mel.masked_fill(~mask, -torch.inf).amax((1, 2), keepdim=True)
        return torch.maximum(mel, loudest - DYNAMIC_RANGE), loudest, mask

    def forward(self, audio: Tensor, present: Tensor) -> Tensor:
        """Normalised log-mel.

        Args:
            audio: (B, N) float32, N = 640 T.
            present: (B, T) bool; false where there is no sound, padding included.

        Returns:
            (B, S, M) float32, S = 4 T, zeros where absent.
        """
        mel, _, mask = self.levels(audio, present)
        mel = mel.masked_fill(~mask, 0)
        count = mask.sum(1, keepdim=True).clamp_min(1)
        mean = mel.sum(1, keepdim=True) / count
        mel = (mel - mean).masked_fill(~mask, 0)
        std = (mel.square().sum(1, keepdim=True) / count).sqrt()
        return mel / std.clamp_min(MIN_STD)


class WhisperLogMel(LogMel):
    """Log-mel as the encoder of Whisper was trained on (Radford et al. 2022), but for the loudness.

    Whisper's own has the same scale, a quarter for each log10 unit, and goes up and down with the
    recording's level; here the loudest bin of a clip stands at LOUDEST, where speech of an ordinary
    level has it, unless there is next to nothing but silence. Absent frames are as quiet as can be.
    """

    n_fft = WINDOW
    LOUDEST = 1.4
    absent = LOUDEST - DYNAMIC_RANGE / 4
    SILENCE = -2.0  # log10 units of power; what is no louder is not turned up

    def forward(self, audio: Tensor, present: Tensor) -> Tensor:
        """(B, N) float32, (B, T) bool -> (B, S, M) float32 in [-0.6, 1.4]."""
        mel, loudest, mask = self.levels(audio, present)
        below = (mel - loudest.clamp_min(self.SILENCE)).clamp_min(-DYNAMIC_RANGE)
        return (below / 4 + self.LOUDEST).masked_fill(~mask, self.absent)
