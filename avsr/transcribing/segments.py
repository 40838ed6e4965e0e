"""Clips in which sound or lips are away in part, for networks that know of no absence.

Short gaps are filled from what lies around them. Where one stream is away for longer, the clip is
cut, and that part goes to a network for the stream that is left. So what stands in frames marked
absent is never looked at, and a part without sound is read as lip reading alone would read it.

T  frames, 25 a second        N  samples, 640 T
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.transcribing.pauses import cut
from avsr.transcribing.voice.activity import Activity, runs, somebody

MAX_GAP = 10  # frames that are filled: as long as what training blanks out in each second
SHORTEST = FPS  # frames; for less of a second stream a sentence is not cut
LONGEST = 15 * FPS  # frames; the networks have hardly seen longer utterances in training

Streams = Literal["av", "audio", "video"]


@dataclass(frozen=True)
class Segment:
    """Frames `first` to `last`, exclusive, and what to read them by."""

    first: int
    last: int
    modality: Streams


def plan(clip: Clip, size: int = LONGEST, activity: Activity = somebody) -> list[Segment]:
    """What to recognise of a clip, and by which streams.

    Args:
        clip: a stream that must not be used is marked absent in it.
        size: frames of the longest segment; what is longer is cut where nobody speaks.
        activity: tells where that is.

    Returns:
        Segments in order, without overlap. All frames with sound or lips are in one of them.
    """
    return [
        part
        for segment in by_streams(clip.audio_present, clip.video_present)
        for part in _parted(clip, segment, size, activity)
    ]


def by_streams(audio_present: np.ndarray, video_present: np.ndarray) -> list[Segment]:
    """Segments of any length in each of which the same streams are there, short gaps aside.

    Args:
        audio_present: (T,) bool.
        video_present: (T,) bool.
    """
    segments = []
    for first, last in runs(audio_present | video_present, gap=MAX_GAP):
        audio = _bridged(audio_present[first:last])
        video = _bridged(video_present[first:last])
        audio = _worth_a_cut(audio, video)
        video = _worth_a_cut(video, audio)
        read_by: dict[Streams, np.ndarray] = {
            "av": audio & video,
            "audio": audio & ~video,
            "video": video & ~audio,
        }
        for modality, where in read_by.items():
            for start, end in runs(where, gap=0):
                segments.append(Segment(first + start, first + end, modality))
    return sorted(segments, key=lambda segment: segment.first)


def filled(clip: Clip, segment: Segment) -> Clip:
    """The frames of a segment as if all of its streams had been there throughout.

    Where lips are absent those of the nearest frame stand still, and where sound is absent it is
    silent, as the networks know it from their training.

    Args:
        clip: that `segment` was planned for.
        segment: what to take of it.

    Returns:
        A clip in which the streams of the segment are present in all frames and the other in none,
        and in which nothing depends on what stood in absent frames.
    """
    part = clip.window(segment.first, segment.last)
    heard, seen = segment.modality != "video", segment.modality != "audio"
    audio, lips = np.zeros_like(part.audio), np.zeros_like(part.lips)
    if heard:
        there = np.repeat(part.audio_present, SAMPLES_PER_FRAME)
        audio[there] = part.audio[there]
    if seen:
        lips = clip.lips[_nearest(clip.video_present)[segment.first : segment.last]]
    return replace(
        part,
        audio=audio,
        lips=lips,
        audio_present=np.full(part.frames, heard),
        video_present=np.full(part.frames, seen),
        quality=None,
    )


def _parted(clip: Clip, segment: Segment, size: int, activity: Activity) -> Iterator[Segment]:
    """A segment in pieces of at most `size` frames, cut where nobody speaks."""
    first = segment.first
    if segment.last - first > size:
        whole = filled(clip, segment)
        speaking, _ = activity(whole)
        while segment.last - first > size:
            left = segment.last - first - SHORTEST  # what is cut off last is no sliver
            begin = first - segment.first
            end = begin + min(size, max(left, size // 2))
            at = first + cut(whole.window(begin, end), speaking[begin:end])
            yield Segment(first, at, segment.modality)
            first = at
    yield Segment(first, segment.last, segment.modality)


def _bridged(present: np.ndarray) -> np.ndarray:
    """(T,) bool: present, or in a gap of at most MAX_GAP frames; at the ends there are gaps too."""
    bridged = np.full_like(present, present.any())
    for first, last in runs(~present, gap=0):
        if last - first > MAX_GAP:
            bridged[first:last] = False
    return bridged


def _worth_a_cut(stream: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(T,) bool: a stream without the moments in which it comes and goes beside another one that
    stays."""
    kept = stream.copy()
    for first, last in runs(stream, gap=0):
        if last - first < min(SHORTEST, len(stream)) and other[first:last].all():
            kept[first:last] = False
    return kept


def _nearest(present: np.ndarray) -> np.ndarray:
    """(T,) int64: for each frame the nearest that is present, the earlier of two."""
    there = np.flatnonzero(present)
    every = np.arange(len(present))
    after = np.searchsorted(there, every).clip(max=len(there) - 1)
    before = (after - 1).clip(min=0)
    is_later = np.abs(there[after] - every) < np.abs(every - there[before])
    return np.where(is_later, there[after], there[before])
