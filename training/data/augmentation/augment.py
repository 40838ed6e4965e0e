"""Changes to clips that training makes and testing does not. Every function takes its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from scipy.fft import next_fast_len
from torch import Tensor

from avsr.preprocessing.audio import hz_to_mel, mel_to_hz
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.media.codecs import round_trip
from avsr.training.config import AugmentConfig

WINDOW, HOP = 512, 128  # of the phase vocoder, samples
Words = list[tuple[str, float, float]]  # word, start_s, end_s
CODEC_KBPS = {"opus": (6, 24), "mp3": (8, 32), "amr-nb": (4.75, 12.2), "aac": (12, 32)}


@dataclass(frozen=True)
class Sample:
    """A clip on its way to the network: audio (N,) float32, lips (T, 96, 96) uint8, masks (T,)
    bool, words or None."""

    id: str
    text: str
    speaker: str | None
    audio: np.ndarray
    lips: np.ndarray
    audio_present: np.ndarray
    video_present: np.ndarray
    words: Words | None

    @property
    def frames(self) -> int:
        return len(self.lips)


def splice(sample: Sample, donors: Sequence[Sample], rng: Generator) -> Sample:
    """A new sentence from stretches of clips of one speaker, sound and lips together, cut between
    words.

    Word k comes from a clip's word k, so a corpus with a fixed grammar keeps it. The cuts lie on
    video frames, which keeps the two streams in step.

    Args:
        sample: gives the first stretch.
        donors: give the others; all have the same number of words as the sample.
        rng: draws the cuts.
    """
    assert sample.words is not None
    count = len(sample.words)
    cuts = sorted(rng.choice(np.arange(1, count), size=min(len(donors), count - 1), replace=False))
    pieces, words, start = [], [], 0
    for source, first, last in zip([sample, *donors], [0, *cuts], [*cuts, count], strict=False):
        assert source.words is not None
        begin = 0 if first == 0 else _frame(source.words[first][1], source)
        end = source.frames if last == count else _frame(source.words[last][1], source)
        if end <= begin:
            return sample
        shift = (start - begin) / FPS
        words += [(word, a + shift, b + shift) for word, a, b in source.words[first:last]]
        pieces.append((source, begin, end))
        start += end - begin
    audio = np.concatenate(
        [s.audio[b * SAMPLES_PER_FRAME : e * SAMPLES_PER_FRAME] for s, b, e in pieces]
    )
    joint = 0
    for _, b, e in pieces[:-1]:
        joint += (e - b) * SAMPLES_PER_FRAME
        _soften(audio, joint)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(s, name)[b:e] for s, b, e in pieces])
        for name in ("lips", "audio_present", "video_present")
    }
    text = " ".join(word for word, _, _ in words)
    return replace(sample, id=f"{sample.id}+splice", text=text, audio=audio, words=words, **joined)


TIGHT = 3  # frames: how much is left at most of the pause on either side of a tight seam


def join(first: Sample, second: Sample, rng: Generator, tight: bool = False) -> Sample:
    """One sentence after the other, as in any recording longer than a sentence; some of the pause
    between them is cut.

    Args:
        first: must have words.
        second: likewise.
        rng: draws how much of the pause is left on either side of the seam.
        tight: hardly anything is left, as where nobody pauses.
    """
    assert first.words is not None
    assert second.words is not None
    said = min(_frame(first.words[-1][2], first) + 1, first.frames)
    starts = max(_frame(second.words[0][1], second) - 1, 0)
    most = TIGHT if tight else first.frames + second.frames
    end = int(rng.integers(said, min(first.frames, said + most) + 1))
    begin = int(rng.integers(max(0, starts - most), starts + 1))
    shift = (end - begin) / FPS
    words = first.words + [(word, a + shift, b + shift) for word, a, b in second.words]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(first, name)[:end], getattr(second, name)[begin:]])
        for name in ("lips", "audio_present", "video_present")
    }
    audio = np.concatenate(
        [first.audio[: end * SAMPLES_PER_FRAME], second.audio[begin * SAMPLES_PER_FRAME :]]
    )
    _soften(audio, end * SAMPLES_PER_FRAME)
    text = f"{first.text} {second.text}"
    return replace(
        first, id=f"{first.id}+{second.id}", text=text, audio=audio, words=words, **joined
    )


def with_lips_of(sample: Sample, other: Sample) -> Sample:
    """The clip with the picture of another one, its last frame held where it is too short."""
    picks = np.minimum(np.arange(sample.frames), other.frames - 1)
    return replace(sample, lips=other.lips[picks], video_present=other.video_present[picks])


def whole(sample: Sample, place: int) -> bool:
    """Whether all of a word is there to be heard and seen."""
    assert sample.words is not None
    span = slice(*(_frame(edge, sample) for edge in sample.words[place][1:]))
    return bool(sample.audio_present[span].all() and sample.video_present[span].all())


def with_lips_of_a_word(sample: Sample, place: int, other: Sample) -> Sample:
    """The clip with the lips of one word those of the word in the same place of another clip,
    stretched to its length.

    Args:
        sample: has words.
        place: number of the word.
        other: has as many words.
    """
    assert sample.words is not None
    assert other.words is not None
    (_, *here), (_, *there) = sample.words[place], other.words[place]
    (begin, end), (first, last) = (
        (_frame(a, s), _frame(b, s)) for (a, b), s in ((here, sample), (there, other))
    )
    if end <= begin or last <= first:
        return sample
    picks = first + (np.arange(end - begin) * (last - first)) // (end - begin)
    lips, video_present = sample.lips.copy(), sample.video_present.copy()
    lips[begin:end], video_present[begin:end] = other.lips[picks], other.video_present[picks]
    return replace(sample, lips=lips, video_present=video_present)


def out_of_sync(sample: Sample, frames: int) -> Sample:
    """The clip with its lips late by a number of frames, or early by a negative one; the frame at
    the end is held."""
    picks = np.clip(np.arange(sample.frames) - frames, 0, sample.frames - 1)
    return replace(sample, lips=sample.lips[picks], video_present=sample.video_present[picks])


def change_voice(audio: np.ndarray, pitch: float, formants: float) -> np.ndarray:
    """The same words at the same time in another voice: (N,) float32 -> (N,) float32.

    A phase vocoder stretches the sound by ``pitch`` and resampling brings it back to its length,
    which moves pitch and formants alike; the spectral envelope (from the cepstrum) is moved
    beforehand so that formants end up where wanted.

    Args:
        audio: 16 kHz.
        pitch: factor of the fundamental frequency.
        formants: factor of the formant frequencies.
    """
    spectrum = _spectrum(audio)
    log_magnitude = np.log(np.abs(spectrum) + 1e-6)
    cepstrum = np.fft.irfft(log_magnitude)
    # what repeats faster than every 2.5 ms is the voice's pitch, the rest its envelope
    cepstrum[:, 40:-39] = 0
    envelope = np.fft.rfft(cepstrum).real
    bins = np.arange(envelope.shape[1]) * (pitch / formants)
    low = np.minimum(bins.astype(int), envelope.shape[1] - 2)
    share = np.minimum(bins - low, 1.0).astype(np.float32)
    moved = envelope[:, low] * (1 - share) + envelope[:, low + 1] * share
    spectrum = spectrum * np.exp(np.clip(moved - envelope, -6, 6))
    stretched = _sound(_stretched(spectrum, pitch))
    if pitch > 1:  # what would fold back
        size = next_fast_len(len(stretched), real=True)
        low_pass = np.fft.rfft(stretched, size)
        low_pass[int(len(low_pass) / pitch) :] = 0
        stretched = np.fft.irfft(low_pass, size)
    times = np.arange(len(audio), dtype=np.float32) * np.float32(pitch)
    return np.interp(times, np.arange(len(stretched), dtype=np.float32), stretched).astype(
        np.float32
    )


def _spectrum(audio: np.ndarray) -> np.ndarray:
    """(frames, 257) complex, a frame every HOP samples around its middle."""
    padded = np.pad(audio, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.fft.rfft(frames * np.hanning(WINDOW + 1)[:-1].astype(np.float32))


def _sound(spectrum: np.ndarray) -> np.ndarray:
    """(N,) float32 whose spectrum this is, as nearly as there is one (Griffin & Lim 1984)."""
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    pieces = np.fft.irfft(spectrum) * window
    overlap = WINDOW // HOP
    sound = np.zeros((len(spectrum) + overlap - 1, HOP), np.float32)
    weight = np.zeros_like(sound)
    for k in range(overlap):
        part = slice(k * HOP, (k + 1) * HOP)
        sound[k : k + len(spectrum)] += pieces[:, part]
        weight[k : k + len(spectrum)] += window[part] ** 2
    return (sound / np.maximum(weight, 1e-3)).ravel()[WINDOW // 2 :]


def _stretched(spectrum: np.ndarray, factor: float) -> np.ndarray:
    """A spectrum (frames, 257) that lasts ``factor`` times as long, its frequencies kept.

    A phase vocoder (Flanagan & Golden 1966): each bin turns on by as much as it turns between the
    two frames that a new one lies between.
    """
    times = np.arange(0, len(spectrum), 1 / factor)
    here = times.astype(int)
    share = (times - here).astype(np.float32)[:, None]
    spectrum = np.pad(spectrum, ((0, 2), (0, 0)))
    magnitude, angle = np.abs(spectrum), np.angle(spectrum)
    expected = np.arange(spectrum.shape[1], dtype=np.float32) * (2 * np.pi * HOP / WINDOW)
    odd = angle[here + 1] - angle[here] - expected
    turns = (expected + odd - 2 * np.pi * np.round(odd / (2 * np.pi))) % (2 * np.pi)
    phase = angle[0] + np.cumsum(turns, 0, np.float32) - turns
    magnitude = magnitude[here] * (1 - share) + magnitude[here + 1] * share
    return magnitude * (np.cos(phase) + 1j * np.sin(phase))


def without_speech(sample: Sample, noise: np.ndarray, rng: Generator) -> Sample:
    """The clip with nobody speaking: silence or noise (N,), faint or loud, over a still frame or
    black ones."""
    level = 0.0 if rng.random() < 0.3 else 10 ** rng.uniform(-4, -0.7) / (float(noise.std()) + 1e-9)
    still = np.repeat(
        sample.lips[:1] if rng.random() < 0.5 else np.zeros_like(sample.lips[:1]), sample.frames, 0
    )
    return replace(sample, text="", audio=(noise * level).astype(np.float32), lips=still, words=[])


def other_speech(sample: Sample, voice: np.ndarray, rng: Generator) -> Sample:
    """The clip with somebody (N,) who says none of our words, unseen or with lips that say none.

    A mouth played backwards moves like one that speaks another language.
    """
    level = float(sample.audio.std()) / (float(voice.std()) + 1e-9)
    seen = sample.video_present[::-1] & (rng.random() < 0.4)
    return replace(
        sample,
        text="",
        audio=voice * np.float32(level),
        audio_present=np.ones_like(sample.audio_present),
        lips=sample.lips[::-1],
        words=[],
        video_present=seen,
    )


def _soften(audio: np.ndarray, at: int) -> None:
    """Dips a seam for 3 ms each way, in place, so that it does not click."""
    around = audio[max(at - 48, 0) : at + 48]
    around *= np.abs(np.linspace(-1, 1, len(around), dtype=np.float32))


def _frame(seconds: float, sample: Sample) -> int:
    return min(max(round(seconds * FPS), 0), sample.frames)


def change_speed(sample: Sample, factor: float, course: np.ndarray | None = None) -> Sample:
    """Sound and lips ``factor`` times as fast; the pitch goes with it.

    Args:
        sample: a clip of T frames.
        factor: how many times as fast as a whole.
        course: (K,) relative speeds at evenly spaced moments, straight lines between: people slow
            down and hurry within a sentence. Even where not given.
    """
    time, steps = np.arange(sample.frames + 1), np.ones(sample.frames)
    if course is not None:
        steps /= np.interp(time[:-1] + 0.5, np.linspace(0, sample.frames, len(course)), course)
        steps *= sample.frames / steps.sum()
    # where the edges of the frames come to lie, in frames
    new = np.append(0, np.cumsum(steps / factor))
    frames = max(1, round(new[-1]))
    picks = np.minimum(np.interp(np.arange(frames) + 0.5, new, time).astype(int), sample.frames - 1)
    at = (
        np.interp(np.arange(frames * SAMPLES_PER_FRAME) / SAMPLES_PER_FRAME, new, time)
        * SAMPLES_PER_FRAME
    )
    audio = np.interp(at, np.arange(len(sample.audio)), sample.audio).astype(np.float32)
    words = sample.words
    if words:
        moments = np.interp([[a * FPS, b * FPS] for _, a, b in words], time, new) / FPS
        words = [
            (word, float(a), float(b)) for (word, _, _), (a, b) in zip(words, moments, strict=True)
        ]
    return replace(
        sample,
        audio=audio,
        lips=sample.lips[picks],
        audio_present=sample.audio_present[picks],
        video_present=sample.video_present[picks],
        words=words,
    )


def add_noise(audio: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mixes noise (N,) into audio (N,) at a signal-to-noise ratio over the whole clip."""
    power, noise_power = float(np.mean(audio**2)), float(np.mean(noise**2))
    if power == 0 or noise_power == 0:
        return audio
    return audio + noise * np.float32(np.sqrt(power / noise_power / 10 ** (snr_db / 10)))


def coloured_noise(samples: int, slope: float, rng: Generator) -> np.ndarray:
    """Gaussian noise whose power falls with frequency to the power ``slope``: 0 white, 1 pink, 2
    brown."""
    spectrum = np.fft.rfft(rng.standard_normal(samples, dtype=np.float32))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2)
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def fit(audio: np.ndarray, samples: int, rng: Generator) -> np.ndarray:
    """A random stretch of a recording, repeated where it is too short."""
    if len(audio) < samples:
        audio = np.tile(audio, -(-samples // len(audio)))
    start = int(rng.integers(len(audio) - samples + 1))
    return audio[start : start + samples]


def channel(
    audio: np.ndarray, rir: np.ndarray | None, equalise: bool, rng: Generator
) -> np.ndarray:
    """Passes audio (N,) through a room and a coloured, perhaps band-limited, channel; one transform
    for all of it."""
    size = next_fast_len(len(audio) + (len(rir) if rir is not None else 0), real=True)
    spectrum = np.fft.rfft(audio, size)
    if rir is not None:
        # the direct sound stays where it was: lips and voice keep in step
        rir = rir[int(np.argmax(np.abs(rir))) :]
        spectrum *= np.fft.rfft(rir / np.sqrt(np.sum(rir**2)), size)
    if equalise:
        hz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
        knots = np.array([0, 150, 400, 1000, 2000, 4000, 8000])
        gain_db = np.interp(hz, knots, rng.uniform(-8, 8, len(knots)))
        if rng.random() < 0.4:
            low, high = rng.uniform(50, 350), rng.uniform(2500, 7000)
            gain_db -= 40 * np.clip((low - hz) / 100, 0, 1) + 40 * np.clip((hz - high) / 500, 0, 1)
        spectrum *= 10 ** (gain_db / 20)
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)


def codec(audio: np.ndarray, rng: Generator) -> np.ndarray:
    """The sound (N,) after a lossy coder of telephones, radio and the web, at a few kbit/s."""
    name = str(rng.choice(list(CODEC_KBPS)))
    return round_trip(audio, name, round(rng.uniform(*CODEC_KBPS[name]) * 1000))


def spans(frames: int, rng: Generator) -> np.ndarray:
    """(T,) bool, true inside one to three spans that cover a random share of the clip, now and then
    all of it."""
    out = np.zeros(frames, bool)
    count = int(rng.integers(1, 4))
    share = rng.uniform(0.1, 1.0) / count
    for _ in range(count):
        length = max(1, round(share * frames))
        start = int(rng.integers(-length // 2, frames))
        out[max(start, 0) : start + length] = True
    return out


def absences(frames: int, rng: Generator) -> np.ndarray:
    """(T,) bool, true where a stream is gone: in spans, in frames lost at random, or every so many
    frames."""
    kind = rng.random()
    if kind < 0.6:
        return spans(frames, rng)
    if kind < 0.85:
        return rng.random(frames) < rng.uniform(0.1, 0.8)
    period = int(rng.integers(2, 6))
    every = (np.arange(frames) + int(rng.integers(period))) % period == 0
    return every if rng.random() < 0.5 else ~every


def short_masks(frames: int, count: int, longest: int, rng: Generator) -> np.ndarray:
    """(T,) bool, true inside ``count`` masks of up to ``longest`` frames."""
    out = np.zeros(frames, bool)
    for _ in range(count):
        length = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, max(1, frames - length)))
        out[start : start + length] = True
    return out


def warp_mel(mel: Tensor, factors: Tensor) -> Tensor:
    """Moves the formants of log-mels (B, S, M) by factors (B,): another vocal tract (Jaitly &
    Hinton 2013).

    A factor above 1 stands for a longer one: every bin shows what stood higher, so formants come
    out lower.
    """
    centres = torch.arange(1, mel.shape[2] + 1, device=mel.device) / (mel.shape[2] + 1)
    # bin each bin is read from
    places = hz_to_mel(mel_to_hz(centres) * factors[:, None]) * (mel.shape[2] + 1) - 1
    places = places.clamp(0, mel.shape[2] - 1)
    low = places.floor().long().clamp_max(mel.shape[2] - 2)
    share = (places - low)[:, None]
    low = low[:, None].expand(-1, mel.shape[1], -1)
    return mel.gather(2, low) * (1 - share) + mel.gather(2, low + 1) * share


def mel_keep(frames: int, n_mels: int, masks: int, rng: Generator) -> np.ndarray:
    """(4 T, M) bool, false inside time masks (up to 150 ms) and frequency masks (up to 20 bins)."""
    keep = np.ones((4 * frames, n_mels), bool)
    for _ in range(masks):
        keep[short_masks(4 * frames, 1, 15, rng)] = False
        keep[:, short_masks(n_mels, 1, 20, rng)] = False
    return keep


def picture(lips: np.ndarray, config: AugmentConfig, rng: Generator) -> np.ndarray:
    """One clip's crops (T, 96, 96) uint8 after a lossy coder and in part behind something; a copy
    where they change."""
    import cv2

    if rng.random() < config.codec:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 60))]
        coded = (cv2.imencode(".jpg", frame, quality)[1] for frame in lips)
        lips = np.stack([np.asarray(cv2.imdecode(frame, cv2.IMREAD_GRAYSCALE)) for frame in coded])
    if rng.random() < config.picture / 2:
        lips, (height, width) = lips.copy(), rng.integers(CROP_SIZE // 8, CROP_SIZE // 2, 2)
        top, left = rng.integers(0, CROP_SIZE - height), rng.integers(0, CROP_SIZE - width)
        first, last = sorted(rng.integers(0, len(lips) + 1, 2))
        lips[first:last, top : top + height, left : left + width] = rng.integers(1, 256)
    return lips
