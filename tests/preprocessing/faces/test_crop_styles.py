"""The crops of research networks, against the transform that their training data were made with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.base.errors import UsageError
from avsr.preprocessing.faces.crop_styles import OWN, RESEARCH, STYLES, style_named
from avsr.preprocessing.faces.face_model import MODEL_NAME
from avsr.preprocessing.faces.face_tracks import track_faces
from avsr.preprocessing.faces.lips import mouth_transforms
from avsr.preprocessing.media import streams
from avsr.preprocessing.reader import load_clip

# Mesh points that stand in for the 68 usual ones, in their order (mediapipe issue 1615).
JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
MOUTH = (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91, 78, 82, 13, 312, 308, 317, 14, 87)
STAND_INS = JAW + BROWS + NOSE + EYES + MOUTH
# Where eight of the 68 are in the mean face, a picture of 256 pixels a side.
FITTED = {
    28: (128.489, 106.925),
    33: (128.870, 137.303),
    36: (92.522, 94.369),
    39: (112.772, 94.944),
    42: (145.525, 94.535),
    45: (166.677, 93.566),
    48: (107.168, 157.196),
    54: (152.193, 156.987),
}
SMOOTH = 6


def mesh(frames: list[np.ndarray], model: Path) -> np.ndarray:
    """(T, 68, 2) source pixels, looked for in every frame."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=4,
    )
    found = []
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for number, frame in enumerate(frames, 1):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
            )
            (points, *_) = landmarker.detect_for_video(image, number).face_landmarks
            found.append([(points[i].x, points[i].y) for i in STAND_INS])
    height, width = frames[0].shape[:2]
    return np.array(found) * (width, height)


def published_transforms(points: np.ndarray) -> list[np.ndarray]:
    """(2, 3) each, source pixels to the pixels of a crop that begins at whole pixels."""
    frames, found = len(points), []
    target = np.array(list(FITTED.values()))
    for t in range(frames):
        reach = min(SMOOTH, t, frames - 1 - t)
        smooth = points[t - reach : t + reach + 1].mean(0)
        smooth += points[t].mean(0) - smooth.mean(0)
        matrix, _ = cv2.estimateAffinePartial2D(smooth[list(FITTED)], target, method=cv2.LMEDS)
        mouth = smooth[48:68].mean(0) @ matrix[:, :2].T + matrix[:, 2]
        matrix[:, 2] -= np.round(mouth - 48)
        found.append(matrix)
    return found


def test_research_crops_are_those_that_the_weights_saw(shared: Path):
    model = shared / "models" / MODEL_NAME
    scales, offsets = [], []
    for name in ("grid/s1/bbaf2n.mp4", "grid-others/s26/bgbsza.mp4"):
        clip = shared / "data" / name
        frames = [frame for piece in streams.read(clip, audio=False) for frame in piece.frames]
        theirs = published_transforms(mesh(frames[:40], model))[:34]  # the others lack neighbours
        (track,) = track_faces(streams.read(clip, audio=False), model_path=model)
        ours, present, _ = mouth_transforms(track, len(frames), RESEARCH)
        assert present.all()
        middle = np.array([47.5, 47.5])
        for mine, other in zip(ours, theirs, strict=False):
            scales.append(np.linalg.norm(mine[:, 0]) / np.linalg.norm(other[:, 0]))
            source = np.linalg.solve(other[:, :2], middle - other[:, 2])
            offsets.append(mine[:, :2] @ source + mine[:, 2] - middle)
    assert np.median(scales) == pytest.approx(1, abs=0.005)
    assert np.median(np.linalg.norm(offsets, axis=1)) < 0.5


def test_a_reader_cuts_in_the_style_that_it_is_asked_for(shared: Path):
    clip, model = shared / "data/grid/s1/bbaf2n.mp4", shared / "models" / MODEL_NAME
    ours, again, theirs = (
        load_clip(clip, audio=False, model_path=model, **style)
        for style in ({}, {"crops": "own"}, {"crops": "research"})
    )
    np.testing.assert_array_equal(ours.lips, again.lips)
    assert theirs.video_present.all()
    assert not np.array_equal(ours.lips, theirs.lips)


def test_styles_are_known_by_name():
    assert [style_named(name) for name in STYLES] == [OWN, RESEARCH]
    with pytest.raises(UsageError, match=r"'fan'.*own, research"):
        style_named("fan")
