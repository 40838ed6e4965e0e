"""Landmarks in the frames of one recording that are looked at, those that an earlier call found
before it was stopped among them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.faces.face import AFRESH, POINTS, SHAPE, Face, Following, Landmarker

if TYPE_CHECKING:
    from avsr.base.partial import Partial

KIND, END = "seen", "looked"
SIZES = len(POINTS) * 2, len(SHAPE) * 3  # numbers of a face


class Looks:
    """A landmarker that is asked about frames in their order, and not about those that are known.

    MediaPipe's graph remembers what it saw. So of a search that was stopped, what followed the last
    frame at which the graph began anew (AFRESH) is done again, with the same outcome.

    Args:
        make: makes the landmarker, when it is needed first.
        partial: keeps what was seen; None for nowhere.
    """

    def __init__(self, make: Callable[[], Landmarker], partial: Partial | None = None) -> None:
        self._make, self._partial = make, partial
        self._landmarker: Landmarker | None = None
        self._before: dict[str, Any] = {}  # the last look that was known
        self._known = partial.entries(KIND) if partial is not None else iter(())
        self._count, self._left = 0, self._usable()

    def __call__(self, number: int, frame: np.ndarray) -> list[Face]:
        """Faces in the next frame.

        Args:
            number: of the frame.
            frame: as for Landmarker.
        """
        look = self._next(number) if self._left > 0 else None
        if look is not None:
            self._left -= 1
            self._count += 1
            self._before = look
            return [_face(text, look["yaw_deg"][n]) for n, text in enumerate(look["faces"])]
        if self._left > 0:  # the recording is read otherwise than by that call: nothing goes on
            self._left, self._partial = 0, None
        landmarker = self._ready()
        faces = landmarker(frame)
        self._keep(number, faces, landmarker)
        return faces

    def finish(self) -> None:
        """Says that there are no more frames: all that was seen can be taken from there."""
        if self._partial is not None and self._landmarker is not None:
            self._partial.add(END, {"looks": self._count})

    def close(self) -> None:
        if self._landmarker is not None:
            self._landmarker.__exit__()

    def _usable(self) -> int:
        """How many looks can be taken from an earlier call: all of one that came to the end, or
        those before the graph began anew for the last time."""
        if self._partial is None:
            return 0
        count = 0
        for look in self._partial.entries(KIND):
            count += look["look"] == count
        ends = [entry["looks"] for entry in self._partial.entries(END)]
        return count if count in ends else count // AFRESH * AFRESH

    def _next(self, number: int) -> dict[str, Any] | None:
        """The look that comes next in the file; None where it is of another frame."""
        for look in self._known:
            if look["look"] == self._count:  # an earlier call may have done some again
                return look if look["frame"] == number else None
        return None

    def _ready(self) -> Landmarker:
        if self._landmarker is None:  # an audio-only file never needs the model
            self._landmarker = self._make()
            if self._before:
                self._landmarker.looks = self._count
                self._landmarker.state = Following(**self._before["state"])
        return self._landmarker

    def _keep(self, number: int, faces: list[Face], landmarker: Landmarker) -> None:
        if self._partial is not None:
            look = {"look": self._count, "frame": number, "faces": [_text(face) for face in faces]}
            look |= {"yaw_deg": [face.yaw_deg for face in faces]}
            look |= {"state": asdict(landmarker.state)}
            self._partial.add(KIND, look)
        self._count += 1


def _text(face: Face) -> str:
    """The float32 of a face in letters."""
    shape = np.zeros((0, 3), np.float32) if face.shape is None else face.shape
    body = face.points.tobytes() + shape.tobytes()
    return base64.b64encode(body).decode("ascii")


def _face(text: str, yaw_deg: float) -> Face:
    numbers = np.frombuffer(base64.b64decode(text), np.float32)
    points, shape = numbers[: SIZES[0]].reshape(-1, 2), numbers[SIZES[0] :].reshape(-1, 3)
    return Face(points, yaw_deg, shape if len(shape) else None)
