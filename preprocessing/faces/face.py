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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
RARELY = 30  # the same, once several searches in a row have found nobody new
LEAST_HEIGHT = 40  # source pixels of a face whose mouth may be read
# of the picture's shorter side: the landmarks of a lower face jitter in the whole picture
SMALL = 0.2
MOST_SMALL = 8  # small faces that are followed
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


@dataclass(frozen=True)
class Following:
    """What a landmarker knows of small faces.

    Attributes:
        windows: those in which small faces are followed.
        large: how many faces the whole picture showed that are not small.
        wait: calls until the next search.
        pause: calls from that to the one after it, where nobody new is found.
    """

    windows: list[tuple[int, int, int, int]] = field(default_factory=list)
    large: int = 0
    wait: int = 0
    pause: int = SEARCH_EVERY


class Landmarker:
    """MediaPipe's FaceLandmarker as a function from a frame to faces; a context manager that closes
    it.

    Timestamps are a counter of calls, not media time: the graph only wants them to increase, and
    frames that were skipped at first are looked at later when the head turns out to have moved.
    With more than one face the graph applies no temporal filter, so nothing else depends on them.

    The detector misses faces much smaller than a tenth of the picture. So overlapping tiles of it
    are searched too, whether the whole picture shows a face or not: somebody may sit far behind, or
    be shown in a small picture within the picture. That is done when somebody comes or goes, else
    about once a second, and more rarely while nobody new is found. Small faces are followed in
    windows of their own.

    Attributes:
        looks: frames that it was called with.
        state: what it goes on with, beside MediaPipe's graph.
    """

    def __init__(self, model_path: str | Path | None = None, max_faces: int = 4) -> None:
        self._model = str(face_model(model_path))
        self._max_faces = max_faces
        self._video: Any = None
        self._single: Any = None  # image mode, for windows; made when first needed
        self._calls = 0
        self.looks = 0
        self.state = Following()

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
        before = self.state
        wait = before.wait - 1
        whole: list[Face] = []
        if before.large or wait < 0 or not before.windows:
            whole = self._detect_video(frame)
        height, width = frame.shape[:2]
        limit = SMALL * min(height, width)
        large = [face for face in whole if face.height >= limit]
        search, pause = wait < 0 or len(large) != before.large, before.pause
        windows = [*before.windows]
        if search:
            windows += _tiles(height, width, large)
        windows += [_around(face, height, width) for face in whole if face.height < limit]
        small = self._beside(large, frame, windows)
        if search:
            new = len(small) > len(before.windows) or not (large or small)
            pause = SEARCH_EVERY if new else min(2 * pause, RARELY)
            wait = pause
        around = [_around(face, height, width) for face in small]
        self.state = Following(around, len(large), wait, pause)
        return [*large, *small]

    def _beside(
        self, large: list[Face], frame: np.ndarray, windows: list[tuple[int, int, int, int]]
    ) -> list[Face]:
        """Small faces in windows of a frame: no parts of large ones, and beside those none that is
        too small to be read."""
        found: list[Face] = []
        for window in windows:
            if any(_amid(window, face) for face in found):
                continue  # what is there is known
            for face in self._detect_window(frame, window):
                known = any(_within(face, other) for other in [*large, *found])
                if not known and (face.height >= LEAST_HEIGHT or not large):
                    found.append(face)
        return sorted(found, key=lambda face: -face.height)[:MOST_SMALL]

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


def _within(face: Face, other: Face) -> bool:
    """Whether a face is another one, or part of it: two heads are further apart."""
    apart = np.linalg.norm(face.points.mean(axis=0) - other.points.mean(axis=0))
    return bool(apart < 0.6 * max(face.height, other.height))


def _tiles(height: int, width: int, known: Sequence[Face]) -> list[tuple[int, int, int, int]]:
    """Square windows (left, top, right, bottom), half as wide as the picture's short side and half
    overlapping; those amid a face that is known are left out."""
    side = min(height, width) // 2
    if side < 120:
        return []  # a face that the detector misses in so small a picture has no readable mouth
    xs, ys = (
        np.linspace(0, length - side, -(-2 * (length - side) // side) + 1)
        for length in (width, height)
    )
    tiles = [(int(x), int(y), int(x) + side, int(y) + side) for y in ys for x in xs]
    return [tile for tile in tiles if not any(_amid(tile, face) for face in known)]


def _amid(window: tuple[int, int, int, int], face: Face) -> bool:
    """Whether the middle of a window lies in a face that takes a good part of it."""
    left, top, right, bottom = window
    apart = face.points.mean(axis=0) - np.array([left + right, top + bottom]) / 2
    return bool(np.linalg.norm(apart) < face.height / 2 and 4 * face.height > right - left)


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
