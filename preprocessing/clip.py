"""Clip: the one data type that leaves preprocessing, and the clock that everything shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

FPS = 25  # video frames a second; both encoders run at this rate
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640
CROP_SIZE = 96  # stored lip crop, pixels a side

WordTimes = tuple[tuple[str, float, float], ...]
"""Words in order, each with its start and end in seconds."""


@dataclass(frozen=True)
class Clip:
    """A stretch of sound and lips on one clock; what is missing is marked missing, never left out.

    Attributes:
        id: unique within its corpus.
        audio: (N,) float32 in [-1, 1], 16 kHz mono, N = 640 T exactly.
        lips: (T, 96, 96) uint8 grey, mouth centred, mouth corners about 45 pixels apart.
        audio_present: (T,) bool, false where there is no sound track.
        video_present: (T,) bool, false where no readable mouth was found.
        start_s: where the clip begins in its source, seconds.
        text: what is said, where known.
        speaker: who says it, where known.
        words: what is said word by word, in seconds from the clip's begin, where known. They are
            those of the whole clip: a window, and what goes faster or slower, has none.
        quality: (T,) float32 size of the mouth in source pixels over its size in the crop; 0 where
            absent. Optional.
    """

    id: str
    audio: np.ndarray
    lips: np.ndarray
    audio_present: np.ndarray
    video_present: np.ndarray
    start_s: float = 0.0
    text: str | None = None
    speaker: str | None = None
    quality: np.ndarray | None = None
    words: WordTimes | None = None

    def __post_init__(self) -> None:
        frames = len(self.lips)
        expected = {
            "audio": ((frames * SAMPLES_PER_FRAME,), np.float32),
            "lips": ((frames, CROP_SIZE, CROP_SIZE), np.uint8),
            "audio_present": ((frames,), np.bool_),
            "video_present": ((frames,), np.bool_),
        }
        for name, (shape, dtype) in expected.items():
            value = getattr(self, name)
            if value.shape != shape or value.dtype != dtype:
                raise ValueError(
                    f"clip {self.id!r}: {name} is {value.dtype} {value.shape}, expected "
                    f"{np.dtype(dtype)} {shape}"
                )

    @property
    def frames(self) -> int:
        """T, the number of 40 ms frames."""
        return len(self.lips)

    @property
    def duration_s(self) -> float:
        return self.frames / FPS

    def window(self, first: int, last: int) -> Clip:
        """Frames first to last (exclusive) as a clip of their own, with start_s moved along."""
        return replace(
            self,
            audio=self.audio[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME],
            lips=self.lips[first:last],
            audio_present=self.audio_present[first:last],
            video_present=self.video_present[first:last],
            quality=None if self.quality is None else self.quality[first:last],
            start_s=self.start_s + first / FPS,
            words=None,
        )


def with_sound_of(clip: Clip, other: Clip) -> Clip:
    """A clip with the sound of another that begins with it, such as one of a file beside a video.

    Sound that goes on after the clip is cut off; frames after the sound's end have none.
    """
    frames = min(clip.frames, other.frames)
    audio = np.zeros(clip.frames * SAMPLES_PER_FRAME, np.float32)
    audio[: frames * SAMPLES_PER_FRAME] = other.audio[: frames * SAMPLES_PER_FRAME]
    present = np.zeros(clip.frames, bool)
    present[:frames] = other.audio_present[:frames]
    return replace(clip, audio=audio, audio_present=present)


def to_runs(mask: np.ndarray) -> list[list[int]]:
    """The true stretches of a mask (T,) bool as [first, last + 1] frame numbers."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return edges.reshape(-1, 2).tolist()


def in_seconds(runs: Sequence[Sequence[int]]) -> str:
    """Stretches of frames for people, the five longest, as "9.0-30.0, 41.2-43.0 s"."""
    longest = sorted(runs, key=lambda run: run[0] - run[1])[:5]
    longest.sort(key=lambda run: run[0])
    told = ", ".join(f"{first / FPS:.1f}-{last / FPS:.1f}" for first, last in longest)
    return f"{told} s" + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")


def from_runs(runs: Sequence[Sequence[int]], frames: int) -> np.ndarray:
    """The mask (T,) bool whose true stretches are `runs`."""
    mask = np.zeros(frames, bool)
    for first, last in runs:
        mask[first:last] = True
    return mask
