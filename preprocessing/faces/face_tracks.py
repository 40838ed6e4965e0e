"""Faces followed over time, on as few frames as their motion allows, in memory that hardly
grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.faces.face import (
    CHIN,
    FOREHEAD,
    LIP_SLICE,
    POINTS,
    SHAPE,
    Face,
    Landmarker,
    distance,
    view,
)
from avsr.preprocessing.faces.looks import Looks

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.media.streams import Piece
    from avsr.preprocessing.media.ticks import Picture

MAX_STRIDE = 4  # frames between landmarks while the head is still
# mouth-centre motion between two looked-at frames, in face heights, below which the head is still
STILL = 0.025
# source pixels; the motion of a smaller face, whose mouth is unreadable, is not looked at closely
MIN_HEIGHT = 40
# a face further than this (see face.distance) from where a track was last seen begins a new one
SAME_FACE = 1.0
TRACK_GAP = FPS  # frames a face may be gone and still be the same track
# Correlation of two views (see face.view) a few frames apart below which the camera cut: over 66
# GRID clips of eight speakers, all before the same background, it is 0.956 at least six frames
# apart, and 0.933 at most between speakers.
SAME_VIEW = 0.945
# beyond it the depth of the landmarks is guessed too badly to tell people apart
MAX_SHAPE_YAW_DEG = 35.0


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face followed over time, within one shot of the camera.

    Attributes:
        id: number in order of first appearance.
        picture: (width, height) of the source, pixels.
        frames: (n,) int64, increasing: the frames where landmarks were computed. A still head has
            them on every fourth frame only; what lies between is interpolated by
            lips.mouth_transforms.
        points: (n, K, 2) float32 source pixels, in the order of POINTS.
        yaw_deg: (n,) float32, 0 facing the camera, +-90 in profile.
        shape: (len(SHAPE), 3) mean shape of the face, of unit size and turned like its first; None
            where it was never seen from the front.
        shapes: how many were averaged.
        views: the first and the last view (see face.view); empty where there are none.
    """

    id: int
    picture: tuple[int, int]
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, len(POINTS), 2), np.float32))
    yaw_deg: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    shape: np.ndarray | None = None
    shapes: int = 0
    views: tuple[np.ndarray, ...] = ()

    @property
    def first(self) -> int:
        return int(self.frames[0])

    @property
    def last(self) -> int:
        return int(self.frames[-1])

    @cached_property
    def duration(self) -> int:
        """Frames the face was seen in, the ones between two looks included, longer absences not."""
        return frames_seen(self.frames)

    @cached_property
    def size(self) -> float:
        """Median height of the face, forehead to chin, source pixels."""
        return float(
            np.median(np.linalg.norm(self.points[:, FOREHEAD] - self.points[:, CHIN], axis=1))
        )

    @cached_property
    def centre(self) -> np.ndarray:
        """(2,) median position of the mouth, source pixels."""
        return np.median(self.points[:, LIP_SLICE].mean(axis=1), axis=0)


def frames_seen(looks: np.ndarray) -> int:
    """How many frames so many looks stand for, (n,) int64 and increasing: those between two looks
    are counted, longer absences are not."""
    steps = np.diff(looks)
    few = steps <= MAX_STRIDE
    return int(1 + steps[few].sum() + (~few).sum()) if len(looks) else 0


class _Growing:
    """A track in the making: its looks in arrays that grow by doubling, its last face, the sum of
    its shapes."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.count = 0
        self.face: Face
        self.frame = -1  # of the last look
        self._frames = np.zeros(16, np.int64)
        self._points = np.zeros((16, len(POINTS), 2), np.float32)
        self._yaw_deg = np.zeros(16, np.float32)
        self._shape_sum = np.zeros((len(SHAPE), 3))
        self._shapes = 0
        self._first_view: np.ndarray | None = None
        self._frozen: FaceTrack | None = None

    def add(self, number: int, face: Face) -> None:
        # views of the old arrays that were handed out stay as they are
        if self.count == len(self._frames):
            self._frames, self._points, self._yaw_deg = (
                np.concatenate([array, np.zeros_like(array)])
                for array in (self._frames, self._points, self._yaw_deg)
            )
        self._frames[self.count] = number
        self._points[self.count] = face.points
        self._yaw_deg[self.count] = face.yaw_deg
        self.count += 1
        self.frame, self.face = number, replace(face, shape=None)
        self._first_view = face.view if self._first_view is None else self._first_view
        if face.shape is not None and abs(face.yaw_deg) <= MAX_SHAPE_YAW_DEG:
            shape = normal_shape(face.shape)
            self._shape_sum += turned(shape, self._shape_sum) if self._shapes else shape
            self._shapes += 1

    def ended(self, picture: tuple[int, int]) -> FaceTrack:
        """All of it, without room for further looks; half precision is enough for views."""
        whole = self.track(picture)
        return replace(
            whole,
            frames=whole.frames.copy(),
            points=whole.points.copy(),
            yaw_deg=whole.yaw_deg.copy(),
            views=tuple(view.astype(np.float16) for view in whole.views),
        )

    def track(self, picture: tuple[int, int]) -> FaceTrack:
        """The track so far."""
        if self._frozen is None or len(self._frozen.frames) < self.count:
            looks = slice(0, self.count)
            shape = self._shape_sum / self._shapes if self._shapes else None
            arrays = self._frames[looks], self._points[looks], self._yaw_deg[looks]
            views = tuple(view for view in (self._first_view, self.face.view) if view is not None)
            self._frozen = FaceTrack(self.id, picture, *arrays, shape, self._shapes, views)
        return self._frozen


def normal_shape(shape: np.ndarray) -> np.ndarray:
    """(..., n, 3) in the middle of its axes and of unit size (root mean square of the distances
    from there)."""
    centred = shape - shape.mean(axis=-2, keepdims=True)
    return centred / np.sqrt((centred**2).sum(axis=-1).mean(axis=-1))[..., None, None]


def turned(shape: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The shape (n, 3) rotated to lie on others (..., n, 3) as well as it can (Kabsch 1976, without
    reflection)."""
    left, _, right = np.linalg.svd(shape.T @ like)
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]
    return shape @ (left @ right)


def shape_distances(shape: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How different a face shape (n, 3) is from each of several (m, n, 3).

    Returns:
        (m,) root mean square of what is left when it is laid on each of them.
    """
    shape, others = normal_shape(shape), normal_shape(others)
    return np.sqrt(((turned(shape, others) - others) ** 2).sum(axis=-1).mean(axis=-1))


class FaceTracker:
    """Follows every face through a video, frame by frame; a context manager that closes the
    landmarker.

    Every stride-th frame is looked at. Where a face has moved, come or gone since, or the picture
    around it has changed, the frames between are halved until the pieces are still. At most
    `stride` frames are held.

    Args:
        max_faces: faces looked for in a frame.
        model_path: the landmark model; see face_model.
        stride: "auto" looks at every fourth frame while all heads are still and at every frame
            where one moves; a number looks at every so-many-th frame at least (1: every frame).
        partial: gives the landmarks that an earlier call found in this recording, with these
            settings, and keeps those that are found now; None for nowhere.

    Attributes:
        settled: all landmarks of the frames before this one are known.

    Raises:
        AvsrError: no face model, or a stride out of range.
    """

    def __init__(
        self,
        *,
        max_faces: int = 4,
        model_path: str | Path | None = None,
        stride: int | str = "auto",
        partial: Partial | None = None,
    ) -> None:
        step = MAX_STRIDE if stride == "auto" else stride
        if not isinstance(step, int) or not 1 <= step <= MAX_STRIDE:
            raise AvsrError(f"stride {stride!r}: allowed are 'auto' and 1 to {MAX_STRIDE}")
        self.settled = 0
        self.picture = (0, 0)
        self._stride = step
        self._look_at = Looks(lambda: Landmarker(model_path, max_faces).__enter__(), partial)
        self._before: list[Face] | None = None
        self._held: list[tuple[int, Picture]] = []
        # by id; a film has thousands of shots, and of those that are over only the outcome is kept
        self._tracks: list[_Growing | FaceTrack] = []
        self._recent: list[_Growing] = []

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self._look_at.close()

    @property
    def tracks(self) -> list[FaceTrack]:
        """The tracks so far, in order of first appearance."""
        return [
            track if isinstance(track, FaceTrack) else track.track(self.picture)
            for track in self._tracks
        ]

    def add(self, number: int, picture: Picture | None) -> None:
        """Takes the next frame; None where no picture is on screen."""
        if picture is not None:
            self._held.append((number, picture))
        if self._held and (
            picture is None or self._before is None or len(self._held) == self._stride
        ):
            self._look()
        if picture is None:
            self._before = None
        if not self._held:
            self.settled = number + 1

    def finish(self) -> None:
        """Says that there are no more frames."""
        if self._held:
            self.settled = self._held[-1][0] + 1
            self._look()
        self._look_at.finish()

    def _look(self) -> None:
        number, picture = self._held[-1]
        faces = self._detect(number, picture)
        if self._before is not None:
            self._between(self._before, faces, self._held[:-1])
        self._follow(number, faces)
        self._before = faces
        self._held.clear()

    def _between(
        self, before: list[Face], after: list[Face], skipped: list[tuple[int, Picture]]
    ) -> None:
        """Looks at what was skipped between two looks as far as needed, in order of time."""
        if not skipped or _still(before, after):
            return
        middle = len(skipped) // 2
        number, picture = skipped[middle]
        faces = self._detect(number, picture)
        self._between(before, faces, skipped[:middle])
        self._follow(number, faces)
        self._between(faces, after, skipped[middle + 1 :])

    def _detect(self, number: int, picture: Picture) -> list[Face]:
        frame = picture.rgb()
        self.picture = (frame.shape[1], frame.shape[0])
        return [replace(face, view=view(face, frame)) for face in self._look_at(number, frame)]

    def _follow(self, number: int, faces: list[Face]) -> None:
        for track in list(self._recent):
            if number - track.frame > TRACK_GAP + 1:
                self._tracks[track.id] = track.ended(self.picture)
                self._recent.remove(track)
        for face in _left_over(self._recent, number, faces):
            track = _Growing(len(self._tracks))
            track.add(number, face)
            self._tracks.append(track)
            self._recent.append(track)


def _left_over(tracks: list[_Growing], number: int, faces: list[Face]) -> list[Face]:
    """Gives each face to the nearest track, best pairs first; returns what is left, from left to
    right.

    The order in which the faces are listed plays no part, so faces that swap places in the list
    keep their tracks. A face whose surroundings are others than when the track was last seen is in
    another shot, and maybe another person.
    """
    pairs = sorted(
        (distance(track.face, face), t, f)
        for t, track in enumerate(tracks)
        for f, face in enumerate(faces)
    )
    free_tracks, free_faces = set(range(len(tracks))), set(range(len(faces)))
    for apart, t, f in pairs:
        if (
            apart < SAME_FACE
            and _same_view(tracks[t].face, faces[f])
            and t in free_tracks
            and f in free_faces
        ):
            tracks[t].add(number, faces[f])
            free_tracks.remove(t)
            free_faces.remove(f)
    return [faces[f] for f in sorted(free_faces, key=lambda f: float(faces[f].mouth[0]))]


def _same_view(a: Face, b: Face) -> bool:
    return a.view is None or b.view is None or float(a.view @ b.view) >= SAME_VIEW


def _still(before: list[Face], after: list[Face]) -> bool:
    """Whether the same faces are there and none has moved enough for the frames between to need a
    look.

    Over 12 GRID clips this looks at 41 % of the frames, and the crops are 0.13 pixels on average,
    0.45 at the 95th percentile, off those from landmarks on every frame (of 96; every fourth frame
    throughout: 0.18 and 0.52).
    """
    before, after = (
        [face for face in faces if face.height >= MIN_HEIGHT] for faces in (before, after)
    )
    if len(before) != len(after):
        return False
    for face in after:
        nearest = min(before, key=lambda other: distance(face, other))
        if distance(face, nearest) >= STILL or not _same_view(face, nearest):
            return False
    return True


def track_faces(
    pieces: Iterable[Piece],
    *,
    max_faces: int = 4,
    model_path: str | Path | None = None,
    stride: int | str = "auto",
    progress: Callable[[int], None] | None = None,
) -> list[FaceTrack]:
    """Follows every face through a whole video; see FaceTracker.

    Args:
        pieces: of media.read(...). How they are cut does not matter.
        max_faces: as in FaceTracker.
        model_path: as in FaceTracker.
        stride: as in FaceTracker.
        progress: told the frames done.

    Returns:
        Tracks in order of first appearance; empty where there is no face.

    Raises:
        AvsrError: no face model, or a stride out of range.
    """
    with FaceTracker(max_faces=max_faces, model_path=model_path, stride=stride) as tracker:
        for piece in pieces:
            for number, picture in enumerate(piece.pictures, piece.first_frame):
                tracker.add(number, picture)
            if progress is not None:
                progress(piece.first_frame + len(piece))
        tracker.finish()
        return tracker.tracks
