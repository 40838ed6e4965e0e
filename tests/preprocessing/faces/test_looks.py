"""A search for faces that was stopped goes on where it was, with the same outcome."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avsr.base.partial import Partial
from avsr.preprocessing.faces import face, looks
from avsr.preprocessing.faces.face import POINTS, SHAPE, Face, Landmarker
from avsr.preprocessing.faces.looks import Looks

FRAMES = 23
AFRESH = 5


class Forgetful(Landmarker):
    """Stands for MediaPipe: where it finds the face depends on all that it saw since it began."""

    asked = 0

    def __call__(self, frame: np.ndarray) -> list[Face]:
        Forgetful.asked += 1
        return super().__call__(frame)

    def _create(self, video: bool) -> SimpleNamespace:
        return SimpleNamespace(close=lambda: None, sum=0.1)

    def _detect_video(self, frame: np.ndarray) -> list[Face]:
        self._video.sum = self._video.sum / 3 + float(frame.mean())
        if len(frame) == 64:  # the one that it begins with
            return []
        rng = np.random.default_rng(round(self._video.sum * 1e6))
        return [_face(rng, size=rng.choice([0.1, 0.1, 1e3]))] if rng.random() < 0.8 else []

    def _detect_window(self, frame: np.ndarray, window: tuple[int, int, int, int]) -> list[Face]:
        rng = np.random.default_rng([int(frame.mean()), *(abs(edge) for edge in window)])
        return [_face(rng, size=0.1)] if rng.random() < 0.8 else []


def _face(rng: np.random.Generator, size: float) -> Face:
    points, shape = (
        rng.normal(size=shape).astype(np.float32) for shape in ((len(POINTS), 2), (len(SHAPE), 3))
    )
    return Face(points * np.float32(size), float(rng.normal()), shape)


@pytest.fixture
def partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Partial:
    for module in (face, looks):
        monkeypatch.setattr(module, "AFRESH", AFRESH)
    monkeypatch.setattr(face, "face_model", lambda path: "none")
    (tmp_path / "film.mp4").write_bytes(b"x")
    return Partial.beside(tmp_path / "film.txt", tmp_path / "film.mp4")


def seen(partial: Partial | None, frames: int = FRAMES, every: int = 2) -> list[bytes]:
    """What is seen in so many frames, and how often the landmarker was asked for it."""
    Forgetful.asked = 0
    look_at = Looks(lambda: Forgetful().__enter__(), partial)
    found = []
    for number in range(frames):
        faces = look_at(number * every, np.full((8, 8, 3), number * 7 % 11, np.uint8))
        parts = [(one.points.tobytes(), one.shape.tobytes(), one.yaw_deg) for one in faces]
        found.append(repr(parts).encode())
    if frames == FRAMES:
        look_at.finish()
    look_at.close()
    return found


@pytest.mark.parametrize("stops", [[stop] for stop in range(FRAMES)] + [[7, 8, 19], [12, 3, 4]])
def test_it_goes_on_with_the_same_outcome(partial: Partial, stops: list[int]):
    whole = seen(None)
    for stop in stops:
        assert seen(partial, stop) == whole[:stop]
    assert seen(partial) == whole
    assert Forgetful.asked == FRAMES - max(stops) // AFRESH * AFRESH
    assert seen(partial) == whole
    assert Forgetful.asked == 0  # all of it is known


def test_what_was_cut_off_is_done_again(partial: Partial):
    whole = seen(partial)
    partial.path.write_bytes(partial.path.read_bytes()[:-400])
    assert seen(partial) == whole
    assert 0 < Forgetful.asked <= 2 * AFRESH


def test_another_way_through_the_recording_takes_nothing_that_does_not_fit(partial: Partial):
    seen(partial)
    held = partial.path.read_bytes()
    assert len(seen(partial, every=3)) == FRAMES
    assert Forgetful.asked == FRAMES - 1  # both begin with the first frame
    assert partial.path.read_bytes() == held
