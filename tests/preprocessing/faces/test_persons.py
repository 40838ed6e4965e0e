"""Tracks become persons: over cuts, returns and crossfades, but never two people one without a
line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.faces import face
from avsr.preprocessing.faces.face import POINTS, SHAPE
from avsr.preprocessing.faces.face_tracks import FaceTrack, normal_shape, shape_distances
from avsr.preprocessing.faces.persons import (
    OTHER,
    SAME,
    choose_person,
    find_persons,
    list_persons,
    remarks,
)

RNG = np.random.default_rng(5)
ANNE = normal_shape(RNG.normal(size=(len(SHAPE), 3)))
NOBODY = RNG.normal(size=(len(SHAPE), 3))


def shape_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(shape_distances(a, b[None])[0])


def _like(shape: np.ndarray, distance: float) -> np.ndarray:
    """A shape at a distance from another, elsewhere, larger and turned."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if shape_distance(shape + middle * NOBODY, shape) < distance
            else (low, middle)
        )
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    return 7 * (shape + low * NOBODY) @ (turn * np.sign(np.linalg.det(turn))) + 20


def _track(
    id: int,
    first: int,
    last: int,
    *,
    height: float = 100,
    x: float = 500,
    y: float = 0,
    shape: np.ndarray | None = ANNE,
) -> FaceTrack:
    """A made-up track: a face of the given height, its mouth at x, y."""
    points = np.zeros((1, len(POINTS), 2), np.float32)
    points[..., 0] = x
    points[:, face.CHIN, 1] = height
    points[..., 1] += y
    frames = np.arange(first, last)
    yaw = np.zeros(len(frames), np.float32)
    return FaceTrack(
        id, (1000, 1000), frames, np.repeat(points, len(frames), 0), yaw, shape, len(frames)
    )


def _ids(tracks: list[FaceTrack]) -> list[list[int]]:
    return [[track.id for track in person.tracks] for person in find_persons(tracks)]


def test_shape_distance_knows_neither_place_nor_size_nor_turn():
    assert shape_distance(ANNE, _like(ANNE, 0.0)) < 1e-6
    assert shape_distance(ANNE, _like(ANNE, 0.03)) == pytest.approx(0.03, rel=0.1)


def test_one_person_over_cuts_is_one_person():
    closer = _track(1, 75, 150, height=190, x=200, shape=_like(ANNE, 0.8 * SAME))
    (person,) = find_persons([_track(0, 0, 75), closer, _track(2, 150, 225)])
    assert [track.id for track in person.tracks] == [0, 1, 2]
    assert person.guessed == []


def test_somebody_shown_amid_a_gap_of_their_own_track_is_one_person():
    """Cut from a close shot to a wide one for less than a second and back: the track of the close
    shot goes on, and in the middle of it lies another one."""
    close, wide = _track(0, 0, 75, height=220), _track(1, 25, 50, height=100, x=200)
    shots = (close.frames < 25) | (close.frames >= 50)
    close = replace(
        close, frames=close.frames[shots], points=close.points[shots], yaw_deg=close.yaw_deg[shots]
    )
    other = _track(2, 25, 50, x=800, shape=_like(ANNE, 1.5 * OTHER))
    assert _ids([close, wide, other]) == [[0, 1], [2]]


def test_a_face_is_compared_to_several_shots_of_a_person():
    """Small and large, turned and not: each shot has errors of its own."""
    bias = np.random.default_rng(6).normal(size=ANNE.shape)
    step = bias * 0.8 * SAME / shape_distance(ANNE + 0.01 * bias, ANNE) * 0.01
    shapes = [normal_shape(ANNE + n * step) for n in range(3)]
    assert shape_distance(shapes[0], shapes[2]) > SAME
    other = _like(ANNE, 1.5 * OTHER)  # somebody is there, so that nothing is guessed
    shots = [
        _track(n, 100 * n, 100 * n + 95 - 20 * n, height=200 - 50 * n, x=300 * n, shape=shapes[n])
        for n in range(3)
    ]
    others = [_track(3 + n, 100 * n, 100 * n + 50, x=900, shape=other) for n in range(3)]
    assert _ids([*shots, *others]) == [[0, 1, 2], [3, 4, 5]]


def test_of_four_faces_each_is_told_by_its_row_and_column() -> None:
    places = [(x, y) for y in (100, 600) for x in (200, 800)]
    others = [_like(ANNE, 1.5 * OTHER) for _ in places]
    four = [_track(n, 0, 75, x=x, y=y, shape=others[n]) for n, (x, y) in enumerate(places)]
    sides = [person.side for person in find_persons(four)]
    assert sides == ["top left", "top right", "bottom left", "bottom right"]
    assert [person.side for person in find_persons(four[2:])] == ["left", "right"]
    later = [four[0], _track(9, 100, 175, x=200, y=600, shape=NOBODY)]
    assert [person.side for person in find_persons(later)] == ["left", "left"]  # another shot


def test_a_doubtful_face_in_another_shot_is_taken_with_a_line():
    doubtful = _track(1, 155, 200, height=190, x=200, shape=_like(ANNE, (SAME + OTHER) / 2))
    (person,) = find_persons([_track(0, 0, 155), doubtful])
    assert person.guessed == [doubtful]
    present = np.ones(200, bool)
    (line,) = remarks([person], person, present, present)
    assert "6.2-8.0 s may be somebody else's" in line


def test_two_people_in_alternating_shots_stay_two_and_a_line_tells():
    other = _like(ANNE, 1.2 * OTHER)
    shots = [
        _track(i, 50 * i, 50 * i + 50 - 5 * (i % 2), shape=other if i % 2 else ANNE)
        for i in range(4)
    ]
    persons = find_persons(shots)
    assert [[track.id for track in person.tracks] for person in persons] == [[0, 2], [1, 3]]
    chosen = choose_person(persons)
    present = np.arange(200) // 50 % 2 == 0
    who, lost = remarks(persons, chosen, np.ones(200, bool), present)
    assert who.startswith(
        "2 faces found: 0 (middle, 100 pixels high, 4.0 s between 0.0 and 6.0 s); 1 ("
    )
    assert "the lips of 0 are read" in who
    assert lost == "no lips to read for 4.0 of 8.0 s: 2.0-4.0, 6.0-8.0 s"


def test_nobody_is_in_two_places_at_once():
    assert _ids([_track(0, 0, 100), _track(1, 50, 100, x=800)]) == [[0], [1]]
    assert _ids([_track(0, 0, 100), _track(1, 95, 200, x=800)]) == [[0, 1]]  # a crossfade


def test_a_guess_needs_an_empty_picture():
    """With somebody else there at the time, a face that only might be the same is not taken."""
    doubtful = _track(1, 155, 200, height=190, x=200, shape=_like(ANNE, (SAME + OTHER) / 2))
    bystander = _track(2, 160, 200, x=900, shape=_like(ANNE, 3 * OTHER))
    assert _ids([_track(0, 0, 155), doubtful, bystander]) == [[0], [1], [2]]


def test_a_return_to_the_same_place_is_the_same_person_even_if_unknown():
    assert _ids([_track(0, 0, 50, shape=None), _track(1, 90, 140, x=520, shape=None)]) == [[0, 1]]


def test_the_order_of_the_tracks_plays_no_part():
    other = _like(ANNE, 2 * OTHER)
    tracks = [
        _track(i, 50 * i, 50 * i + 50, x=100 * i, shape=other if i % 3 == 0 else ANNE)
        for i in range(7)
    ]
    assert _ids(tracks) == _ids(tracks[::-1]) == [[0, 3, 6], [1, 2, 4, 5]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("main", 1),
        ("largest", 2),
        ("left", 1),
        ("right", 2),
        (0, 0),
        ("2", 2),
        ("280,20", 1),
        ("999, 0", 2),
    ],
)
def test_rules(rule, expected):
    tracks = [
        _track(0, 0, 10, height=900, x=10),
        _track(1, 0, 100, x=300),
        _track(2, 20, 80, height=150, x=600),
    ]
    tracks[2] = replace(tracks[2], shape=_like(ANNE, 2 * OTHER))
    assert choose_person(find_persons(tracks), rule).id == expected


def test_a_number_means_the_person_over_returns():
    tracks = [_track(0, 0, 100, x=200), _track(1, 0, 50, x=800, shape=_like(ANNE, 2 * OTHER))]
    back = replace(_track(2, 150, 200, x=820), shape=tracks[1].shape)
    person = choose_person(find_persons([*tracks, back]), 1)
    assert [track.id for track in person.tracks] == [1, 2]


def test_mistakes_name_what_there_is():
    assert choose_person([], "main") is None
    persons = find_persons([_track(0, 0, 50, x=100)])
    with pytest.raises(
        AvsrError, match=r"face 3: there is no such face; 1 face found: 0 \(left, 100 pixels"
    ):
        choose_person(persons, 3)
    with pytest.raises(AvsrError, match="allowed are main, largest"):
        choose_person([], "first")
    with pytest.raises(AvsrError, match="a place in the picture as x,y"):
        choose_person([], "320,")
    many = find_persons([_track(i, 0, 50, x=30 * i) for i in range(14)])
    assert list_persons(many).endswith("; and 4 more")


def test_eight_real_speakers_are_told_apart(shared: Path):
    """Of pairs of real clips, hardly any of one speaker are OTHER, hardly any of two are SAME."""
    from avsr.preprocessing.faces.face_model import MODEL_NAME
    from avsr.preprocessing.faces.face_tracks import track_faces
    from avsr.preprocessing.media import streams

    found: dict[str, list[np.ndarray]] = {}
    folders = [
        shared / "data" / "grid" / "s1",
        *sorted((shared / "data" / "grid-others").glob("s*")),
    ]
    for folder in folders:
        for path in sorted(folder.glob("*.mp4"))[1:4]:
            pieces = streams.read(path, audio=False)
            (track,) = track_faces(pieces, model_path=shared / "models" / MODEL_NAME, stride=4)
            found.setdefault(folder.name, []).append(track.shape)
    same = [
        shape_distance(a, b)
        for shapes in found.values()
        for a in shapes
        for b in shapes
        if a is not b
    ]
    other = [
        shape_distance(a, b)
        for x in found
        for y in found
        if x < y
        for a in found[x]
        for b in found[y]
    ]
    print(sorted(same)[-4:], sorted(other)[:10])
    assert max(same) < OTHER
    assert np.mean(np.array(same) < SAME) > 0.9
    assert np.mean(np.array(other) < SAME) < 0.1
