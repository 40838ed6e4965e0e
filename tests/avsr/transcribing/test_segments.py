"""Clips in which sound or lips come and go, for networks that know of no absence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.transcribing.segments import LONGEST, MAX_GAP, Segment, by_streams, filled, plan


def mask(frames: int, *absent: tuple[int, int]) -> np.ndarray:
    """(T,) bool, all present but for some stretches."""
    present = np.ones(frames, bool)
    for first, last in absent:
        present[first:last] = False
    return present


def make_clip(audio_present: np.ndarray, video_present: np.ndarray, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    frames = len(audio_present)
    return Clip(
        "clip",
        rng.normal(0, 0.1, frames * SAMPLES_PER_FRAME).astype(np.float32),
        rng.integers(0, 256, (frames, 96, 96), np.uint8),
        audio_present,
        video_present,
    )


def rests(*places: int):
    """An activity that knows pauses of three frames at some places."""

    def activity(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        speaking = np.ones(clip.frames, bool)
        for place in places:
            speaking[place - 1 : place + 2] = False
        return speaking, speaking

    return activity


ALL = mask(100)
NONE = ~ALL


@pytest.mark.parametrize(
    ("audio", "video", "expected"),
    [
        (ALL, ALL, [(0, 100, "av")]),
        (ALL, NONE, [(0, 100, "audio")]),
        (NONE, ALL, [(0, 100, "video")]),
        (NONE, NONE, []),
        # gaps of ten frames are filled, also at the ends; longer ones go to the other stream
        (ALL, mask(100, (40, 50)), [(0, 100, "av")]),
        (ALL, mask(100, (0, 10), (90, 100)), [(0, 100, "av")]),
        (ALL, mask(100, (40, 51)), [(0, 40, "av"), (40, 51, "audio"), (51, 100, "av")]),
        (mask(100, (60, 100)), ALL, [(0, 60, "av"), (60, 100, "video")]),
        # for less than a second of lips no sentence is cut
        (ALL, ~mask(100, (40, 60)), [(0, 100, "audio")]),
        (ALL, ~mask(100, (40, 65)), [(0, 40, "audio"), (40, 65, "av"), (65, 100, "audio")]),
        # both take turns
        (mask(100, (50, 100)), mask(100, (0, 50)), [(0, 50, "audio"), (50, 100, "video")]),
        # a short clip is a clip
        (mask(8), mask(8), [(0, 8, "av")]),
        (mask(8), ~mask(8), [(0, 8, "audio")]),
        # where both are away for long there is nothing to read
        (mask(100, (30, 70)), mask(100, (30, 70)), [(0, 30, "av"), (70, 100, "av")]),
        (mask(100, (30, 40)), mask(100, (30, 40)), [(0, 100, "av")]),
    ],
)
def test_each_part_goes_to_the_streams_that_are_there(audio, video, expected):
    assert by_streams(audio, video) == [Segment(*segment) for segment in expected]


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of one length whose runs are short and long."""
    frames = draw(st.integers(1, 90))
    found = []
    for _ in range(2):
        lengths = draw(st.lists(st.integers(1, 30), max_size=8))
        values = np.repeat(np.arange(len(lengths)) % 2 == draw(st.integers(0, 1)), lengths)
        found.append(np.resize(values, frames) if len(values) else np.ones(frames, bool))
    return found[0], found[1]


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(0, 1000))
def test_nothing_depends_on_what_stands_in_absent_frames(both, seed):
    audio, video = both
    clip, rng = make_clip(audio, video), np.random.default_rng(seed)
    noise = rng.normal(0, 9, clip.audio.shape).astype(np.float32)
    other = replace(
        clip,
        audio=np.where(np.repeat(audio, SAMPLES_PER_FRAME), clip.audio, noise),
        lips=np.where(
            video[:, None, None], clip.lips, rng.integers(0, 256, clip.lips.shape)
        ).astype(np.uint8),
    )
    segments = plan(clip, size=20)
    assert plan(other, size=20) == segments
    for segment in segments:
        mine, theirs = filled(clip, segment), filled(other, segment)
        np.testing.assert_array_equal(mine.audio, theirs.audio)
        np.testing.assert_array_equal(mine.lips, theirs.lips)


@settings(max_examples=100, deadline=None)
@given(masks())
def test_all_that_is_there_is_read_and_no_long_gap_is_made_up(both):
    audio, video = both
    covered = np.zeros(len(audio), int)
    for segment in by_streams(audio, video):
        here = slice(segment.first, segment.last)
        covered[here] += 1
        for present, reads in ((audio, "av audio"), (video, "av video")):
            if segment.modality in reads.split():
                assert _longest_gap(present[here]) <= MAX_GAP
                assert present[here].any()
    assert covered.max(initial=0) <= 1
    assert (covered[audio | video] == 1).all()


def _longest_gap(present: np.ndarray) -> int:
    edges = np.flatnonzero(np.concatenate([[True], present, [True]]))
    return int(np.diff(edges).max()) - 1


def test_lips_stand_still_in_gaps_and_sound_is_silent():
    clip = make_clip(mask(60, (20, 24)), mask(60, (0, 3), (30, 34)))
    (segment,) = plan(clip)
    whole = filled(clip, segment)
    assert whole.audio_present.all()
    assert whole.video_present.all()
    silent = whole.audio.reshape(60, -1)[20:24]
    assert not silent.any()
    assert whole.audio.reshape(60, -1)[19].any()
    for frame, shown in ((0, 3), (2, 3), (30, 29), (31, 29), (32, 34), (33, 34), (40, 40)):
        np.testing.assert_array_equal(whole.lips[frame], clip.lips[shown])


def test_the_stream_that_is_not_read_is_marked_absent():
    clip = make_clip(mask(60, (0, 60)), mask(60))
    whole = filled(clip, Segment(0, 60, "video"))
    assert not whole.audio_present.any()
    assert not whole.audio.any()


def test_long_speech_is_cut_at_pauses():
    frames = 2 * LONGEST
    clip = make_clip(mask(frames), mask(frames))
    segments = plan(clip, activity=rests(300, 500))
    edges = [segment.first for segment in segments] + [segments[-1].last]
    assert edges == [0, pytest.approx(300, abs=1), pytest.approx(500, abs=1), frames]


@pytest.mark.parametrize("frames", [LONGEST, LONGEST + 1, LONGEST + 30, 1000])
def test_without_pauses_no_segment_is_too_long_or_a_sliver(frames):
    clip = make_clip(mask(frames), mask(frames))
    segments = plan(clip, activity=rests())
    lengths = [segment.last - segment.first for segment in segments]
    assert sum(lengths) == frames
    assert max(lengths) <= LONGEST
    assert min(lengths) >= FPS


def test_silent_film_is_cut_where_the_mouth_rests():
    frames = LONGEST + 100
    clip = make_clip(~mask(frames), mask(frames))
    clip.lips[310:330] = clip.lips[310]  # a mouth that does not move
    first, second = plan(clip)
    assert first.modality == second.modality == "video"
    assert 310 <= first.last <= 330
