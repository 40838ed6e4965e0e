"""Faces in one picture: MediaPipe's landmarks, and the shape by which a person is told from
another.

Landmarks come from MediaPipe's FaceLandmarker (Kartynnik et al., "Real-time Facial Surface Geometry
from Monocular Video on Mobile GPUs", 2019, arXiv:1907.06724; 478 points of a face mesh). Only the
points below are kept. What becomes of faces over time is the business of face_tracks.py, who they
belong to that of persons.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.console import QUIET_MEDIAPIPE
from avsr.preprocessing.faces.face_model import face_model

# Indices into the mesh; "left" is left in the picture of a person who faces the camera.
# eye corners from left to right, bridge of the nose, base of the nose
STABLE = (33, 133, 362, 263, 168, 2)
# outer lips
LIP_RING = (
    61,
    146,
    91,
    181,
    84,
    17,
    314,
    405,
    321,
    375,
    291,
    409,
    270,
    269,
    267,
    0,
    37,
    39,
    40,
    185,
)
OUTLINE = (10, 152, 234, 454)  # forehead, chin, left and right cheek
POINTS = STABLE + LIP_RING + OUTLINE
STABLE_SLICE = slice(0, len(STABLE))
LIP_SLICE = slice(len(STABLE), len(STABLE) + len(LIP_RING))
CORNERS = (POINTS.index(61), POINTS.index(291))
FOREHEAD, CHIN, LEFT_CHEEK, RIGHT_CHEEK = range(len(POINTS) - 4, len(POINTS))

# Points that speech hardly moves, for the shape of a face in three dimensions: eyes, bridge, wings
# and tip of the nose, brows, the outline.
SHAPE = (
    *(33, 133, 362, 263, 159, 145, 386, 374, 168, 6, 4, 2, 98, 327, 55, 285),
    *(70, 105, 107, 300, 334, 336, 10, 152, 234, 454, 172, 397),
)

VIEW = 16  # pixels a side of the small picture of a face's surroundings by which a cut is seen
SEARCH_EVERY = 6  # looked-at frames between two searches for small faces: about a second
# Looks after which MediaPipe's graph begins anew, so that a search that was stopped can go on from
# there as if it had not been. Anew after every 20 looks at a film of two people (150 looks), or
# every 100 at one of many shots (400), no landmark changed.
AFRESH = 500


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes:
        points: (K, 2) float32 source pixels, in the order of POINTS.
        yaw_deg: how far it is turned, 0 facing the camera.
        shape: (len(SHAPE), 3) source pixels, the third axis away from the camera; None where nobody
            asked.
        view: (VIEW * VIEW * 3,) float32, the face and what is around it in colour, each of mean 0,
            together of norm 1; None where nobody asked.
    """

    points: np.ndarray
    yaw_deg: float
    shape: np.ndarray | None = None
    view: np.ndarray | None = None

    @property
    def height(self) -> float:
        """Forehead to chin, source pixels; unlike the width it does not shrink when the head
        turns."""
        return float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))

    @property
    def mouth(self) -> np.ndarray:
        """(2,) mean of the outer lip ring, source pixels."""
        return self.points[LIP_SLICE].mean(axis=0)


class Landmarker:
    """MediaPipe's FaceLandmarker as a function from a frame to faces; a context manager that closes
    it.

    Timestamps are a counter of calls, not media time: the graph only wants them to increase, and
    frames that were skipped at first are looked at later when the head turns out to have moved.
    With more than one face the graph applies no temporal filter, so nothing else depends on them.

    The detector misses faces much smaller than a tenth of the picture. When a frame shows none,
    overlapping tiles of it are searched too (at most about once a second), and faces found there
    are followed in windows of their own until the whole picture shows one again.

    Attributes:
        looks: frames that it was called with.
        windows: those in which small faces are followed.
        wait: calls until the next search for them.
    """

    def __init__(self, model_path: str | Path | None = None, max_faces: int = 4) -> None:
        self._model = str(face_model(model_path))
        self._max_faces = max_faces
        self._video: Any = None
        self._single: Any = None  # image mode, for windows; made when first needed
        self._calls = 0
        self.looks = 0
        self.windows: list[tuple[int, int, int, int]] = []
        self.wait = 0

    def __enter__(self) -> Landmarker:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        for landmarker in (self._video, self._single):
            if landmarker is not None:
                landmarker.close()

    def _begin(self) -> None:
        if self._video is not None:
            self._video.close()
        with _starting():
            self._video = self._create(video=True)
            # the graph says more on its first frame
            self._detect_video(np.zeros((64, 64, 3), np.uint8))

    def _create(self, video: bool) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        base = BaseOptions(model_asset_path=self._model)
        options = vision.FaceLandmarkerOptions(
            base_options=base, running_mode=mode, num_faces=self._max_faces
        )
        return vision.FaceLandmarker.create_from_options(options)

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """Faces in one frame.

        Args:
            frame: (H, W, 3) uint8 RGB; copied where it is not contiguous, since MediaPipe would see
                garbage.

        Returns:
            Faces in no particular order.
        """
        if self.looks % AFRESH == 0 and self.looks > 0:
            self._begin()
        self.looks += 1
        self.wait -= 1
        search = self.wait < 0
        if search or not self.windows:
            faces = self._detect_video(frame)
            if faces:
                self.windows = []
                return faces
        if search:
            self.wait = SEARCH_EVERY
            self.windows += _tiles(*frame.shape[:2])
        faces = _distinct(
            face for window in self.windows for face in self._detect_window(frame, window)
        )
        self.windows = [_around(face, *frame.shape[:2]) for face in faces]
        return faces

    def _detect_video(self, frame: np.ndarray) -> list[Face]:
        self._calls += 1
        return _faces(self._video.detect_for_video(_image(frame), self._calls), frame.shape, (0, 0))

    def _detect_window(self, frame: np.ndarray, window: tuple[int, int, int, int]) -> list[Face]:
        if self._single is None:
            with _starting():
                self._single = self._create(video=False)
                self._single.detect(_image(np.zeros((64, 64, 3), np.uint8)))
        left, top, right, bottom = window
        part = frame[top:bottom, left:right]
        return _faces(self._single.detect(_image(part)), part.shape, (left, top))


def _image(frame: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
    )


def _faces(result: Any, shape: tuple[int, ...], offset: tuple[int, int]) -> list[Face]:
    """MediaPipe's normalised landmarks as faces in source pixels."""
    faces: list[Face] = []
    for mesh in result.face_landmarks:
        # z is in the unit of x, so both scale by the width.
        xyz = np.array([(mesh[i].x, mesh[i].y, mesh[i].z) for i in POINTS]) * (
            shape[1],
            shape[0],
            shape[1],
        )
        dx, _, dz = xyz[RIGHT_CHEEK] - xyz[LEFT_CHEEK]
        shape_xyz = np.array([(mesh[i].x, mesh[i].y, mesh[i].z) for i in SHAPE]) * (
            shape[1],
            shape[0],
            shape[1],
        )
        yaw_deg = float(np.degrees(np.arctan2(dz, dx)))
        faces.append(
            Face((xyz[:, :2] + offset).astype(np.float32), yaw_deg, shape_xyz.astype(np.float32))
        )
    return _distinct(faces)


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Drops a face that is reported twice, as happens when it is detected and followed at once."""
    kept: list[Face] = []
    for face in faces:
        if face.height > 0 and all(distance(face, other) > 0.4 for other in kept):
            kept.append(face)
    return kept


def _tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Square windows (left, top, right, bottom), half as wide as the picture's short side and half
    overlapping."""
    side = min(height, width) // 2
    if side < 120:
        return []  # a face that the detector misses in so small a picture has no readable mouth
    xs, ys = (
        np.linspace(0, length - side, -(-2 * (length - side) // side) + 1)
        for length in (width, height)
    )
    return [(int(x), int(y), int(x) + side, int(y) + side) for y in ys for x in xs]


def _around(face: Face, height: int, width: int) -> tuple[int, int, int, int]:
    """A square window three faces wide around a face, cut at the border of the picture."""
    (x, y), reach = face.points.mean(axis=0), 1.5 * face.height
    return (
        max(int(x - reach), 0),
        max(int(y - reach), 0),
        min(int(x + reach), width),
        min(int(y + reach), height),
    )


def distance(a: Face, b: Face) -> float:
    """How far apart two faces are: motion of the mouth in face heights plus the change of size in
    octaves."""
    height = (a.height + b.height) / 2
    motion = float(np.linalg.norm(a.mouth - b.mouth)) / height
    return motion + abs(float(np.log2(a.height / b.height)))


def view(face: Face, frame: np.ndarray) -> np.ndarray:
    """(VIEW * VIEW * 3,) float32: the square two faces wide around a face, see Face.view."""
    import cv2

    (x, y), reach = face.points.mean(axis=0), face.height
    height, width = frame.shape[:2]
    left, right = (int(np.clip(edge, 0, width - 1)) for edge in (x - reach, x + reach))
    top, bottom = (int(np.clip(edge, 0, height - 1)) for edge in (y - reach, y + reach))
    part = cv2.resize(
        frame[top : bottom + 1, left : right + 1], (VIEW, VIEW), interpolation=cv2.INTER_AREA
    )
    colours = part.astype(np.float32).reshape(-1, 3)
    colours = (colours - colours.mean(axis=0)).ravel()
    return colours / (np.linalg.norm(colours) + 1e-6)


_CHATTER = re.compile(rb"^([WI]\d{4} |INFO: |WARNING: All log messages before absl)")
_STDERR = threading.Lock()


def _starting() -> contextlib.AbstractContextManager[None]:
    """Around the start of a landmarker, which writes a dozen lines to standard error and offers no
    switch.

    A library does not touch the standard error of the process it runs in. Our own program asks for
    silence (QUIET_MEDIAPIPE).
    """
    return _quiet_mediapipe() if os.environ.get(QUIET_MEDIAPIPE) else contextlib.nullcontext()


@contextlib.contextmanager
def _quiet_mediapipe() -> Iterator[None]:
    """Takes MediaPipe's start-up lines off standard error; whatever else was written meanwhile is
    passed on.

    The C++ side writes to file descriptor 2 itself, so the descriptor is pointed at a temporary
    file for the few dozen milliseconds that a landmarker takes to start; one at a time.
    """
    with _STDERR:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        # no standard error at all: nothing to keep quiet
        except (OSError, AttributeError, ValueError):
            yield
            return
        with tempfile.TemporaryFile() as caught:
            os.dup2(caught.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                caught.seek(0)
                other = b"".join(line for line in caught if not _CHATTER.match(line))
                if other:
                    os.write(2, other)
