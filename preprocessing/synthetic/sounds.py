"""Sounds in which nobody speaks, for training against invented words.

Rooms, machines, hands, breath, crowds and music.

Every kind is drawn anew each time it is asked for, with its own rates, pitches and loudness.

N  audio samples at 16 kHz
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.fft import next_fast_len
from scipy.signal import lfilter

from avsr.preprocessing.clip import SAMPLE_RATE

PEAK = 0.99
QUIET_DB, LOUD_DB = -85.0, -12.0  # of full scale, between which the level of a sound is drawn
MINOR, MAJOR = (
    (0, 2, 3, 5, 7, 8, 10, 12),
    (0, 2, 4, 5, 7, 9, 11, 12),
)  # steps of a scale, in semitones
OCTAVE = 12

Sound = Callable[[int, Generator], np.ndarray]
"""Number of samples and what draws them, to (N,) float64 of any level."""


def non_speech(samples: int, rng: Generator, kind: str | None = None) -> np.ndarray:
    """A sound in which nobody speaks, at a level between barely heard and loud.

    Args:
        samples: N.
        rng: draws all of it.
        kind: one of KINDS; drawn where None.

    Returns:
        (N,) float32 in [-1, 1].
    """
    name = kind if kind is not None else str(rng.choice(list(KINDS)))
    sound = KINDS[name](samples, rng)
    spread = float(np.std(sound)) if samples else 0.0
    if spread == 0.0:
        return np.zeros(samples, np.float32)
    level = 10 ** (rng.uniform(QUIET_DB, LOUD_DB) / 20)
    return np.clip(sound * (level / spread), -PEAK, PEAK).astype(np.float32)


# ---- silence


def _zeros(samples: int, rng: Generator) -> np.ndarray:
    return np.zeros(samples)


def _last_bits(samples: int, rng: Generator) -> np.ndarray:
    """Dither: the last bits of a quiet converter."""
    return rng.integers(-1, 2, samples).astype(np.float64)


def _gated(samples: int, rng: Generator) -> np.ndarray:
    """A noise gate: room noise that is cut to nothing and comes back."""
    return _room(samples, rng) * _switched(samples, rng, slowest_s=1.5)


# ---- rooms and machines


def _room(samples: int, rng: Generator) -> np.ndarray:
    """Noise whose power falls with frequency, from hiss to rumble."""
    return _shaped(samples, rng, slope=rng.uniform(0, 2.5))


def _band(samples: int, rng: Generator) -> np.ndarray:
    """Noise in one band, which may wander: wind, a tap, a kettle."""
    centre_hz = np.exp(rng.uniform(np.log(150), np.log(6000)))
    return _shaped(samples, rng, slope=0.5, centre_hz=centre_hz) * _slow(samples, rng, 0.2, 2.0)


def _mains(samples: int, rng: Generator) -> np.ndarray:
    """A hum of 50 or 60 Hz with its overtones, and some hiss."""
    base_hz = float(rng.choice([50, 60]))
    tones = sum(
        rng.uniform(0, 1) / n * _sine(samples, n * base_hz, rng)
        for n in range(1, int(rng.integers(3, 14)))
    )
    return tones + rng.uniform(0, 0.2) * rng.standard_normal(samples)


def _motor(samples: int, rng: Generator) -> np.ndarray:
    """A motor or a fan: overtones of a speed that wanders, and its air."""
    speed_hz = rng.uniform(25, 180) * (1 + rng.uniform(0, 0.2) * _slow(samples, rng, 0.1, 0.6))
    phase = 2 * np.pi * np.cumsum(speed_hz) / SAMPLE_RATE
    tones = sum(rng.uniform(0.1, 1) * np.sin(n * phase + rng.uniform(0, 6)) for n in range(1, 9))
    return tones + rng.uniform(0.2, 2) * _unit(_room(samples, rng))


def _beeps(samples: int, rng: Generator) -> np.ndarray:
    """Tones that are switched on and off, or slide: phones, alarms, instruments."""
    hz = np.exp(rng.uniform(np.log(200), np.log(3500)))
    bend = rng.uniform(0, 0.6) * np.sin(
        2 * np.pi * rng.uniform(0.2, 6) * _times(samples) + rng.uniform(0, 6)
    )
    tone = np.sin(2 * np.pi * np.cumsum(hz * (1 + bend)) / SAMPLE_RATE)
    return tone * _switched(samples, rng, slowest_s=0.6)


# ---- hands and bodies


def _keys(samples: int, rng: Generator) -> np.ndarray:
    """Keys of a keyboard: each a knock with a ring of its own, a softer one where it comes up."""
    times = _events(samples, rng.uniform(2, 12), rng)
    ring_hz = rng.uniform(300, 4500)
    pressed = _strikes(samples, times, rng, rng.uniform(0.002, 0.03), ring_hz)
    released = _strikes(
        samples, times + int(0.08 * SAMPLE_RATE), rng, rng.uniform(0.002, 0.015), 1.3 * ring_hz
    )
    return pressed + 0.4 * released + 0.01 * _unit(_room(samples, rng))


def _knocks(samples: int, rng: Generator) -> np.ndarray:
    """Steps, knocks and things put down: few, low and longer."""
    times = _events(samples, rng.uniform(0.5, 3), rng)
    return _strikes(samples, times, rng, rng.uniform(0.03, 0.15), rng.uniform(60, 700))


def _applause(samples: int, rng: Generator) -> np.ndarray:
    """Hands of a few people to a full hall; each pair of hands has its own rate and colour."""
    people = int(np.exp(rng.uniform(np.log(2), np.log(24))))
    hall = rng.uniform(0, 1) * _unit(_shaped(samples, rng, slope=0.3, centre_hz=1500.0))
    total = hall * _slow(samples, rng, 0.3, 1.5)
    for _ in range(people):
        step = SAMPLE_RATE / rng.uniform(2.5, 5)
        times = np.arange(rng.uniform(0, step), samples, step)
        times = (times + rng.normal(0, 0.06 * step, len(times))).astype(np.int64)
        total += rng.uniform(0.2, 1) * _strikes(samples, times, rng, 0.008, rng.uniform(700, 2500))
    return total


def _breath(samples: int, rng: Generator) -> np.ndarray:
    """Breath: noise coloured by an open mouth, in and out, with pauses."""
    air = _shaped(samples, rng, slope=rng.uniform(0, 1), centre_hz=rng.uniform(400, 2500))
    rate_hz = rng.uniform(0.15, 0.8)
    swell = np.sin(2 * np.pi * rate_hz * _times(samples) + rng.uniform(0, 6))
    return _unit(air) * np.maximum(0, np.abs(swell) - rng.uniform(0, 0.5)) ** rng.uniform(1, 3)


def _rustle(samples: int, rng: Generator) -> np.ndarray:
    """Cloth and paper: hiss in short irregular strokes."""
    strokes = np.zeros(samples)
    for at in _events(samples, rng.uniform(2, 8), rng):
        length = int(rng.uniform(0.03, 0.4) * SAMPLE_RATE)
        part = slice(int(at), min(int(at) + length, samples))
        strokes[part] += np.hanning(length)[: part.stop - part.start] * rng.uniform(0.2, 1)
    return strokes * rng.standard_normal(samples)


# ---- music


def _melody(samples: int, rng: Generator) -> np.ndarray:
    """One voice after a scale: plucked, blown or bowed, with or without a beat of drums."""
    return _notes(samples, rng, voices=(0,)) + rng.uniform(0, 0.6) * _drums(samples, rng)


def _chords(samples: int, rng: Generator) -> np.ndarray:
    """Three or four voices at once over a bass."""
    voices = (0, int(rng.choice([3, 4])), 7, *((OCTAVE,) if rng.random() < 0.5 else ()))
    return _notes(samples, rng, voices) + rng.uniform(0, 1) * _notes(samples, rng, (-2 * OCTAVE,))


def _band_plays(samples: int, rng: Generator) -> np.ndarray:
    """Melody, chords and drums together."""
    return (
        _melody(samples, rng) + rng.uniform(0.3, 1) * _chords(samples, rng) + _drums(samples, rng)
    )


def _notes(samples: int, rng: Generator, voices: tuple[int, ...]) -> np.ndarray:
    """Notes of a drawn scale, one beat or two each."""
    scale = MAJOR if rng.random() < 0.5 else MINOR
    base_hz = rng.uniform(110, 440)
    beat = max(1, int(rng.uniform(0.12, 0.7) * SAMPLE_RATE))
    harmonics, falloff, decay = (
        int(rng.integers(1, 12)),
        rng.uniform(0.6, 2),
        rng.choice([0.0, rng.uniform(1, 8)]),
    )
    vibrato, rate_hz = rng.choice([0.0, rng.uniform(0.002, 0.02)]), rng.uniform(4, 7)
    total, at = np.zeros(samples), 0
    while at < samples:
        length = min(beat * int(rng.integers(1, 3)), samples - at)
        times = np.arange(length) / SAMPLE_RATE
        wobble = times + vibrato * np.sin(2 * np.pi * rate_hz * times) / (2 * np.pi * rate_hz)
        shape = (
            np.minimum(1, times / 0.01)
            * np.exp(-decay * times)
            * np.minimum(1, (times[-1] - times) / 0.01)
        )
        step = int(rng.choice(scale))
        for voice in voices:
            hz = base_hz * 2 ** ((step + voice) / OCTAVE)
            count = max(1, min(harmonics, int(0.45 * SAMPLE_RATE / hz)))
            phase = 2 * np.pi * hz * wobble
            total[at : at + length] += shape * sum(
                np.sin(n * phase) / n**falloff for n in range(1, count + 1)
            )
        at += length
    return total


def _drums(samples: int, rng: Generator) -> np.ndarray:
    """A bass drum on the beat, noise between."""
    beat = int(rng.uniform(0.3, 0.7) * SAMPLE_RATE)
    low = _strikes(samples, np.arange(0, samples, beat), rng, 0.08, rng.uniform(45, 90))
    high = _strikes(
        samples, np.arange(beat // 2, samples, beat), rng, 0.03, rng.uniform(2000, 6000)
    )
    return 2 * low + high


KINDS: dict[str, Sound] = {
    "zeros": _zeros,
    "last bits": _last_bits,
    "gated": _gated,
    "room": _room,
    "band": _band,
    "mains": _mains,
    "motor": _motor,
    "beeps": _beeps,
    "keys": _keys,
    "knocks": _knocks,
    "applause": _applause,
    "breath": _breath,
    "rustle": _rustle,
    "melody": _melody,
    "chords": _chords,
    "music": _band_plays,
}
"""What can be drawn, by name."""


# ---- parts


def _times(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE


def _unit(sound: np.ndarray) -> np.ndarray:
    spread = float(np.std(sound)) if len(sound) else 0.0
    return sound / spread if spread else sound


def _sine(samples: int, hz: float, rng: Generator) -> np.ndarray:
    return np.sin(2 * np.pi * hz * _times(samples) + rng.uniform(0, 2 * np.pi))


def _shaped(
    samples: int, rng: Generator, slope: float, centre_hz: float | None = None
) -> np.ndarray:
    """Noise whose power falls with frequency to the power `slope`, and away from a centre where
    one is given."""
    size = next_fast_len(max(samples, 1), real=True)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hz = np.maximum(np.arange(len(spectrum)), 1) * SAMPLE_RATE / size
    gain = hz ** (-slope / 2)
    if centre_hz is not None:
        octaves = np.log2(hz / centre_hz)
        gain = gain * np.exp(-0.5 * (octaves / rng.uniform(0.2, 1.2)) ** 2)
    return np.fft.irfft(spectrum * gain, size)[:samples]


def _slow(samples: int, rng: Generator, slow_hz: float, fast_hz: float) -> np.ndarray:
    """A loudness in [0, 1] that wanders: straight lines between drawn values."""
    knots = 2 + int(samples / SAMPLE_RATE * rng.uniform(slow_hz, fast_hz))
    return np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), rng.uniform(0, 1, knots))


def _switched(samples: int, rng: Generator, slowest_s: float) -> np.ndarray:
    """On and off, at one rate or at drawn moments, with edges of 5 ms."""
    period = max(1, int(rng.uniform(0.05, slowest_s) * SAMPLE_RATE))
    on = (
        rng.random(samples // period + 2) < 0.5
        if rng.random() < 0.5
        else np.arange(samples // period + 2) % 2 == 0
    )
    gate = np.repeat(on.astype(np.float64), period)[:samples]
    edge = SAMPLE_RATE // 200
    return np.convolve(gate, np.full(edge, 1 / edge), "same") if samples >= edge else gate


def _events(samples: int, per_s: float, rng: Generator) -> np.ndarray:
    """(K,) int64, moments in samples, with bursts and pauses as of anything done by hand."""
    count = rng.poisson(per_s * samples / SAMPLE_RATE)
    gaps = rng.gamma(0.8, 1.0, count + 1)
    return (np.cumsum(gaps)[:-1] / gaps.sum() * samples).astype(np.int64)


def _strikes(
    samples: int, times: np.ndarray, rng: Generator, decay_s: float, ring_hz: float
) -> np.ndarray:
    """Knocks: a burst of noise each that excites one resonance and dies away."""
    length = max(2, min(samples, int(5 * decay_s * SAMPLE_RATE)))
    fading = np.exp(-np.arange(length) / (decay_s * SAMPLE_RATE))
    pole = np.exp(-2 * np.pi * rng.uniform(0.05, 0.5) * ring_hz / SAMPLE_RATE)
    angle = 2 * np.pi * min(ring_hz, 0.45 * SAMPLE_RATE) / SAMPLE_RATE
    resonance = [1.0, -2 * pole * np.cos(angle), pole**2]
    prints = _unit(lfilter([1.0], resonance, rng.standard_normal((4, length)) * fading, axis=1))
    total = np.zeros(samples + length)
    for at in np.asarray(times, np.int64):
        if 0 <= at < samples:
            total[at : at + length] += rng.uniform(0.3, 1) * prints[int(rng.integers(len(prints)))]
    return total[:samples]
