"""Which frames of a clip are missing, and how sound and picture are taken away there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from avsr.eval.conditions.noise import Draw
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip

PATTERNS = ("utterance", "frame", "start", "middle", "end", "bursts", "interval")
MAX_BURSTS = 3
PACKETS_PER_FRAME = 2  # sound is lost in packets of 20 ms


def missing_units(pattern: str, units: int, rate: float, draw: Draw) -> np.ndarray:
    """Which frames (or packets) of one clip are missing: exactly round(rate * units) of them,
    halves rounded up.

    Args:
        pattern: one of PATTERNS but "utterance", which is decided over the corpus.
        units: how many there are.
        rate: fraction to lose, 0 to 1.
        draw: where the pattern is random.

    Returns:
        (units,) bool, true where missing.
    """
    lost = math.floor(rate * units + 0.5)
    missing = np.zeros(units, np.bool_)
    if pattern == "frame":
        missing[draw.order(units)[:lost]] = True
    elif pattern == "interval":  # spread evenly: at 25 % every fourth, at 75 % all but every fourth
        steps = np.arange(units + 1) * lost // max(units, 1)
        missing[:] = np.diff(steps) > 0
    elif pattern == "bursts":
        missing[:] = _bursts(units, lost, draw)
    else:
        first = {"start": 0, "middle": (units - lost) // 2, "end": units - lost}[pattern]
        missing[first : first + lost] = True
    return missing


def _bursts(units: int, lost: int, draw: Draw) -> np.ndarray:
    """One to three separate segments, `lost` units long together; lengths and places drawn."""
    kept = units - lost
    segments = min(1 + draw.below(MAX_BURSTS), lost, kept + 1)
    lengths = _split(lost, segments, draw)
    # Between two segments lies at least one unit; before the first and after the last there may be
    # none.
    gaps = (
        _split(kept + 2, segments + 1, draw)
        - np.array([1] + [0] * (segments - 1) + [1])[: segments + 1]
    )
    missing = np.zeros(units, np.bool_)
    place = 0
    for gap, length in zip(gaps, lengths, strict=False):
        missing[place + gap : place + gap + length] = True
        place += gap + length
    return missing


def _split(total: int, parts: int, draw: Draw) -> np.ndarray:
    """A random split of `total` into that many positive whole numbers, (parts,) int64."""
    if parts <= 0:
        return np.zeros(0, np.int64)
    cuts = np.sort(draw.order(total - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def lose_audio(clip: Clip, missing: np.ndarray, *, mask_indicated: bool = True) -> Clip:
    """Silences the missing part of the sound.

    Args:
        clip: left as it is.
        missing: (T,) bool per frame, or (2 T,) bool per 20 ms packet. The presence mask knows
            frames alone, so a frame is marked absent where both of its packets are lost; half a
            frame lost stays present with silence in it.
        mask_indicated: say so in `audio_present`.
    """
    samples = np.repeat(missing, clip.frames * SAMPLES_PER_FRAME // max(len(missing), 1))
    whole = missing.reshape(clip.frames, -1).all(axis=1) if clip.frames else missing
    present = clip.audio_present & ~whole if mask_indicated else clip.audio_present
    return replace(clip, audio=np.where(samples, np.float32(0), clip.audio), audio_present=present)


def lose_video(
    clip: Clip, missing: np.ndarray, *, mask_indicated: bool = True, frozen: bool = False
) -> Clip:
    """Blackens, or freezes, the missing part of the picture.

    Args:
        clip: left as it is.
        missing: (T,) bool.
        mask_indicated: say so in `video_present`.
        frozen: show the last picture that was not missing, where there was one, in place of black.
    """
    lips = np.where(missing[:, None, None], np.uint8(0), clip.lips)
    if frozen:
        shown = np.maximum.accumulate(np.where(missing, -1, np.arange(clip.frames)))
        held = missing & (shown >= 0)
        lips[held] = clip.lips[shown[held]]
    if not mask_indicated:
        return replace(clip, lips=lips)
    quality = None if clip.quality is None else np.where(missing, np.float32(0), clip.quality)
    return replace(clip, lips=lips, video_present=clip.video_present & ~missing, quality=quality)
