"""Faces become the right tracks, and the right one is chosen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.preprocessing import face, media
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.face import POINTS, Face, FaceTrack, choose_track, track_faces
from avsr.preprocessing.face_model import MODEL_NAME
from avsr.preprocessing.ticks import Picture

FRAMES = 24


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models" / MODEL_NAME


@pytest.fixture(scope="module")
def people(shared: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first frames of two GRID clips, (288, 360, 3)."""
    return tuple(_frames(shared / "data" / "grid" / "s1" / f"{name}.mp4") for name in ("bbaf2n", "lwbz4n"))


def _frames(path: Path) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    for piece in media.read(path, audio=False):
        frames += piece.frames
        if len(frames) >= FRAMES:
            return frames[:FRAMES]
    return frames


def _pieces(frames: list, size: int = 25) -> list[media.Piece]:
    return [
        media.Piece(i, part, np.zeros(len(part) * 640, np.float32), np.zeros(len(part), bool))
        for i in range(0, len(frames), size)
        for part in [[None if frame is None else Picture.of_rgb(frame) for frame in frames[i : i + size]]]
    ]


def _scene(height: int, width: int, *put: tuple[np.ndarray, int, int, float]) -> np.ndarray:
    """Pictures (frame, left, top, scale) on a grey ground."""
    scene = np.full((height, width, 3), 90, np.uint8)
    for frame, left, top, scale in put:
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        scene[top : top + small.shape[0], left : left + small.shape[1]] = small
    return scene


def _track(id: int, first: int, last: int, height: float, x: float) -> FaceTrack:
    """A made-up track: a face of the given height, its mouth at x."""
    points = np.zeros((1, len(POINTS), 2), np.float32)
    points[..., 0] = x
    points[:, face.CHIN, 1] = height
    frames = np.arange(first, last)
    return FaceTrack(id, (1000, 1000), frames, np.repeat(points, len(frames), 0), np.zeros(len(frames), np.float32))


def test_two_people_side_by_side_are_two_tracks(people, model):
    frames = [_scene(288, 600, (a, 0, 0, 1.0), (b, 370, 60, 0.6)) for a, b in zip(*people, strict=True)]
    tracks = track_faces(_pieces(frames), model_path=model)
    assert [track.duration for track in tracks] == [FRAMES, FRAMES]
    large, small = sorted(tracks, key=lambda track: -track.size)
    assert large.centre[0] < 360 < small.centre[0]
    assert small.size == pytest.approx(0.6 * large.size, rel=0.1)
    assert choose_track(tracks, "main") is large
    assert choose_track(tracks, "largest") is large
    assert choose_track(tracks, "left") is large
    assert choose_track(tracks, "right") is small
    assert choose_track(tracks, small.id) is small


def test_small_face_in_a_big_picture_is_found(people, model):
    frames = [_scene(1080, 1920, (frame, 1300, 200, 0.6)) for frame in people[0][:10]]
    (track,) = track_faces(_pieces(frames), model_path=model)
    assert track.duration == 10
    assert track.centre == pytest.approx((1300 + 0.6 * 159, 200 + 0.6 * 217), abs=8)


def test_pieces_of_any_size_give_the_same_tracks(people, model):
    reference = track_faces(_pieces(people[0], 25), model_path=model)
    for size in (1, 7):
        tracks = track_faces(_pieces(people[0], size), model_path=model)
        assert [track.frames.tolist() for track in tracks] == [track.frames.tolist() for track in reference]
        np.testing.assert_array_equal(tracks[0].points, reference[0].points)


def test_frames_that_are_not_contiguous_are_no_trap(people, model):
    padded = [np.pad(frame, ((0, 0), (0, 24), (0, 0)))[:, :360] for frame in people[0][:4]]
    assert not padded[0].flags["C_CONTIGUOUS"]
    (track,) = track_faces(_pieces(padded), model_path=model, stride=1)
    (plain,) = track_faces(_pieces(people[0][:4]), model_path=model, stride=1)
    np.testing.assert_array_equal(track.points, plain.points)


def test_a_still_head_is_looked_at_less_often_than_a_moving_one(people, model):
    still = [people[0][0]] * FRAMES
    moving = [_scene(288, 500, (people[0][0], int(70 + 65 * np.sin(i / 3)), 0, 1.0)) for i in range(FRAMES)]
    (calm,) = track_faces(_pieces(still), model_path=model)
    (lively,) = track_faces(_pieces(moving), model_path=model)
    assert len(calm.frames) <= FRAMES // 4 + 2
    assert len(lively.frames) >= FRAMES - 4
    truth = 70 + 65 * np.sin(lively.frames / 3)
    found = lively.points[:, face.LIP_SLICE, 0].mean(axis=1) - calm.centre[0]
    assert np.abs(found - truth).max() < 4


def test_leaving_and_coming_back(people, model):
    empty = np.full_like(people[0][0], 90)
    frames = [people[0][0]] * 8 + [empty] * 40 + [people[0][0]] * 8
    tracks = track_faces(_pieces(frames), model_path=model)
    assert [(track.frames[0], track.frames[-1]) for track in tracks] == [(0, 7), (48, 55)]
    joined = choose_track(tracks)
    assert (joined.frames[0], joined.frames[-1]) == (0, 55)
    short = [people[0][0]] * 8 + [empty] * 20 + [people[0][0]] * 8
    assert len(track_faces(_pieces(short), model_path=model)) == 1


def test_no_face_no_track(model):
    noise = np.random.default_rng(0).integers(0, 255, (6, 288, 360, 3), np.uint8)
    assert track_faces(_pieces(list(noise)), model_path=model) == []
    assert track_faces(_pieces([None] * 5), model_path=model) == []
    assert track_faces([], model_path=model) == []


def test_swapping_the_order_of_the_list_swaps_no_tracks():
    left, right = (Face(_track(0, 0, 1, 100, x).points[0], 0.0) for x in (100, 400))
    tracks: list = []
    for number in range(10):
        tracks += face._associate(tracks, number, [left, right] if number % 2 else [right, left])
    assert len(tracks) == 2
    for track, expected in zip(tracks, (left, right), strict=True):
        assert all(seen is expected for _, seen in track)


def test_motion_is_looked_at_wherever_it_falls():
    """A jump anywhere between two looks is found to the frame, and results come in order of time."""
    here, there = (Face(_track(0, 0, 1, 100, x).points[0], 0.0) for x in (100, 130))
    for jump in range(1, 16):
        pictures = [(i, here if i < jump else there) for i in range(16)]
        looks = list(face._looks(pictures, lambda found: [found], face.MAX_STRIDE))
        numbers = [number for number, _ in looks]
        assert numbers == sorted(set(numbers))
        assert {jump - 1, jump} <= set(numbers)
        assert len(numbers) < 12


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("main", 1), ("largest", 2), ("left", 1), ("right", 2), (0, 0), ("2", 2)],
)
def test_rules(rule, expected):
    tracks = [_track(0, 0, 10, 900, 10), _track(1, 0, 100, 100, 300), _track(2, 20, 80, 150, 600)]
    assert choose_track(tracks, rule).id == expected


def test_rules_refuse_what_there_is_not():
    assert choose_track([], "main") is None
    with pytest.raises(AvsrError, match="1 face tracks"):
        choose_track([_track(0, 0, 10, 100, 0)], 3)
    with pytest.raises(AvsrError, match="allowed are main, largest"):
        choose_track([], "first")
    with pytest.raises(AvsrError, match="stride"):
        track_faces([], stride=9)


def test_mediapipe_keeps_quiet_and_others_are_heard(model, people, tmp_path):
    np.save(tmp_path / "frame.npy", people[0][0])
    code = """
import os, sys, numpy as np
from avsr.preprocessing import face
with face.Landmarker(sys.argv[1]) as landmarker:
    print(len(landmarker(np.load(sys.argv[2]))))
with face._quiet_mediapipe():
    os.write(2, b"W0000 00:00:1 7 x.cc:1] chatter\\nmine\\n")
print("after", file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(tmp_path / "frame.npy")], capture_output=True, text=True
    )
    assert done.stdout == "1\n"
    assert done.stderr == "mine\nafter\n"
