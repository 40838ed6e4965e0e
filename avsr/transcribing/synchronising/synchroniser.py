"""Recordings whose sound and lips are apart are put right on the way to the recogniser."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, Clip
from avsr.sync import (
    FAR_FRAMES,
    HARMLESS_FRAMES,
    MIN_FRAMES,
    Offset,
    Recogniser,
    each_alone,
    find_offset,
    is_certain,
    is_trained,
)

LOOK_FRAMES = 10 * FPS  # of speech that are looked at in a window
MOST_LOOKS = 3  # windows that are looked at before it is given up


class Synchroniser:
    """Moves the lips of a recording onto its sound where it is certain that the two are out of
    sync.

    The first windows in which somebody speaks are looked at, no more than MOST_LOOKS of them. What
    is uncertain stays as it is: a wrong correction is worse than none.

    Attributes:
        offset: by how much the lips were moved; None where they were not.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.offset: Offset | None = None
        self._recogniser = recogniser

    def __call__(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """The clips of a recording, which follow each other, synchronised; begins anew with each
        call."""
        self.offset = None
        clips = iter(clips)
        looks = MOST_LOOKS if is_trained(self._recogniser) else 0
        for clip in clips:
            found = self._look(clip) if looks else None
            if found is not None:
                looks = 0 if is_certain(found) else looks - 1
                if is_certain(found) and abs(found.frames) > HARMLESS_FRAMES:
                    self.offset = found
                    yield from moved(chain([clip], clips), found.frames)
                    return
            yield clip

    @property
    def remarks(self) -> list[str]:
        """What was done, in a line for people; none where nothing was."""
        return [] if self.offset is None else [remark(self.offset.frames)]

    def _look(self, clip: Clip) -> Offset | None:
        """The offset in the first seconds in which somebody speaks with sound and lips both
        there."""
        both = clip.audio_present & clip.video_present
        if both.sum() < MIN_FRAMES:
            return None
        speaking, _ = self._recogniser.activity(clip)
        at = np.flatnonzero(speaking & both)
        if len(at) < MIN_FRAMES:
            return None
        part = clip.window(
            max(0, int(at[0]) - FAR_FRAMES), min(clip.frames, int(at[0]) + LOOK_FRAMES)
        )
        return find_offset(each_alone(self._recogniser, part), FAR_FRAMES)


def remark(frames: int) -> str:
    """That lips were moved so many frames later, or earlier where negative, for people."""
    way, by_s = "later" if frames < 0 else "earlier", abs(frames) / FPS
    return f"the picture comes {by_s:.2f} s {way} than the sound: lips moved onto the sound"


def moved(clips: Iterable[Clip], frames: int) -> Iterator[Clip]:
    """Clips that follow each other with their lips so many frames later, or earlier where
    negative."""
    waiting: deque[Clip] = deque()
    lips = np.zeros((max(0, frames), CROP_SIZE, CROP_SIZE), np.uint8)
    present = np.zeros(len(lips), np.bool_)
    surplus = max(0, -frames)  # lips that lie before the start now
    for clip in clips:
        waiting.append(clip)
        lips, present = (
            np.concatenate([lips, clip.lips]),
            np.concatenate([present, clip.video_present]),
        )
        cut = min(surplus, len(lips))
        lips, present, surplus = lips[cut:], present[cut:], surplus - cut
        while waiting and waiting[0].frames <= len(lips):
            first = waiting.popleft()
            yield replace(
                first,
                lips=lips[: first.frames],
                video_present=present[: first.frames],
                quality=None,
            )
            lips, present = lips[first.frames :], present[first.frames :]
    for clip in waiting:
        end = np.zeros((clip.frames - len(lips[: clip.frames]), CROP_SIZE, CROP_SIZE), np.uint8)
        yield replace(
            clip,
            lips=np.concatenate([lips[: clip.frames], end]),
            video_present=np.concatenate([present[: clip.frames], np.zeros(len(end), np.bool_)]),
            quality=None,
        )
        lips, present = lips[clip.frames :], present[clip.frames :]
