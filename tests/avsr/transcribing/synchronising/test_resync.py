"""A film is put right where its offset is certain throughout, and left alone otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avsr import cli, sync
from avsr.preprocessing.media.copies import shifted
from avsr.preprocessing.reader import stream_clips
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.recognisers import ours
from avsr.sync import Embedding
from avsr.transcribing.synchronising import resync
from avsr.transcribing.synchronising.resync import judge

RNG = np.random.default_rng(0)


def part(lag: int, frames: int = 200, speaking: int = 150, noise: float = 0.0) -> Embedding:
    """Lips, and sound that says the same so many frames later."""
    video = RNG.normal(size=(frames, 32))
    audio = np.roll(video, lag, 0) + noise * RNG.normal(size=(frames, 32))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (audio, video)]
    there = np.ones(frames, bool)
    return Embedding("x", *unit, there, there, np.arange(frames) < speaking)


@pytest.mark.parametrize("lag", [-25, -4, 10])
def test_an_offset_that_is_the_same_throughout_is_put_right(lag: int):
    found = judge([part(lag), part(lag + 1), part(lag)])
    assert found.offset_s == pytest.approx(lag / 25, abs=0.05)
    assert "the sound came" in found.told


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "hardly ever there together"),
        ([part(10, speaking=0)], "hardly ever there together"),
        ([part(10, noise=9.0)], "not certain"),
        ([part(1), part(1)], "synchronised to within 0.08 s"),
        ([part(10), part(10), part(-10)], "the offset changes: it is 0.40 s mostly and -0.40 s"),
        ([part(4, frames=90, speaking=70)], "2.80 s of speech are too little"),
    ],
)
def test_what_is_not_certain_is_left_alone(parts: list[Embedding], told: str):
    found = judge(parts)
    assert found.offset_s is None
    assert told in found.told


def test_the_command_writes_a_copy_that_is_synchronised(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    monkeypatch.setattr(resync, "FEWEST_FRAMES", 25)  # the film is short
    film, late = tmp_path / "film.mp4", tmp_path / "late.mp4"
    make_clip(film, seed=0)
    shifted(film, late, 0.4)
    out = tmp_path / "out"
    arguments = ["transcribe", str(film), str(late), "-o", str(out), "--fix-sync", "--burn"]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().err
    assert "film.mp4: no synchronised copy: sound and lips are synchronised" in told
    assert "late.mp4: the sound came 0.40 s after the lips: put right in" in told
    copies = {"film.captions.mp4", "late.captions.mp4", "late.synced.mp4"}
    assert {path.name for path in out.iterdir()} == copies | {"film.txt", "late.txt"}
    found = sync.offset_of(ours.load("default"), stream_clips(out / "late.synced.mp4"))
    assert found is not None
    assert abs(found.frames) <= 1


def test_a_copy_needs_a_folder_and_replaces_nothing(tmp_path: Path, capsys):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    assert cli.main(["transcribe", str(film), "--fix-sync"]) == 2
    assert "needs a folder: give it with -o DIR" in capsys.readouterr().err
    (tmp_path / "film.synced.mp4").write_text("mine")
    assert cli.main(["transcribe", str(film), "--fix-sync", "-o", str(tmp_path)]) == 2
    assert "film.synced.mp4 is there already" in capsys.readouterr().err
