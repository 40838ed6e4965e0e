"""Voice activity: a voice in the sound, or a mouth that moves in the picture. Silence must not
become words.

T  frames, 25 a second        L  cells of a lip crop
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip, to_runs

if TYPE_CHECKING:
    from avsr.decoding.words import Word

VOICE_FRAMES = 9  # over which the detector's probability is averaged: a beep is no voice
VOICE = 0.3  # from that average on, somebody may be speaking
MOTION_FRAMES = 13  # over which a mouth's motion is judged, half a second
# share of a crop's contrast that changes; speech has 0.07 to 0.2, sensor noise up to 0.06
MOTION = 0.07
SILENCE = 1e-4  # root mean square, -80 dB of full scale: nothing fainter is recognised
# a word with this calibrated confidence was said; those found in noise and music reach 0.65
SURE = 0.85
AMID = 0.5  # of a word that is less sure, that must lie amid what was found
HOLD = 12  # frames around what was found that count too: soft beginnings and ends
# frames; a longer silence parts stretches: in one of half a second recognisers make up letters
GAP = 5
REST = 3 * FPS  # frames; a shorter rest of a mouth without any sound is a pause in what it says

Activity = Callable[[Clip], tuple[np.ndarray, np.ndarray]]
"""A clip to two of (T,) bool: where somebody seems to speak, and where there is anything to
recognise."""

_MOUTH = slice(24, 84), slice(12, 84)  # rows and columns of a crop: lips and chin
_FINE, _COARSE = 3, 4  # pixels a side of a fine cell; fine cells a side of a coarse one


def motion(lips: np.ndarray) -> np.ndarray:
    """How much a mouth changes its shape around each frame.

    What a shift, a turn or another size of the crop changes to first order is taken out, and so are
    brightness and contrast: a head that nods and a camera in the hand do not speak. What is left is
    averaged over cells of 12 pixels, in which the noise of a sensor mostly cancels.

    Args:
        lips: (T, 96, 96) uint8, frames that follow each other.

    Returns:
        (T,) float64, standard deviation over half a second as a share of the crop's contrast.
    """
    frames = len(lips)
    if frames == 0:
        return np.zeros(0)
    cells = _averaged(lips[:, *_MOUTH].astype(np.float32), _FINE)
    cells -= cells.mean((1, 2), keepdims=True)
    # grey levels: a black picture stays black
    cells /= np.maximum(cells.std((1, 2), keepdims=True), 2.0)
    mean = cells.mean(0)
    down, right = np.gradient(mean)
    y, x = np.mgrid[: mean.shape[0], : mean.shape[1]] - np.array(mean.shape).reshape(2, 1, 1) / 2
    head = [right, down, right * x + down * y, down * x - right * y, np.ones_like(mean), mean]
    basis, _ = np.linalg.qr(np.stack(head).reshape(len(head), -1).T)  # (L, 6)
    change = (cells - mean).reshape(frames, -1)
    change -= (change @ basis) @ basis.T
    change = _averaged(change.reshape(cells.shape), _COARSE).reshape(frames, -1)
    average, square = (mean_around(values, MOTION_FRAMES) for values in (change, change * change))
    return np.sqrt(np.maximum(square - average * average, 0).mean(1))


def somebody(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Where somebody speaks: a voice is heard, or a mouth moves.

    Args:
        clip: what is marked absent is not looked at.

    Returns:
        (T,) bool, frames in which somebody seems to speak, half a second around them included; (T,)
        bool, these and all in which there is any sound, since a voice in loud noise is not always
        found, and short rests of lips alone.
    """
    speaking = mean_around(heard(clip) | moving(clip), 2 * HOLD + 1) > 0
    perceptible = speaking | (level(clip) > SILENCE)
    lips_alone = clip.video_present & ~clip.audio_present
    for first, last in runs(~perceptible, gap=0) if perceptible.any() else ():
        if last - first <= REST and lips_alone[first:last].all():
            perceptible[first:last] = True
    return speaking, perceptible


def heard(clip: Clip) -> np.ndarray:
    """(T,) bool, frames in which a voice is heard."""
    from avsr.transcribing.voice.silero import voice

    sound = _sound(clip)
    if not sound.any():
        return np.zeros(clip.frames, np.bool_)
    return mean_around(voice(sound), VOICE_FRAMES) > VOICE


def moving(clip: Clip, least: float = MOTION) -> np.ndarray:
    """(T,) bool, frames in which the mouth moves as in speech, or by so much."""
    found = np.zeros(clip.frames, np.bool_)
    for first, last in runs(clip.video_present):  # what changes while a mouth is away is no motion
        there = first + np.flatnonzero(clip.video_present[first:last])
        found[there] = motion(clip.lips[there]) > least
    return found


def level(clip: Clip) -> np.ndarray:
    """(T,) root mean square of the sound of each frame, 1 at full scale; 0 where absent."""
    return np.sqrt(np.square(_sound(clip)).reshape(clip.frames, SAMPLES_PER_FRAME).mean(1))


def _sound(clip: Clip) -> np.ndarray:
    """(N,) the sound, zeros where it is marked absent."""
    return clip.audio * np.repeat(clip.audio_present, SAMPLES_PER_FRAME)


def everything(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """All frames twice: for recognisers that know by themselves where nobody speaks."""
    return np.ones(clip.frames, np.bool_), np.ones(clip.frames, np.bool_)


def spoken(
    words: Sequence[Word], clip: Clip, speaking: np.ndarray, sure: float = SURE
) -> list[Word]:
    """The words that lie where somebody speaks; one that the recogniser is sure of says itself that
    somebody does. One that it doubts needs more than to be near: in a pause amid quiet sound and
    before a still mouth recognisers make up words, of which those at its edges would stay.

    Args:
        words: of the clip, in order.
        clip: where they were found.
        speaking: (T,) bool, as of `somebody`.
        sure: confidence above which a word needs no other sign; 1 where none is worth believing.
    """
    # without what `somebody` adds around what was found, but for short pauses
    amid = mean_around(~speaking, 2 * HOLD + 1) == 0
    speaking = speaking.copy()
    at = []
    for word in words:
        first, last = (
            round((time_s - clip.start_s) * FPS) for time_s in (word.start_s, word.end_s)
        )
        at.append(slice(first, max(last, first + 1)))
        if word.confidence > sure:
            speaking[max(0, first - HOLD) : last + HOLD] = True
            amid[max(0, first - HOLD // 2) : last + HOLD // 2] = True
    least = AMID if sure < 1 else 0.0
    kept = []
    for word, frames in zip(words, at, strict=True):
        if speaking[frames].any() and amid[frames].mean() >= least:
            kept.append(word)
    return kept


def stretches(perceptible: np.ndarray, present: np.ndarray) -> Iterator[tuple[int, int]]:
    """What to recognise: runs of frames with the short pauses between them.

    Args:
        perceptible: (T,) bool, frames in which there is anything to recognise.
        present: (T,) bool, frames with sound or lips; a stretch neither begins nor ends without
            either, where recognisers make up letters.

    Yields:
        First frame and the one after the last, in order, without overlap.
    """
    for first, last in runs(perceptible):
        there = np.flatnonzero(present[first:last])
        if len(there) > 0:
            yield first + int(there[0]), first + int(there[-1]) + 1


def runs(flags: np.ndarray, gap: int = GAP) -> list[list[int]]:
    """First frame and the one after the last of each run of true ones, with no more than `gap`
    false ones in a row."""
    joined: list[list[int]] = []
    for first, last in to_runs(flags):
        if joined and first - joined[-1][1] <= gap:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return joined


def _averaged(pictures: np.ndarray, side: int) -> np.ndarray:
    """(T, H, W) -> (T, H / side, W / side), means of squares."""
    frames, height, width = pictures.shape
    return pictures.reshape(frames, height // side, side, width // side, side).mean((2, 4))


def mean_around(values: np.ndarray, frames: int) -> np.ndarray:
    """Mean over so many frames around each (an odd number), along the first axis; the ends are
    repeated."""
    if len(values) == 0:
        return values.astype(np.float64)
    width = [(frames // 2 + 1, frames // 2), *([(0, 0)] * (values.ndim - 1))]
    sums = np.pad(values.astype(np.float64), width, "edge").cumsum(0)
    return (sums[frames:] - sums[:-frames]) / frames
