"""Mouth crops: geometry, stability, and absence where there is nothing to read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.preprocessing.faces import face, lips
from avsr.preprocessing.faces.crop_styles import OWN, STYLES, CropStyle
from avsr.preprocessing.faces.face import POINTS
from avsr.preprocessing.faces.face_model import MODEL_NAME
from avsr.preprocessing.faces.face_tracks import FaceTrack, track_faces
from avsr.preprocessing.faces.lips import mouth_transforms, warp_mouth
from avsr.preprocessing.media import streams
from avsr.preprocessing.media.ticks import Picture

PICTURE = (640, 480)
CENTRE = (47.5, 47.5)  # of our crops


def _points(
    scale: float = 1.0, angle_deg: float = 0.0, mouth: tuple[float, float] = (320, 240)
) -> np.ndarray:
    """(K, 2): the mean face `scale` times as large as in the crop, turned, its mouth at a place in
    the picture."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([-22.5 * np.cos(angle), 9 * np.sin(angle)], axis=1)  # begins at the left corner
    upright = np.concatenate([OWN.target, ring, [(0, -120), (0, 40), (-65, -50), (65, -50)]])
    turn = np.radians(angle_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (scale * upright @ rotation.T + mouth).astype(np.float32)


def _track(
    points: list[np.ndarray], frames: list[int] | None = None, yaw_deg: float = 0.0
) -> FaceTrack:
    numbers = np.array(range(len(points)) if frames is None else frames)
    return FaceTrack(
        0, PICTURE, numbers, np.stack(points), np.full(len(points), yaw_deg, np.float32)
    )


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.3])
@pytest.mark.parametrize("angle_deg", [-30, 0, 15])
def test_size_place_and_tilt_of_the_head_do_not_matter(scale, angle_deg):
    points = _points(scale, angle_deg, (300, 250))
    matrices, present, found = mouth_transforms(_track([points] * 3), 3)
    assert present.all()
    np.testing.assert_allclose(found, scale, rtol=1e-4)
    np.testing.assert_allclose(_apply(matrices[1], points), _points(mouth=CENTRE), atol=0.01)
    a, b = matrices[1, 0, :2], matrices[1, 1, :2]
    assert abs(a @ b) < 1e-5  # no shear
    assert a @ a == pytest.approx(b @ b, rel=1e-5)


def test_opening_the_mouth_changes_neither_scale_nor_tilt():
    shut, open_ = _points(), _points()
    open_[face.LIP_SLICE, 1] = 240 + 3 * (open_[face.LIP_SLICE, 1] - 240)
    (a, b), _, _ = mouth_transforms(_track([shut] * 9 + [open_] * 9), 18)[0][[0, 17]], None, None
    np.testing.assert_allclose(a[:, :2], b[:, :2], atol=1e-5)


def test_short_gaps_are_interpolated_and_long_ones_absent():
    frames = [0, 6, 13]  # 5 missing frames, then 6
    track = _track([_points(mouth=(300 + 10 * n, 240)) for n in frames], frames)
    matrices, present, scale = mouth_transforms(track, 16)
    assert present.tolist() == [True] * 7 + [False] * 6 + [True] + [False] * 2
    np.testing.assert_allclose(_apply(matrices[3], np.array([330.0, 240])), CENTRE, atol=0.01)
    assert not matrices[~present].any()
    assert not scale[~present].any()


@pytest.mark.parametrize(
    ("points", "yaw_deg", "expected"),
    [
        (_points(), 0, True),
        (_points(scale=0.28), 0, True),
        (_points(scale=0.25), 0, False),  # a mouth of 11 pixels
        (_points(), 45, True),
        (_points(), 75, False),
        (_points(), -75, False),
        (_points(mouth=(40, 240)), 0, True),  # a sixth of the crop outside
        (_points(mouth=(25, 240)), 0, False),  # a quarter
        (_points(mouth=(15, 240)), 0, False),  # lips cut off
        (_points(mouth=(320, 475)), 0, False),
    ],
)
def test_what_cannot_be_read_is_absent(points, yaw_deg, expected):
    _, present, _ = mouth_transforms(_track([points] * 4, yaw_deg=yaw_deg), 4)
    assert present.tolist() == [expected] * 4


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 4.0])
def test_the_mouth_lands_in_the_middle_at_any_scale(scale):
    mouth = (400, 300)
    matrices, _, _ = mouth_transforms(
        FaceTrack(0, (800, 600), np.arange(1), _points(scale, 10, mouth)[None], np.zeros(1)), 1
    )
    frame = np.zeros((600, 800, 3), np.uint8)
    cv2.circle(frame, mouth, int(8 * scale), (255, 255, 255), -1)
    crop = warp_mouth(frame, matrices[0])
    assert crop.shape == (96, 96)
    assert crop.dtype == np.uint8
    y, x = (np.indices(crop.shape) * crop).sum(axis=(1, 2)) / crop.sum()
    assert (x, y) == pytest.approx(CENTRE, abs=0.15)


def test_fine_patterns_do_not_alias():
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, ::2] = 255  # lines one pixel wide, seen from a crop three times as coarse
    matrices, _, _ = mouth_transforms(_track([_points(3.1)]), 1)
    crop = warp_mouth(frame, matrices[0])
    assert abs(float(crop.mean()) - 127) < 4
    assert crop[:, 8:-8].std() < 25


def test_geometry_on_real_clips(shared: Path):
    for name in ("bbaf2n", "lwbz4n"):
        frames = [
            f
            for piece in streams.read(shared / "data/grid/s1" / f"{name}.mp4", audio=False)
            for f in piece.frames
        ]
        pieces = [
            streams.Piece(
                0,
                [Picture.of_rgb(f) for f in frames[:40]],
                np.zeros(40 * 640, np.float32),
                np.zeros(40, bool),
            )
        ]
        (every,) = track_faces(pieces, model_path=shared / "models" / MODEL_NAME, stride=1)
        matrices, present, _ = mouth_transforms(every, 40)
        assert present.all()
        seen = np.stack([_apply(m, p) for m, p in zip(matrices, every.points, strict=True)])
        left, right = (seen[:, index] for index in face.CORNERS)
        assert np.linalg.norm(left - right, axis=1).mean() == pytest.approx(45, abs=3)
        np.testing.assert_allclose(seen[:, face.LIP_SLICE].mean(axis=(0, 1)), CENTRE, atol=0.3)

        (few,) = track_faces(pieces, model_path=shared / "models" / MODEL_NAME)
        assert len(few.frames) < 30
        middle = np.array(CENTRE)
        off = [
            np.linalg.norm(_apply(fast, np.linalg.solve(slow[:, :2], middle - slow[:, 2])) - middle)
            for slow, fast in zip(matrices, mouth_transforms(few, 40)[0], strict=True)
        ]
        assert np.mean(off) <= 0.25
        assert np.percentile(off, 95) <= 0.7


def test_tracks_hold_the_points_the_crops_need():
    assert len(set(POINTS)) == len(POINTS) == 30
    assert len(OWN.target) == len(range(*face.STABLE_SLICE.indices(len(POINTS))))
    assert lips.MOUTH_WIDTH == 45


def _at_once(
    track: FaceTrack, total: int, style: CropStyle
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What mouth_transforms is defined to be, over whole stretches at once."""
    matrices, present, scale = (
        np.zeros((total, 2, 3), np.float32),
        np.zeros(total, bool),
        np.zeros(total, np.float32),
    )
    breaks = np.flatnonzero(np.diff(track.frames) > style.max_gap + 1) + 1
    for index in np.split(np.arange(len(track.frames)), breaks):
        known = track.frames[index]
        every = np.arange(known[0], known[-1] + 1)
        values = np.concatenate(
            [track.points[index].reshape(len(index), -1), track.yaw_deg[index, None]], axis=1
        )
        dense = np.stack([np.interp(every, known, column) for column in values.T], axis=1)
        smooth = _smoothed(dense, style)
        points = smooth[:, :-1].reshape(len(every), len(POINTS), 2)
        found = lips._similarity(points, style)
        wide = 1 / np.linalg.norm(found[:, :, 0], axis=1)
        kept = (wide * lips.MOUTH_WIDTH >= lips.MIN_MOUTH) & (
            np.abs(smooth[:, -1]) <= lips.MAX_YAW_DEG
        )
        kept &= lips._inside(points, found, track.picture)
        matrices[every], present[every] = np.where(kept[:, None, None], found, 0), kept
        scale[every] = np.where(kept, wide, 0)
    return matrices, present, scale


def _smoothed(dense: np.ndarray, style: CropStyle) -> np.ndarray:
    """Means over the frames around each."""
    sums = np.concatenate([np.zeros_like(dense[:1]), np.cumsum(dense, axis=0)])
    here = np.arange(len(dense))
    reach = np.full(len(dense), style.smooth)
    if style.follow:
        reach = np.minimum(reach, np.minimum(here, len(dense) - 1 - here))
    low, high = np.maximum(here - reach, 0), np.minimum(here + reach + 1, len(dense))
    smooth = (sums[high] - sums[low]) / (high - low)[:, None]
    if style.follow:
        itself = sums[1:] - sums[:-1]
        for axis in (0, 1):
            moved = itself[:, axis:-1:2].mean(axis=1) - smooth[:, axis:-1:2].mean(axis=1)
            smooth[:, axis:-1:2] += moved[:, None]
    return smooth


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_frame_by_frame_is_to_the_bit_what_all_at_once_is(style):
    rng = np.random.default_rng(3)
    for trial in range(20):
        steps = [1, 1, 2, 4, 4, 6, 7, 8, 11, 12, 30]
        frames = np.cumsum(rng.choice(steps, size=rng.integers(1, 60)))
        points = np.stack(
            [_points(rng.uniform(0.5, 2), rng.normal() * 20, (300, 220)) for _ in frames]
        )
        points += rng.normal(size=points.shape).astype(np.float32)
        yaw = rng.normal(size=len(frames)).astype(np.float32) * 40
        track = FaceTrack(0, PICTURE, frames, points, yaw)
        total = int(frames[-1]) + rng.integers(1, 20)
        expected = _at_once(track, total, style)
        for ours, reference in zip(mouth_transforms(track, total, style), expected, strict=True):
            np.testing.assert_array_equal(ours, reference)
        path, looks, told = lips.MouthPath(PICTURE, style), 0, -1
        for settled in range(1, total + style.lag + 1):
            new = slice(looks, int(np.searchsorted(frames, settled)))
            looks = new.stop
            for first, *stretch in path.advance(frames[new], points[new], yaw[new], settled):
                assert first > told
                told = first + len(stretch[0]) - 1
                for ours, reference in zip(stretch, expected, strict=True):
                    np.testing.assert_array_equal(
                        ours, reference[first : told + 1], err_msg=str(trial)
                    )
            known = np.flatnonzero(expected[1])
            # certain after so many frames
            assert not ((known > told) & (known + style.lag <= settled)).any()
        assert told == frames[-1]


def test_an_hour_of_landmarks_takes_little_memory():
    """All at once, in 64-bit floats, the landmarks of an hour were hundreds of megabytes."""
    hour = 90_000
    frames = np.arange(0, hour, 3)
    points = np.broadcast_to(_points(), (len(frames), len(POINTS), 2))
    track = FaceTrack(0, PICTURE, frames, points, np.zeros(len(frames), np.float32))
    tracemalloc.start()
    try:
        _, present, _ = mouth_transforms(track, hour)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert present[: frames[-1]].all()
    assert peak < 20e6
