"""Landmarks in one picture, and a landmarker that leaves standard error alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from avsr.base.console import QUIET_MEDIAPIPE
from avsr.preprocessing.faces.face import RARELY, Landmarker
from avsr.preprocessing.faces.face_model import MODEL_NAME
from avsr.preprocessing.media import streams

START = """
import os, sys, threading
from avsr.preprocessing.faces import face
before = os.fstat(2)
touched = threading.Event()
dup2 = os.dup2
os.dup2 = lambda *numbers, **options: (touched.set(), dup2(*numbers, **options))
with face.Landmarker(sys.argv[1]):
    pass
assert os.path.samestat(before, os.fstat(2))
print("touched" if touched.is_set() else "left alone")
"""
PASSED_ON = """
import os, sys
from avsr.preprocessing.faces import face
with face._quiet_mediapipe():
    os.write(2, b"W0000 00:00:1 7 x.cc:1] chatter\\nmine\\n")
print("after", file=sys.stderr)
"""


def _run(code: str, model: Path, **environment: str) -> tuple[str, str]:
    clean = {name: value for name, value in os.environ.items() if name != QUIET_MEDIAPIPE}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)],
        capture_output=True,
        text=True,
        env=clean | environment,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_a_library_call_does_not_redirect_standard_error(shared: Path):
    out, _ = _run(START, shared / "models" / MODEL_NAME)
    assert out == "left alone"


def test_the_program_keeps_mediapipe_quiet(shared: Path):
    out, err = _run(START, shared / "models" / MODEL_NAME, **{QUIET_MEDIAPIPE: "1"})
    assert (out, err) == ("touched", "")
    clip = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    code = f"from avsr.cli import main; raise SystemExit(main(['transcribe', {str(clip)!r}]))"
    clean = {name: value for name, value in os.environ.items() if name != QUIET_MEDIAPIPE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)
    assert done.stdout == "bin blue at f two now\n"
    assert "0000" not in done.stderr
    assert "INFO" not in done.stderr


def test_others_are_heard_while_it_is_quiet(shared: Path):
    assert _run(PASSED_ON, shared / "models" / MODEL_NAME)[1] == "mine\nafter\n"


def test_an_interrupt_is_told_while_it_is_quiet():
    code = """
from avsr.base.processes import signals
from avsr.preprocessing.faces import face
with signals.watched(), face._quiet_mediapipe():
    signals.stop.number = signals.signal.SIGINT
    signals._leave()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "avsr: interrupted\n")


def test_shapes_are_upright_and_in_three_dimensions(shared: Path):
    from avsr.preprocessing.faces.face import SHAPE

    piece = next(streams.read(shared / "data" / "grid" / "s1" / "bbaf2n.mp4", audio=False))
    with Landmarker(shared / "models" / MODEL_NAME) as landmarker:
        (face,) = landmarker(piece.frames[0])
    left_eye, right_eye, tip = (face.shape[SHAPE.index(point)] for point in (33, 263, 4))
    assert left_eye[0] < tip[0] < right_eye[0]
    assert tip[1] > left_eye[1]
    assert tip[2] < left_eye[2]  # nearer to the camera


def _picture(shared: Path, inset: int | None) -> np.ndarray:
    """A talking head that fills the picture, and another one in a corner, so many pixels wide."""
    large, small = (
        next(streams.read(shared / "data" / clip, audio=False)).frames[0]
        for clip in ("grid/s1/bbaf2n.mp4", "grid-others/s33/bbao8n.mp4")
    )
    picture = cv2.resize(large, (720, 576))
    if inset is not None:
        height = inset * 288 // 360
        picture[-height - 20 : -20, -inset - 20 : -20] = cv2.resize(small, (inset, height))
    return picture


def test_a_small_face_is_found_beside_a_large_one(shared: Path):
    """The picture within the picture of a call, or somebody who sits far behind: the detector alone
    finds the large face."""
    for inset in (160, 200, 240):
        with Landmarker(shared / "models" / MODEL_NAME) as landmarker:
            for _ in range(3):
                heights = sorted(face.height for face in landmarker(_picture(shared, inset)))
                assert len(heights) == 2
                assert 0.3 * inset < heights[0] < 0.6 * inset < heights[1]


def test_a_small_face_that_comes_later_is_found_and_none_is_made_up(shared: Path):
    alone, both = _picture(shared, None), _picture(shared, 200)
    with Landmarker(shared / "models" / MODEL_NAME) as landmarker:
        assert {len(landmarker(alone)) for _ in range(40)} == {1}
        seen = [len(landmarker(both)) for _ in range(RARELY + 1)]
        assert seen[-1] == 2
        assert len(landmarker(alone)) == 1


def test_what_is_too_small_to_be_read_is_left_out_beside_a_large_face(shared: Path):
    with Landmarker(shared / "models" / MODEL_NAME) as landmarker:
        assert {len(landmarker(_picture(shared, 80))) for _ in range(3)} == {1}
