"""What a clip must be like to be kept, the report about those that are there, and how long a clip
may take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from avsr.base.errors import AvsrError, MediaError
from avsr.cli import main
from avsr.preprocessing import reader
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.prepare import prepare
from avsr.preprocessing.preparing.quality import Limits, measure, reason_against, report
from avsr.preprocessing.preparing.timelimit import time_limit
from avsr.preprocessing.shards import ShardIndex


def clip(frames: int = 50, seen: float = 1.0, scale: float = 1.0, text: str | None = "ab") -> Clip:
    """A clip with a mouth in the first part of it, `scale` times as large as its crop."""
    present = np.arange(frames) < frames * seen
    return Clip(
        "a",
        np.zeros(frames * SAMPLES_PER_FRAME, np.float32),
        np.full((frames, CROP_SIZE, CROP_SIZE), 99, np.uint8),
        np.ones(frames, bool),
        present,
        text=text,
        quality=np.where(present, scale, 0).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("limits", "bad", "reason"),
    [
        (Limits(face_share=0.8), clip(seen=0.5), "a face in 50% of its frames, at least 80%"),
        (Limits(mouth_px=30), clip(scale=0.5), "its mouth is 22 pixels wide, at least 30"),
        (Limits(mouth_px=30), clip(seen=0), "its mouth is 0 pixels wide"),
        (Limits(most_rate=20), clip(text="x" * 50), "25.0 characters of text a second, 0 to 20"),
        (Limits(least_rate=2), clip(text="x"), "0.5 characters of text a second, 2 to inf"),
        (Limits(sync=0.3), clip(scale=0.2), "sound and lips fit by 0.20, at least 0.3"),
        (Limits(sync=0.3), clip(text=None), "sound and lips cannot be compared"),
    ],
)
def test_a_clip_that_is_not_as_asked_for_is_named(limits: Limits, bad: Clip, reason: str) -> None:
    def fit(clip: Clip) -> float | None:
        return None if clip.text is None or clip.quality is None else float(clip.quality[0])

    assert reason in (reason_against(bad, limits, fit) or "")
    assert reason_against(bad, Limits(), fit) is None
    assert reason_against(clip(), limits, fit) is None or limits.least_rate == 2


def test_a_text_that_says_nothing_has_no_rate() -> None:
    assert reason_against(clip(text=""), Limits(least_rate=5)) is None
    assert reason_against(clip(text=None), Limits(least_rate=5)) is None


@pytest.mark.parametrize(
    "values", [{"face_share": 1.5}, {"mouth_px": -1}, {"least_rate": 9, "most_rate": 3}]
)
def test_limits_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(AvsrError):
        Limits(**values)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six recordings, the k-th of which shows a mouth in k fifths of its frames."""
    src = tmp_path / "src"
    src.mkdir()
    for number in range(6):
        (src / f"{number}.mp4").touch()
        (src / f"{number}.txt").write_text("good day")

    def load(path: Path, *, id: str, text: str, **_: object) -> Clip:
        if id == "5" and os.environ.get("SLOW"):
            time.sleep(600)
        return replace(clip(seen=int(id) / 5, scale=1 + int(id), text=text), id=id)

    monkeypatch.setattr(reader, "load_clip", load)
    return src


def test_limits_leave_clips_out_by_name_and_belong_to_the_shards(
    tmp_path: Path, source: Path
) -> None:
    dst = tmp_path / "dst"
    limits = Limits(face_share=0.5, mouth_px=170)
    summary = prepare("folder", source, dst, workers=0, limits=limits, max_loss=0.7)
    index = ShardIndex(dst)
    assert summary.clips == 3
    assert [entry.id for entry in index.entries] == ["3", "4", "5"]
    assert index.info["made_from"]["limits"] == {"face_share": 0.5, "mouth_px": 170}
    assert [row["source"] for row in index.info["skipped"]] == ["0.mp4", "1.mp4", "2.mp4"]
    with pytest.raises(AvsrError, match=r"other settings .limits"):
        prepare("folder", source, dst, workers=0, limits=Limits(face_share=0.4))
    with pytest.raises(AvsrError, match=r"other settings .limits"):
        prepare("folder", source, dst, workers=0)


def test_the_report_tells_what_clips_are_like_and_why_others_are_not_there(
    tmp_path: Path, source: Path
) -> None:
    dst = tmp_path / "dst"
    words = f"prepare folder {source} {dst} --workers 0 --min-face 0.5 --report"
    assert main(words.split()) == 1  # half of the clips are too many
    told = (dst / "quality.md").read_text()
    assert "3 clips" in told
    assert "| share of frames with a mouth | 0.60 |" in told
    assert "- 3: a face in ... of its frames, at least ... is asked for" in told
    sheet = cv2.imread(str(dst / "contact-sheet.png"))
    assert sheet.shape[0] > 3 * CROP_SIZE
    assert (sheet == 99).any()
    (dst / "quality.md").write_text("of the shards that are there")
    assert main(f"{words} --min-mouth 1".split()) == 1  # refused: other settings
    assert (dst / "quality.md").read_text() == "of the shards that are there"
    assert main([*words.split(), "--max-skipped", "0.5"]) == 0
    assert (dst / "quality.md").read_text() == told


def test_measures_are_those_of_the_shards(tmp_path: Path, source: Path) -> None:
    prepare("folder", source, tmp_path / "dst", workers=0)
    index = ShardIndex(tmp_path / "dst")
    found = measure(index)
    assert found[0].mouth_px is None
    assert (found[5].mouth_px, found[5].face_share, found[5].rate) == (270.0, 1.0, 4.0)
    assert "Nothing." in report(index, found)


def test_a_clip_that_takes_too_long_is_left_out(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "1")
    began = time.monotonic()
    prepare("folder", source, tmp_path / "dst", workers=0, clip_limit_s=2.0)
    assert time.monotonic() - began < 600
    (row,) = ShardIndex(tmp_path / "dst").info["skipped"]
    assert row == {"source": "5.mp4", "reason": "took longer than 2 s"}


def forever() -> None:
    while True:
        pass


def test_time_limit_ends_python_and_leaves_alarms_as_they_were() -> None:
    with pytest.raises(MediaError, match=r"took longer than 0\.05 s"), time_limit(0.05):
        forever()
    with time_limit(60):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


HANGS = """
import ctypes, sys
import numpy as np
from avsr.preprocessing import reader
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.prepare import prepare

def hang(library):
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

def load_clip(path, *, id, text, **_):
    if id == "1":
        hang(ctypes.CDLL(None))
    if id == "3":
        hang(ctypes.PyDLL(None))  # and lets no thread of Python run
    present = np.ones(3, bool)
    lips = np.zeros((3, 96, 96), np.uint8)
    return Clip(id, np.zeros(3 * 640, np.float32), lips, present, present, text=text)

reader.load_clip = load_clip

if __name__ == "__main__":
    print(prepare("folder", sys.argv[1], sys.argv[2], workers=2, clip_limit_s=3.0, max_loss=0.5))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pthreads")
def test_a_library_that_hangs_costs_its_clip_alone(tmp_path: Path, source: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    command = [sys.executable, str(script), str(source), str(tmp_path / "dst")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "4 clips" in run.stdout, run.stderr
    skipped = ShardIndex(tmp_path / "dst").info["skipped"]
    reasons = {row["source"]: row["reason"] for row in skipped}
    assert set(reasons) == {"1.mp4", "3.mp4"}
    assert reasons["1.mp4"] == "took longer than 3 s"
    assert "killed the process" in reasons["3.mp4"]
