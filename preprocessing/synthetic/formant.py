"""A small formant synthesiser: GRID's 51 words from nothing but numpy and scipy.

A glottal pulse train and noise run through a cascade of five resonators whose frequencies follow
the phones, and hiss through one resonator beside it: the cascade/parallel scheme of Klatt,
"Software for a cascade/parallel formant synthesizer", JASA 67(3), 1980. Formant targets are rounded
from Peterson and Barney, JASA 24(2), 1952, with British vowels where the two differ. It is not
pretty; every word is intelligible and unlike every other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsr.preprocessing.clip import SAMPLE_RATE

Span = tuple[str, float, float]  # what, start_s, end_s

PRONUNCIATIONS: dict[str, str] = {
    **{"bin": "B IH N", "lay": "L EY", "place": "P L EY S", "set": "S EH T"},
    **{"blue": "B L UW", "green": "G R IY N", "red": "R EH D", "white": "W AY T"},
    **{"at": "AE T", "by": "B AY", "in": "IH N", "with": "W IH DH"},
    **{
        "a": "EY",
        "b": "B IY",
        "c": "S IY",
        "d": "D IY",
        "e": "IY",
        "f": "EH F",
        "g": "JH IY",
        "h": "EY CH",
    },
    **{
        "i": "AY",
        "j": "JH EY",
        "k": "K EY",
        "l": "EH L",
        "m": "EH M",
        "n": "EH N",
        "o": "OW",
        "p": "P IY",
    },
    **{
        "q": "K Y UW",
        "r": "AA",
        "s": "EH S",
        "t": "T IY",
        "u": "Y UW",
        "v": "V IY",
        "x": "EH K S",
        "y": "W AY",
    },
    **{
        "z": "Z EH D",
        "zero": "Z IH R OW",
        "one": "W AH N",
        "two": "T UW",
        "three": "TH R IY",
        "four": "F AO",
    },
    **{
        "five": "F AY V",
        "six": "S IH K S",
        "seven": "S EH V AX N",
        "eight": "EY T",
        "nine": "N AY N",
    },
    **{"again": "AX G EH N", "now": "N AW", "please": "P L IY Z", "soon": "S UW N"},
}
"""ARPABET pronunciation of each of GRID's words, in the British way (z is zed, r is AA)."""

_BLOCK = 80  # samples (5 ms) for which filters stand still

# phone: F1, F2, F3 in Hz and duration in ms
_VOICED: dict[str, tuple[int, int, int, int]] = {
    **{"IY": (280, 2300, 2950, 130), "IH": (400, 1950, 2550, 85), "EH": (560, 1800, 2500, 105)},
    **{"AE": (740, 1650, 2450, 110), "AH": (640, 1220, 2450, 100), "AX": (500, 1450, 2500, 55)},
    **{"AA": (720, 1080, 2500, 170), "AO": (460, 760, 2500, 160), "UW": (310, 950, 2250, 140)},
    **{
        "L": (360, 1050, 2750, 65),
        "R": (330, 1150, 1550, 65),
        "W": (290, 640, 2200, 65),
        "Y": (260, 2250, 2950, 55),
    },
    **{"M": (250, 1050, 2200, 80), "N": (250, 1650, 2600, 75)},
}
_GLIDES = {
    "EY": ("EH", "IY", 170),
    "AY": ("AA", "IH", 190),
    "OW": ("AH", "UW", 175),
    "AW": ("AE", "UW", 195),
}
# stop: F2 and F3 locus, burst frequency, burst gain, aspiration in ms (0: voiced)
_STOPS = {
    **{
        "B": (850, 2150, 700, 0.25, 0),
        "D": (1750, 2700, 4200, 0.35, 0),
        "G": (1950, 2350, 2100, 0.4, 0),
    },
    **{
        "P": (850, 2150, 900, 0.3, 35),
        "T": (1750, 2700, 4500, 0.6, 40),
        "K": (1950, 2350, 2200, 0.55, 45),
    },
}
# fricative: F2 and F3, noise frequency, noise bandwidth, noise gain, voicing, duration in ms
_FRICATIVES = {
    **{
        "S": (1700, 2600, 5600, 1500, 0.55, 0.0, 105),
        "Z": (1700, 2600, 5600, 1500, 0.32, 0.35, 80),
    },
    **{"F": (1000, 2250, 3800, 6000, 0.22, 0.0, 95), "V": (1000, 2250, 3800, 6000, 0.10, 0.4, 65)},
    **{
        "TH": (1350, 2550, 6200, 5000, 0.20, 0.0, 90),
        "DH": (1350, 2550, 6200, 5000, 0.08, 0.4, 55),
    },
    **{
        "SH": (1900, 2500, 3000, 1200, 0.55, 0.0, 80),
        "ZH": (1900, 2500, 3000, 1200, 0.4, 0.35, 60),
    },
}
PHONES = frozenset({*_VOICED, *_GLIDES, *_STOPS, *_FRICATIVES, "CH", "JH"})
"""Every phone the synthesiser can say, ARPABET without stress marks ("AX" is the neutral vowel)."""


@dataclass(frozen=True)
class Speaker:
    """One voice: mean pitch in Hz, vocal tract (formant) scale, tempo factor and breath noise
    gain."""

    pitch_hz: float
    formant_scale: float
    tempo: float = 1.0
    breath: float = 0.02


@dataclass
class _Step:
    """A stretch with constant targets: seconds, formants (Hz), voicing, breath noise, hiss and its
    band (Hz)."""

    duration_s: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    band: tuple[float, float] = (4000.0, 3000.0)


def synthesise(
    words: list[str], speaker: Speaker, rng: np.random.Generator
) -> tuple[np.ndarray, list[Span], list[Span]]:
    """Say words of GRID's vocabulary.

    Args:
        words: lower-case words; each must be a key of `PRONUNCIATIONS`.
        speaker: whose voice.
        rng: draws durations, pitch movement and noise.

    Returns:
        Sound (N,) float32 at 16 kHz, peak 1; word spans; phone spans (both in seconds).
    """
    steps: list[_Step] = []
    word_spans: list[Span] = []
    phone_spans: list[Span] = []
    now = 0.0
    for index, word in enumerate(words):
        phones = PRONUNCIATIONS[word].split()
        stretch = (1.3 if index == len(words) - 1 else 1.0) / speaker.tempo
        word_start = now
        for position, phone in enumerate(phones):
            following = phones[position + 1] if position + 1 < len(phones) else None
            piece = _steps(phone, following)
            for step in piece:
                step.duration_s *= stretch * rng.uniform(0.9, 1.1)
            end = now + sum(step.duration_s for step in piece)
            phone_spans.append((phone, now, end))
            steps += piece
            now = end
        word_spans.append((word, word_start, now))
    return _render(steps, speaker, rng), word_spans, phone_spans


def _steps(phone: str, following: str | None) -> list[_Step]:
    """The constant stretches that make one phone; a stop's breath already has the next phone's
    formants."""
    if phone in _VOICED:
        f1, f2, f3, ms = _VOICED[phone]
        gain = 1.0 if ms >= 85 or phone in ("AX", "L", "R", "W", "Y") else 0.45
        gain = 0.45 if phone in ("M", "N") else gain
        return [_Step(ms / 1000, (f1, f2, f3), voice=gain)]
    if phone in _GLIDES:
        start, end, ms = _GLIDES[phone]
        return [_Step(ms / 2000, _VOICED[half][:3], voice=1.0) for half in (start, end)]
    if phone in ("CH", "JH"):
        hiss = _steps("SH" if phone == "CH" else "ZH", following)
        return [_closure("T" if phone == "CH" else "D"), *hiss]
    if phone in _STOPS:
        second, third, burst, gain, breath_ms = _STOPS[phone]
        out = [
            _closure(phone),
            _Step(0.012, (300, second, third), hiss=gain, band=(burst, 900), voice=0.1),
        ]
        if breath_ms:
            out.append(
                _Step(breath_ms / 1000, _onset(following) or (450, second, third), breath=0.35)
            )
        return out
    second, third, band, width, gain, voice, ms = _FRICATIVES[phone]
    return [_Step(ms / 1000, (300, second, third), hiss=gain, band=(band, width), voice=voice)]


def _closure(stop: str) -> _Step:
    voiced = _STOPS[stop][4] == 0
    return _Step(0.055, (220, *_STOPS[stop][:2]), voice=0.12 if voiced else 0.0)


def _onset(phone: str | None) -> tuple[float, float, float] | None:
    """Formants with which a vowel or glide begins, None for anything else."""
    phone = _GLIDES[phone][0] if phone in _GLIDES else phone
    return _VOICED[phone][:3] if phone in _VOICED else None


def _render(steps: list[_Step], speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Steps -> sound (N,) float32, peak 1."""
    from scipy.ndimage import gaussian_filter1d

    ends = np.cumsum([step.duration_s for step in steps])
    # a little room for the last sound to ring out
    blocks = int(np.ceil(ends[-1] * SAMPLE_RATE / _BLOCK)) + 4
    which = np.minimum(
        np.searchsorted(ends, np.arange(blocks) * _BLOCK / SAMPLE_RATE, side="right"),
        len(steps) - 1,
    )
    formants = np.array([step.formants for step in steps])[which] * speaker.formant_scale
    gains = np.array([(step.voice, step.breath, step.hiss) for step in steps])[which]
    gains[-4:] = 0.0
    band = np.array([step.band for step in steps])[which]
    # The tongue takes about 40 ms from one target to the next, the glottis and the lips about 10.
    formants = gaussian_filter1d(formants, 3.0, axis=0, mode="nearest")
    gains = gaussian_filter1d(gains, 0.8, axis=0, mode="constant")
    voice, breath, hiss = (np.repeat(gain, _BLOCK) for gain in gains.T)

    progress = np.linspace(0, 1, blocks)
    wander = gaussian_filter1d(rng.normal(size=blocks), 12.0) * 0.2
    pitch = np.repeat(speaker.pitch_hz * (1.12 - 0.28 * progress + wander), _BLOCK)
    source = voice * _glottis(pitch) + (breath + speaker.breath * voice) * rng.normal(
        size=len(voice)
    )
    upper = np.array([3500.0, 4500.0]) * min(speaker.formant_scale, 1.15)
    centres = np.concatenate([formants, np.broadcast_to(upper, (blocks, 2))], axis=1)
    tract = _filter(source, centres, 50 + 0.035 * centres)
    # the lips radiate high notes better than low ones
    tract = tract - 0.6 * np.concatenate([[0.0], tract[:-1]])
    noise = _filter(hiss * rng.normal(size=len(hiss)), band[:, :1], band[:, 1:], peak=True)
    sound = tract / (np.abs(tract).max() + 1e-9) + 0.35 * noise
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def _glottis(pitch: np.ndarray) -> np.ndarray:
    """Derivative of a Rosenberg glottal pulse at pitch (N,) Hz: slow opening, sharp closing,
    rest."""
    phase = np.cumsum(pitch / SAMPLE_RATE) % 1.0
    opening, closing = 0.4, 0.16  # parts of the cycle
    flow = np.where(phase < opening, 0.5 - 0.5 * np.cos(np.pi * phase / opening), 0.0)
    falls = (phase >= opening) & (phase < opening + closing)
    flow = np.where(falls, np.cos(0.5 * np.pi * (phase - opening) / closing), flow)
    return np.diff(flow, prepend=flow[0]) * 10


def _filter(
    signal: np.ndarray, centre: np.ndarray, width: np.ndarray, peak: bool = False
) -> np.ndarray:
    """Cascade of resonators that change every block.

    Args:
        signal: (blocks * 80,) samples.
        centre: (blocks, K) resonance frequencies, Hz.
        width: (blocks, K) bandwidths, Hz.
        peak: unit gain at the resonance rather than at 0 Hz.
    """
    from scipy.signal import sosfilt

    radius = np.exp(-np.pi * width / SAMPLE_RATE)
    first = 2 * radius * np.cos(2 * np.pi * np.minimum(centre, 7600) / SAMPLE_RATE)
    second = -(radius**2)
    zeros = np.zeros_like(first)
    gain = (1 - radius) if peak else 1 - first - second
    # with `peak` a zero at 0 Hz and one at 8 kHz keep the hiss inside its band
    sections = np.stack(
        [gain, zeros, -gain if peak else zeros, zeros + 1, -first, -second], axis=-1
    )
    state = np.zeros((centre.shape[1], 2))
    out = np.empty_like(signal)
    for index, section in enumerate(sections):
        piece = slice(index * _BLOCK, (index + 1) * _BLOCK)
        out[piece], state = sosfilt(section, signal[piece], zi=state)
    return out
