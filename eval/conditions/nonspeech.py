"""Sounds that are no speech, under a mouth at rest: the right answer is no word.

They are made otherwise than those of `avsr.preprocessing.synthetic.sounds`, which models are
trained on. All are pure functions of (clip id, kind, seed); sines and exponentials are numpy's, so
their last bits may differ between machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.noise import Corpus, Draw, pink, white
from avsr.preprocessing.clip import SAMPLE_RATE, Clip

STRIKE = SAMPLE_RATE // 8  # samples in which a strike dies away
SCALE = (0, 2, 4, 5, 7, 9, 11, 12)  # semitones of the major scale
KEYNOTE_HZ = 220.0


def _strikes(samples: int, draw: Draw, per_s: float, decay_s: float, level: float) -> np.ndarray:
    """Bursts of noise that die away, at drawn moments and of drawn loudness."""
    burst = white(STRIKE, draw) * 10 * np.exp(-np.arange(STRIKE) / (decay_s * SAMPLE_RATE))
    sound = np.zeros(samples + STRIKE)
    for _ in range(max(1, round(per_s * samples / SAMPLE_RATE))):
        at = draw.below(samples)
        sound[at : at + STRIKE] += level * (0.4 + 0.006 * draw.below(100)) * burst
    return sound[:samples]


def _notes(samples: int, draw: Draw, note_s: float, decay: float, *voices: int) -> np.ndarray:
    """Notes of a scale with six overtones, one after the other, several voices at once."""
    times_s = np.arange(round(note_s * SAMPLE_RATE)) / SAMPLE_RATE
    shape = np.minimum(1, times_s / 0.02) * np.exp(-decay * times_s)
    notes = []
    for _ in range(samples // len(times_s) + 1):
        step = SCALE[draw.below(len(SCALE))]
        note = np.zeros(len(times_s))
        for voice in voices:
            phase = 2 * np.pi * KEYNOTE_HZ * 2 ** ((step + voice) / 12) * times_s
            for overtone in range(1, 7):
                note += np.sin(overtone * phase) / overtone
        notes.append(note * shape / len(voices))
    return 0.15 * np.concatenate(notes)[:samples]


def _breath(samples: int, draw: Draw) -> np.ndarray:
    """Pink noise that swells and falls every three seconds."""
    start = 0.01 * draw.below(100)
    swell = np.sin(2 * np.pi * (np.arange(samples) / (3.2 * SAMPLE_RATE) + start))
    return 0.5 * pink(samples, draw) * np.maximum(0, swell) ** 2


def _pulses(samples: int, draw: Draw) -> np.ndarray:
    """Noise as loud and soft as syllables are, four times a second."""
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(samples) / SAMPLE_RATE)
    return white(samples, draw) * swell


def _beeps(samples: int, draw: Draw) -> np.ndarray:
    """A tone of a tenth of a second every half second."""
    times_s = np.arange(samples) / SAMPLE_RATE
    hz = 600 + draw.below(1000)
    return 0.3 * np.sin(2 * np.pi * hz * times_s) * (times_s % 0.5 < 0.1)


SOUNDS: dict[str, Callable[[int, Draw], np.ndarray]] = {
    "faint noise": lambda samples, draw: 0.001 * white(samples, draw),
    "typing": lambda samples, draw: _strikes(samples, draw, 6, 0.03, 0.3),
    "applause": lambda samples, draw: _strikes(samples, draw, 400, 0.004, 0.05),
    "breath": _breath,
    "pulsing noise": _pulses,
    "beeps": _beeps,
    "melody": lambda samples, draw: _notes(samples, draw, 0.4, 3.0, 0),
    "chords": lambda samples, draw: _notes(samples, draw, 0.8, 1.0, 0, 4, 7),
}
"""Number of samples to (N,) float64."""


@dataclass(frozen=True)
class NonSpeech:
    """A sound that is no speech in place of the clip's, and its first picture all through.

    Attributes:
        kind: one of SOUNDS.
    """

    kind: str
    axis = "nothing there"
    level = None
    mask_indicated = False
    seeded = True
    streams = lost = frozenset({"audio", "video"})
    stage = 4

    def __post_init__(self) -> None:
        if self.kind not in SOUNDS:
            raise AvsrError(
                f"sound {self.kind!r} does not exist; choose one of {', '.join(SOUNDS)}"
            )

    @property
    def name(self) -> str:
        return self.kind

    @property
    def label(self) -> str:
        return f"{self.axis} ({self.kind})"

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        if not clip.frames:
            return clip
        sound = SOUNDS[self.kind](len(clip.audio), Draw(clip.id, self.axis, self.kind, seed))
        return replace(
            clip,
            audio=sound.clip(-1, 1).astype(np.float32),
            lips=np.repeat(clip.lips[:1], clip.frames, axis=0),
            audio_present=np.ones(clip.frames, np.bool_),
            video_present=np.full(clip.frames, clip.video_present.any()),
        )
