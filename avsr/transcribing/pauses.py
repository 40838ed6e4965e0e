"""Long recordings in segments: cut where nobody speaks, for recognisers that take an utterance at a
time and do not know where a word is cut off.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from avsr.decoding.words import Hypothesis, Word, join, mean
from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.transcribing.voice.activity import Activity, mean_around, motion, runs
from avsr.transcribing.windows import Recording

LONG_PAUSE = FPS  # frames without speech that part two segments; shorter ones stay inside one
QUIET_FRAMES = 7  # over which the quietest place is looked for where there is no pause

Recognise = Callable[[Clip, np.ndarray], Hypothesis]
"""Words of a segment; the second value, (T,) bool, says where somebody speaks in it."""


def between_pauses(
    stream: Iterable[Clip], recognise: Recognise, activity: Activity, size: int
) -> Iterator[tuple[Clip, Hypothesis]]:
    """Recognises clips that follow each other, of any size, segment by segment.

    Args:
        stream: the recording, without gaps.
        recognise: finds the words of a segment in which somebody speaks.
        activity: tells where that is.
        size: frames of the longest segment.

    Yields:
        Parts that follow each other without a gap, at most `size` frames long, each with its words.
    """
    source, first = Recording(stream), 0
    while True:
        clip, more = source.window(first, first + size)
        if clip is None or clip.frames == 0:
            return
        speaking, _ = activity(clip)
        last = cut(clip, speaking) if more else clip.frames
        words: list[Word] = []
        for start, end in runs(speaking[:last], gap=LONG_PAUSE):
            words += recognise(clip.window(start, end), speaking[start:end]).words
        said = Hypothesis(join(words), words, mean([word.confidence for word in words]))
        yield clip.window(0, last), said
        first += last
        if not more:
            return


def cut(clip: Clip, speaking: np.ndarray) -> int:
    """The frame in the second half of a clip at which it is best parted.

    That is amid the longest pause, the later of two that are alike. Where nobody pauses, it is the
    quietest place.

    Args:
        clip: goes on after its end.
        speaking: (T,) bool.
    """
    middle = clip.frames // 2
    pauses = runs(~speaking[middle:], gap=0)
    if pauses:
        start, end = max(pauses, key=lambda pause: (pause[1] - pause[0], pause[0]))
        return middle + (start + end + 1) // 2
    loudness = mean_around(_loudness(clip)[middle:], QUIET_FRAMES)
    return middle + max(1, len(loudness) - 1 - int(loudness[::-1].argmin()))


def _loudness(clip: Clip) -> np.ndarray:
    """(T,) float, how much is said in each frame, by the sound, or by the mouth where there is
    none."""
    if clip.audio_present.any():
        sound = clip.audio * np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
        return np.square(sound).reshape(clip.frames, SAMPLES_PER_FRAME).mean(1)
    return motion(clip.lips)
