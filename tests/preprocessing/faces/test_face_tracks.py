"""Faces become the right tracks, on as few looks as their motion allows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.faces import face, face_tracks
from avsr.preprocessing.faces.face import POINTS, Face
from avsr.preprocessing.faces.face_model import MODEL_NAME
from avsr.preprocessing.faces.face_tracks import FaceTrack, FaceTracker, track_faces
from avsr.preprocessing.faces.persons import choose_person, find_persons
from avsr.preprocessing.media import streams
from avsr.preprocessing.media.ticks import Picture

FRAMES = 24


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models" / MODEL_NAME


@pytest.fixture(scope="module")
def people(shared: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first frames of two GRID clips, (288, 360, 3)."""
    return tuple(
        _frames(shared / "data" / "grid" / "s1" / f"{name}.mp4") for name in ("bbaf2n", "lwbz4n")
    )


def _frames(path: Path) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    for piece in streams.read(path, audio=False):
        frames += piece.frames
        if len(frames) >= FRAMES:
            return frames[:FRAMES]
    return frames


def _pieces(frames: list, size: int = 25) -> list[streams.Piece]:
    return [
        streams.Piece(i, part, np.zeros(len(part) * 640, np.float32), np.zeros(len(part), bool))
        for i in range(0, len(frames), size)
        for part in [
            [None if frame is None else Picture.of_rgb(frame) for frame in frames[i : i + size]]
        ]
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
    return FaceTrack(
        id,
        (1000, 1000),
        frames,
        np.repeat(points, len(frames), 0),
        np.zeros(len(frames), np.float32),
    )


def test_two_people_side_by_side_are_two_tracks(people, model):
    frames = [
        _scene(288, 600, (a, 0, 0, 1.0), (b, 370, 60, 0.6)) for a, b in zip(*people, strict=True)
    ]
    tracks = track_faces(_pieces(frames), model_path=model)
    assert [track.duration for track in tracks] == [FRAMES, FRAMES]
    large, small = sorted(tracks, key=lambda track: -track.size)
    assert large.centre[0] < 360 < small.centre[0]
    assert small.size == pytest.approx(0.6 * large.size, rel=0.1)
    persons = find_persons(tracks)
    for rule, track in (
        ("main", large),
        ("largest", large),
        ("left", large),
        ("right", small),
        (small.id, small),
    ):
        assert choose_person(persons, rule).tracks == [track]


def test_small_face_in_a_big_picture_is_found(people, model):
    frames = [_scene(1080, 1920, (frame, 1300, 200, 0.6)) for frame in people[0][:10]]
    (track,) = track_faces(_pieces(frames), model_path=model)
    assert track.duration == 10
    assert track.centre == pytest.approx((1300 + 0.6 * 159, 200 + 0.6 * 217), abs=8)


def test_pieces_of_any_size_give_the_same_tracks(people, model):
    reference = track_faces(_pieces(people[0], 25), model_path=model)
    for size in (1, 7):
        tracks = track_faces(_pieces(people[0], size), model_path=model)
        assert [track.frames.tolist() for track in tracks] == [
            track.frames.tolist() for track in reference
        ]
        np.testing.assert_array_equal(tracks[0].points, reference[0].points)


def test_frames_that_are_not_contiguous_are_no_trap(people, model):
    padded = [np.pad(frame, ((0, 0), (0, 24), (0, 0)))[:, :360] for frame in people[0][:4]]
    assert not padded[0].flags["C_CONTIGUOUS"]
    (track,) = track_faces(_pieces(padded), model_path=model, stride=1)
    (plain,) = track_faces(_pieces(people[0][:4]), model_path=model, stride=1)
    np.testing.assert_array_equal(track.points, plain.points)


def test_a_still_head_is_looked_at_less_often_than_a_moving_one(people, model):
    still = [people[0][0]] * FRAMES
    moving = [
        _scene(288, 500, (people[0][0], int(70 + 65 * np.sin(i / 3)), 0, 1.0))
        for i in range(FRAMES)
    ]
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
    (person,) = find_persons(tracks)
    assert person.tracks == tracks
    assert not person.guessed
    short = [people[0][0]] * 8 + [empty] * 20 + [people[0][0]] * 8
    assert len(track_faces(_pieces(short), model_path=model)) == 1


def test_no_face_no_track(model):
    noise = np.random.default_rng(0).integers(0, 255, (6, 288, 360, 3), np.uint8)
    assert track_faces(_pieces(list(noise)), model_path=model) == []
    assert track_faces(_pieces([None] * 5), model_path=model) == []
    assert track_faces([], model_path=model) == []


def _face(x: float, height: float = 100, view: np.ndarray | None = None) -> Face:
    return Face(_track(0, 0, 1, height, x).points[0], 0.0, view=view)


class _Shown:
    """Stands for a landmarker and for a picture: what is shown is a list of faces."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)


def _looks(
    shown: list[_Shown], stride: int = face_tracks.MAX_STRIDE
) -> tuple[list[int], list[FaceTrack]]:
    """The frames that were looked at, and the tracks."""
    tracker, looks = FaceTracker(stride=stride), []
    tracker._detect = lambda number, picture: picture.faces  # type: ignore[method-assign]
    follow = tracker._follow
    tracker._follow = lambda number, faces: (looks.append(number), follow(number, faces))  # type: ignore[method-assign]
    for number, picture in enumerate(shown):
        tracker.add(number, picture)  # type: ignore[arg-type]
        assert all(look < tracker.settled for look in looks)
    tracker.finish()
    assert tracker.settled == len(shown)
    return looks, tracker.tracks


def test_swapping_the_order_of_the_list_swaps_no_tracks():
    left, right = _face(100), _face(400)
    looks, tracks = _looks(
        [_Shown(right, left) if number % 2 else _Shown(left, right) for number in range(10)], 1
    )
    assert looks == list(range(10))
    assert [track.centre[0] for track in tracks] == [100, 400]
    assert all((track.points == track.points[0]).all() for track in tracks)


def test_motion_is_looked_at_wherever_it_falls():
    """A jump anywhere between two looks is found to the frame, and results come in order of
    time."""
    for jump in range(1, 16):
        numbers, _ = _looks([_Shown(_face(100 if i < jump else 130)) for i in range(16)])
        assert numbers == sorted(set(numbers))
        assert {jump - 1, jump} <= set(numbers)
        assert len(numbers) < 12


def test_a_cut_to_another_picture_in_the_same_place_begins_a_new_track():
    """Two people in alternating shots sit in the same place: only what is around their faces tells
    the cut."""
    rng = np.random.default_rng(0)
    one, two = (view / np.linalg.norm(view) for view in rng.normal(size=(2, 256)))
    for cut in range(1, 16):
        looks, tracks = _looks(
            [_Shown(_face(100, view=one if i < cut else two)) for i in range(16)]
        )
        assert [(track.first, track.last) for track in tracks] == [(0, cut - 1), (cut, looks[-1])]


def test_a_bad_stride_is_refused():
    with pytest.raises(AvsrError, match="stride"):
        track_faces([], stride=9)


def test_a_look_is_kept_in_a_few_hundred_bytes():
    rng = np.random.default_rng(0)
    points = _face(100).points + rng.normal(size=(2000, len(POINTS), 2)).astype(np.float32)
    tracker = FaceTracker(stride=1)
    tracker._detect = lambda number, picture: [Face(points[picture % 2000] + 0.0, 0.0, None, None)]  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        for number in range(20_000):
            tracker.add(number, number)  # type: ignore[arg-type]
        kept = tracemalloc.get_traced_memory()[0] / sum(
            len(track.frames) for track in tracker.tracks
        )
    finally:
        tracemalloc.stop()
    assert len(tracker.tracks) == 1
    # points, angle and number of a look, in arrays that are at most half empty
    assert kept < 2 * 256
