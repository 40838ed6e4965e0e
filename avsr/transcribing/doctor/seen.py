"""What is kept of a file while it is gone through, and what crops and levels say.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from avsr.preprocessing.clip import FPS, Clip
from avsr.transcribing.voice.activity import SILENCE, heard, level, moving

LOOKS, LOOK_FRAMES = 3, 10 * FPS  # stretches of speech by which offset and language are judged
FEWEST = FPS // 2  # frames of speech, and of its pauses, from which a noise level is told
SHEET = 16  # crops at most that are kept to be looked at
WHITE = 250  # grey levels from which a pixel counts as white


class Seen:
    """What is kept of the clips of a file: a few bytes a frame, and a few crops."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self.frames = 0
        self.looks: list[Clip] = []
        self.crops: list[tuple[float, np.ndarray]] = []
        self._every = 5  # frames from one crop that is measured to the next
        self._keep = 1  # of these, every so many is kept
        self._number = 0
        self.measures: list[tuple[float, float, float]] = []
        self._parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("audio", "video", "voice", "moves", "level")
        }
        for clip in clips:
            self._add(clip)

    def _add(self, clip: Clip) -> None:
        found = {
            "audio": clip.audio_present.copy(),
            "video": clip.video_present.copy(),
            "voice": heard(clip),
            "moves": moving(clip),
            "level": level(clip).astype(np.float32),
        }
        for name, values in found.items():
            self._parts[name].append(values)
        self.frames += clip.frames
        self._look(clip, found["voice"])
        for at in np.flatnonzero(clip.video_present)[:: self._every].tolist():
            self._crop(clip.start_s + at / FPS, clip.lips[at])

    def __getitem__(self, name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.bool_), *self._parts[name]])

    def share(self, what: str, of: str) -> float:
        """Of the frames where one thing is there, those with the other; 0 where there are none."""
        there = self[of].astype(bool)
        return float(self[what][there].mean()) if there.any() else 0.0

    def _look(self, clip: Clip, voice: np.ndarray) -> None:
        """Keeps the first seconds in which a voice is heard."""
        at = np.flatnonzero(voice)
        if len(self.looks) < LOOKS and len(at) >= FEWEST:
            first = max(0, int(at[0]) - FPS)
            part = clip.window(first, min(clip.frames, first + LOOK_FRAMES))
            own = {name: getattr(part, name).copy() for name in ("audio", "lips")}
            self.looks.append(
                Clip(
                    part.id,
                    **own,
                    audio_present=part.audio_present.copy(),
                    video_present=part.video_present.copy(),
                    start_s=part.start_s,
                )
            )

    def _crop(self, time_s: float, crop: np.ndarray) -> None:
        self.measures.append(crop_measures(crop))
        if self._number % self._keep == 0:
            self.crops.append((time_s, crop.copy()))
            if len(self.crops) > 2 * SHEET:  # half of them, spread as evenly
                self.crops, self._keep = self.crops[::2], 2 * self._keep
        self._number += 1


def crop_measures(crop: np.ndarray) -> tuple[float, float, float]:
    """Of a crop, (96, 96) uint8: median grey level, share of white pixels, sharpness.

    Sharpness is the part of the contrast that a blur of 2 pixels takes away.
    """
    import cv2

    values = crop.astype(np.float32)
    fine = values - cv2.GaussianBlur(values, (0, 0), 2.0)
    sharpness = float(fine.std() / max(float(values.std()), 1.0))
    return float(np.median(values)), float((crop >= WHITE).mean()), sharpness


def snr_db(levels: np.ndarray, voice: np.ndarray, pauses: np.ndarray) -> float | None:
    """How far a voice stands above what is there in its pauses, which is taken off it first.

    The median of the pauses counts: with their mean, a voice that was missed in one of 48 clips of
    GRID makes 15 dB of noise.

    Args:
        levels: (T,) root mean square of each frame.
        voice, pauses: (T,) bool, frames with a voice, and with sound and none.

    Returns:
        Decibels; None with less than half a second of either, or with pauses of digital silence.
    """
    pauses = pauses & (levels > SILENCE)
    if voice.sum() < FEWEST or pauses.sum() < FEWEST:
        return None
    noise = float(np.median(levels[pauses] ** 2))
    speech = float(np.mean(levels[voice] ** 2)) - noise
    return float(10 * np.log10(max(speech, noise / 100) / noise))
