"""Faces in a video: landmarks as tracks over time, and which face is meant.

Landmarks come from MediaPipe's FaceLandmarker (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular
Video on Mobile GPUs", 2019, arXiv:1907.06724; 478 points of a face mesh). Only the points below are kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import FPS
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.face_model import face_model

if TYPE_CHECKING:
    from avsr.preprocessing.media import Piece

# Indices into the mesh; "left" is left in the picture of a person who faces the camera.
STABLE = (33, 133, 362, 263, 168, 2)  # eye corners from left to right, bridge of the nose, base of the nose
LIP_RING = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)  # outer lips
OUTLINE = (10, 152, 234, 454)  # forehead, chin, left and right cheek
POINTS = STABLE + LIP_RING + OUTLINE
STABLE_SLICE = slice(0, len(STABLE))
LIP_SLICE = slice(len(STABLE), len(STABLE) + len(LIP_RING))
CORNERS = (POINTS.index(61), POINTS.index(291))
FOREHEAD, CHIN, LEFT_CHEEK, RIGHT_CHEEK = range(len(POINTS) - 4, len(POINTS))

MAX_STRIDE = 4  # frames between landmarks while the head is still
STILL = 0.025  # mouth-centre motion between two looked-at frames, in face heights, below which the head is still
MIN_HEIGHT = 40  # source pixels; the motion of a smaller face, whose mouth is unreadable, is not looked at closely
SAME_FACE = 1.0  # a face further than this (see _distance) from where a track was last seen is somebody else
TRACK_GAP = FPS  # frames a face may be gone and still be the same track
SEARCH_EVERY = FPS // MAX_STRIDE  # looked-at frames between two searches for small faces


@dataclass(frozen=True)
class Face:
    """One face in one frame: points (K, 2) float32 source pixels in the order of POINTS, and how far it is turned."""

    points: np.ndarray
    yaw_deg: float

    @property
    def height(self) -> float:
        """Forehead to chin, source pixels; unlike the width it does not shrink when the head turns."""
        return float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))

    @property
    def mouth(self) -> np.ndarray:
        """(2,) mean of the outer lip ring, source pixels."""
        return self.points[LIP_SLICE].mean(axis=0)


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face followed over time.

    Attributes:
        id: number in order of first appearance.
        picture: (width, height) of the source, pixels.
        frames: (n,) int64, increasing: the frames where landmarks were computed. A still head has them on every
            fourth frame only; what lies between is interpolated by lips.mouth_transforms.
        points: (n, K, 2) float32 source pixels, in the order of POINTS.
        yaw_deg: (n,) float32, 0 facing the camera, +-90 in profile.
    """

    id: int
    picture: tuple[int, int]
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, len(POINTS), 2), np.float32))
    yaw_deg: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @cached_property
    def duration(self) -> int:
        """Frames the face was seen in, the ones between two looks included, longer absences not."""
        steps = np.diff(self.frames)
        return int(1 + steps[steps <= MAX_STRIDE].sum() + (steps > MAX_STRIDE).sum()) if len(self.frames) else 0

    @cached_property
    def size(self) -> float:
        """Median height of the face, forehead to chin, source pixels."""
        return float(np.median(np.linalg.norm(self.points[:, FOREHEAD] - self.points[:, CHIN], axis=1)))

    @cached_property
    def centre(self) -> np.ndarray:
        """(2,) median position of the mouth, source pixels."""
        return np.median(self.points[:, LIP_SLICE].mean(axis=1), axis=0)


class Landmarker:
    """MediaPipe's FaceLandmarker as a function from a frame to faces; a context manager that closes it.

    Timestamps are a counter of calls, not media time: the graph only wants them to increase, and frames that were
    skipped at first are looked at later when the head turns out to have moved. With more than one face the graph
    applies no temporal filter, so nothing else depends on them.

    The detector misses faces much smaller than a tenth of the picture. When a frame shows none, overlapping tiles of it
    are searched too (at most about once a second), and faces found there are followed in windows of their own until
    the whole picture shows one again.
    """

    def __init__(self, model_path: str | Path | None = None, max_faces: int = 4) -> None:
        self._model = str(face_model(model_path))
        self._max_faces = max_faces
        self._video: Any = None
        self._single: Any = None  # image mode, for windows; made when first needed
        self._calls = 0
        self._windows: list[tuple[int, int, int, int]] = []
        self._wait = 0  # calls until the next search

    def __enter__(self) -> Landmarker:
        with _quiet_mediapipe():
            self._video = self._create(video=True)
            self._detect_video(np.zeros((64, 64, 3), np.uint8))  # the graph says more on its first frame
        return self

    def __exit__(self, *_: object) -> None:
        for landmarker in (self._video, self._single):
            if landmarker is not None:
                landmarker.close()

    def _create(self, video: bool) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        base = BaseOptions(model_asset_path=self._model)
        options = vision.FaceLandmarkerOptions(base_options=base, running_mode=mode, num_faces=self._max_faces)
        return vision.FaceLandmarker.create_from_options(options)

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """Faces in one frame.

        Args:
            frame: (H, W, 3) uint8 RGB; copied where it is not contiguous, since MediaPipe would see garbage.

        Returns:
            Faces in no particular order.
        """
        self._wait -= 1
        search = self._wait < 0
        if search or not self._windows:
            faces = self._detect_video(frame)
            if faces:
                self._windows = []
                return faces
        if search:
            self._wait = SEARCH_EVERY
            self._windows += _tiles(*frame.shape[:2])
        faces = _distinct(face for window in self._windows for face in self._detect_window(frame, window))
        self._windows = [_around(face, *frame.shape[:2]) for face in faces]
        return faces

    def _detect_video(self, frame: np.ndarray) -> list[Face]:
        self._calls += 1
        return _faces(self._video.detect_for_video(_image(frame), self._calls), frame.shape, (0, 0))

    def _detect_window(self, frame: np.ndarray, window: tuple[int, int, int, int]) -> list[Face]:
        if self._single is None:
            with _quiet_mediapipe():
                self._single = self._create(video=False)
                self._single.detect(_image(np.zeros((64, 64, 3), np.uint8)))
        left, top, right, bottom = window
        part = frame[top:bottom, left:right]
        return _faces(self._single.detect(_image(part)), part.shape, (left, top))


def _image(frame: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))


def _faces(result: Any, shape: tuple[int, ...], offset: tuple[int, int]) -> list[Face]:
    """MediaPipe's normalised landmarks as faces in source pixels."""
    faces: list[Face] = []
    for mesh in result.face_landmarks:
        # z is in the unit of x, so both scale by the width.
        xyz = np.array([(mesh[i].x, mesh[i].y, mesh[i].z) for i in POINTS]) * (shape[1], shape[0], shape[1])
        dx, _, dz = xyz[RIGHT_CHEEK] - xyz[LEFT_CHEEK]
        faces.append(Face((xyz[:, :2] + offset).astype(np.float32), float(np.degrees(np.arctan2(dz, dx)))))
    return _distinct(faces)


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Drops a face that is reported twice, as happens when it is detected and followed at once."""
    kept: list[Face] = []
    for face in faces:
        if face.height > 0 and all(_distance(face, other) > 0.4 for other in kept):
            kept.append(face)
    return kept


def _tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Square windows (left, top, right, bottom), half as wide as the picture's short side and half overlapping."""
    side = min(height, width) // 2
    if side < 120:
        return []  # a face that the detector misses in so small a picture has no readable mouth
    xs, ys = (np.linspace(0, length - side, -(-2 * (length - side) // side) + 1) for length in (width, height))
    return [(int(x), int(y), int(x) + side, int(y) + side) for y in ys for x in xs]


def _around(face: Face, height: int, width: int) -> tuple[int, int, int, int]:
    """A square window three faces wide around a face, cut at the border of the picture."""
    (x, y), reach = face.points.mean(axis=0), 1.5 * face.height
    return max(int(x - reach), 0), max(int(y - reach), 0), min(int(x + reach), width), min(int(y + reach), height)


_CHATTER = re.compile(rb"^([WI]\d{4} |INFO: |WARNING: All log messages before absl)")


@contextlib.contextmanager
def _quiet_mediapipe() -> Iterator[None]:
    """Takes MediaPipe's start-up lines off standard error; whatever else was written meanwhile is passed on.

    The C++ side writes to file descriptor 2 itself and offers no switch, so the descriptor is pointed at a temporary
    file for the few dozen milliseconds that a landmarker takes to start.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no standard error at all: nothing to keep quiet
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


def _distance(a: Face, b: Face) -> float:
    """How far apart two faces are: motion of the mouth in face heights plus the change of size in octaves."""
    height = (a.height + b.height) / 2
    motion = float(np.linalg.norm(a.mouth - b.mouth)) / height
    return motion + abs(float(np.log2(a.height / b.height)))


def _still(before: list[Face], after: list[Face]) -> bool:
    """Whether the same faces are there and none has moved enough for the frames between to need a look.

    Over 12 GRID clips this looks at 41 % of the frames, and the crops are 0.13 pixels on average, 0.45 at the 95th
    percentile, off those from landmarks on every frame (of 96; every fourth frame throughout: 0.18 and 0.52).
    """
    before, after = ([face for face in faces if face.height >= MIN_HEIGHT] for faces in (before, after))
    if len(before) != len(after):
        return False
    return all(min(_distance(face, other) for other in before) < STILL for face in after)


def _looks(
    frames: Iterable[tuple[int, np.ndarray | None]], detect: Callable[[np.ndarray], list[Face]], stride: int
) -> Iterator[tuple[int, list[Face]]]:
    """Faces on as few frames as the motion allows, in order of time.

    Every stride-th frame is looked at; where a face has moved, come or gone since, the frames between are halved
    until the pieces are still. At most `stride` frames are held.
    """

    def between(before: list[Face], after: list[Face], skipped: list) -> Iterator[tuple[int, list[Face]]]:
        if not skipped or _still(before, after):
            return
        middle = len(skipped) // 2
        number, frame = skipped[middle]
        faces = detect(frame)
        yield from between(before, faces, skipped[:middle])
        yield number, faces
        yield from between(faces, after, skipped[middle + 1 :])

    before: list[Face] | None = None
    held: list[tuple[int, np.ndarray]] = []

    def look() -> Iterator[tuple[int, list[Face]]]:
        nonlocal before
        number, frame = held[-1]
        faces = detect(frame)
        if before is not None:
            yield from between(before, faces, held[:-1])
        yield number, faces
        before = faces
        held.clear()

    for number, frame in frames:
        if frame is not None:
            held.append((number, frame))
        if held and (frame is None or before is None or len(held) == stride):
            yield from look()
        if frame is None:
            before = None
    if held:
        yield from look()


def track_faces(
    pieces: Iterable[Piece],
    *,
    max_faces: int = 4,
    model_path: str | Path | None = None,
    stride: int | str = "auto",
) -> list[FaceTrack]:
    """Follows every face through a video, looking at as few frames as its motion allows.

    Args:
        pieces: media.read(...), each with frames (H, W, 3) uint8 RGB or None. How they are cut does not matter.
        max_faces: faces looked for in a frame.
        model_path: the landmark model; see face_model.
        stride: "auto" looks at every fourth frame while all heads are still and at every frame where one moves;
            a number looks at every so-many-th frame at least (1: every frame).

    Returns:
        Tracks in order of first appearance; empty where there is no face.

    Raises:
        AvsrError: no face model, or a stride out of range.
    """
    step = MAX_STRIDE if stride == "auto" else stride
    if not isinstance(step, int) or not 1 <= step <= MAX_STRIDE:
        raise AvsrError(f"stride {stride!r}: allowed are 'auto' and 1 to {MAX_STRIDE}")
    picture = (0, 0)

    def numbered() -> Iterator[tuple[int, np.ndarray | None]]:
        nonlocal picture
        for piece in pieces:
            for number, frame in enumerate(piece.frames, piece.first_frame):
                if frame is not None:
                    picture = (frame.shape[1], frame.shape[0])
                yield number, frame

    tracks: list[list[tuple[int, Face]]] = []
    recent: list[list[tuple[int, Face]]] = []
    with contextlib.ExitStack() as stack:
        landmarker: Landmarker | None = None

        def detect(frame: np.ndarray) -> list[Face]:
            nonlocal landmarker
            if landmarker is None:  # an audio-only file never needs the model
                landmarker = stack.enter_context(Landmarker(model_path, max_faces))
            return landmarker(frame)

        for number, faces in _looks(numbered(), detect, step):
            recent = [track for track in recent if number - track[-1][0] <= TRACK_GAP + 1]
            new = _associate(recent, number, faces)
            recent += new
            tracks += new
    return [_as_track(index, picture, seen) for index, seen in enumerate(tracks)]


def _associate(tracks: list[list[tuple[int, Face]]], number: int, faces: list[Face]) -> list[list[tuple[int, Face]]]:
    """Gives each face to the nearest track, best pairs first; returns new tracks for what is left over.

    The order in which the faces are listed plays no part, so faces that swap places in the list keep their tracks.
    """
    pairs = sorted(
        (_distance(track[-1][1], face), t, f) for t, track in enumerate(tracks) for f, face in enumerate(faces)
    )
    free_tracks, free_faces = set(range(len(tracks))), set(range(len(faces)))
    for distance, t, f in pairs:
        if distance < SAME_FACE and t in free_tracks and f in free_faces:
            tracks[t].append((number, faces[f]))
            free_tracks.remove(t)
            free_faces.remove(f)
    return [[(number, faces[f])] for f in sorted(free_faces, key=lambda f: float(faces[f].mouth[0]))]


def _as_track(index: int, picture: tuple[int, int], seen: list[tuple[int, Face]]) -> FaceTrack:
    return FaceTrack(
        id=index,
        picture=picture,
        frames=np.array([number for number, _ in seen], np.int64),
        points=np.stack([face.points for _, face in seen]),
        yaw_deg=np.array([face.yaw_deg for _, face in seen], np.float32),
    )


def choose_track(tracks: list[FaceTrack], rule: str | int = "main") -> FaceTrack | None:
    """Picks the face that is meant.

    Args:
        tracks: from track_faces.
        rule: "main" takes the greatest duration x size (long and large), "largest" the largest face, "left" and
            "right" the outermost in the picture (these three among faces seen at least a fifth as long as the
            longest), a number the track with that id.

    Returns:
        The track, together with later and earlier tracks of the same rule's face: those that do not overlap it in
        time and show a face in the same place and of the same size (somebody who left for more than a second and came
        back). None where there are no tracks.

    Raises:
        AvsrError: an unknown rule, or a number without a track.
    """
    if isinstance(rule, int) or (isinstance(rule, str) and rule.isdecimal()):
        if not tracks:
            return None
        if not 0 <= int(rule) < len(tracks):
            raise AvsrError(f"face {rule}: the video has {len(tracks)} face tracks, numbered from 0")
        return tracks[int(rule)]
    keys: dict[str, Callable[[FaceTrack], float]] = {
        "main": lambda track: track.duration * track.size,
        "largest": lambda track: track.size,
        "left": lambda track: -float(track.centre[0]),
        "right": lambda track: float(track.centre[0]),
    }
    if rule not in keys:
        raise AvsrError(f"face {rule!r}: allowed are {', '.join(keys)} or the number of a track")
    if not tracks:
        return None
    # A film with many cuts has thousands of tracks; the face meant is among the longest and largest.
    leading = sorted(tracks, key=keys["main"], reverse=True)[:20]
    people = [_with_returns(track, tracks) for track in leading]
    if rule != "main":
        longest = max(person.duration for person in people)
        people = [person for person in people if person.duration * 5 >= longest]
    return max(people, key=keys[rule])


def _with_returns(track: FaceTrack, tracks: list[FaceTrack]) -> FaceTrack:
    """The track joined with others in the same place and size that do not overlap it or each other in time."""
    joined = [track]
    for other in tracks:
        apart = all(other.frames[0] > t.frames[-1] or other.frames[-1] < t.frames[0] for t in joined)
        near = np.linalg.norm(other.centre - track.centre) < track.size and 0.67 < other.size / track.size < 1.5
        if other is not track and apart and near:
            joined.append(other)
    if len(joined) == 1:
        return track
    joined.sort(key=lambda part: int(part.frames[0]))
    return FaceTrack(
        id=track.id,
        picture=track.picture,
        frames=np.concatenate([part.frames for part in joined]),
        points=np.concatenate([part.points for part in joined]),
        yaw_deg=np.concatenate([part.yaw_deg for part in joined]),
    )
