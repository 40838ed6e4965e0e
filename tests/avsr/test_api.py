"""The Python interface: what is wrong with a call is one line, an AvsrError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import avsr
from avsr.decoding import language
from avsr.model import checkpoint
from avsr.transcribing import writers
from avsr.transcribing.transcribe import Recogniser, Segment, Transcript, Word

WRONG = [
    None,
    1,
    1.5,
    True,
    b"x",
    b"\xff",
    "x",
    "",
    [],
    {},
    (),
    object(),
    np.zeros(3),
    "\0",
    "x" * 5000,
]
RIGHT = {
    "write format": [None],
    "language": [None],
    "beam": [None, 1],
    "lm": [None],
    "reader": [None],
    "transcribe_many": [[], (), {}],
}
SAID = Transcript(
    "a.mp4",
    "fake",
    1.0,
    [Segment(0.0, 1.0, "a", 0.9, None, 1.0, 1.0, [Word("a", 0.0, 1.0, 0.9, 0.5)])],
)


@pytest.fixture(scope="module")
def model() -> Recogniser:
    return avsr.load_model(device=torch.device("cpu"))


def fail(outcome: Transcript | Exception) -> None:
    assert isinstance(outcome, Exception)
    raise outcome


CALLS = {
    "load_model": lambda model, folder, x: avsr.load_model(x),
    "device": lambda model, folder, x: avsr.load_model(device=x),
    "model.transcribe": lambda model, folder, x: model.transcribe(x),
    "modality": lambda model, folder, x: model.transcribe("none.mp4", modality=x),
    "beam": lambda model, folder, x: model.with_decoding(x),
    "language": lambda model, folder, x: model.with_decoding(language=x),
    "face": lambda model, folder, x: model.transcribe("none.mp4", face=x),
    "speakers": lambda model, folder, x: model.transcribe("none.mp4", speakers=x),
    "speakers of many": lambda model, folder, x: fail(
        next(model.transcribe_many(["none.mp4"], speakers=x))
    ),
    "reader": lambda model, folder, x: model.transcribe("none.mp4", reader=x),
    "audio_track": lambda model, folder, x: model.transcribe("none.mp4", audio_track=x),
    "transcribe_many": lambda model, folder, x: fail(next(model.transcribe_many(x))),
    "progress": lambda model, folder, x: model.transcribe("none.mp4", progress=x),
    "clip": lambda model, folder, x: model.recognise([x]),
    "lm": lambda model, folder, x: language.load(x),
    "lm_weight": lambda model, folder, x: language.load("none.arpa", lm_weight=x),
    "write format": lambda model, folder, x: writers.write(SAID, folder / "a.txt", format=x),
    "write transcript": lambda model, folder, x: writers.write(x, folder / "a.txt"),
    "load device": lambda model, folder, x: checkpoint.load("default", x),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_value_is_one_line(name: str, model: Recogniser, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in WRONG:
        if any(type(value) is type(right) and value == right for right in RIGHT.get(name, [])):
            continue
        with pytest.raises(avsr.AvsrError) as error:
            CALLS[name](model, tmp_path, value)
        assert "\n" not in str(error.value)


def test_what_makes_sense_works(model: Recogniser, tmp_path: Path, shared: Path):
    clip = shared / "data/grid/s1/bbaf2n.mp4"
    said = model.transcribe(clip, face=np.int64(0), audio_track=np.int64(1))
    assert said == model.transcribe(clip, face=0, audio_track=1)
    assert model.with_decoding(np.int64(4)).decoding.beam == 4
    assert model.with_decoding(language="grid").decoding.language.name == "grid"
    with pytest.raises(avsr.AvsrError, match="'8': must be a whole number"):
        model.with_decoding("8")
    with pytest.raises(avsr.AvsrError, match="'all' is 6 files"):
        writers.write(SAID, tmp_path / "a.txt", format="all")
    assert writers.write(SAID, bytes(tmp_path / "a.txt")).read_text() == "a\n"
    assert writers.write(SAID, str(tmp_path / "a.vtt")).read_text().startswith("WEBVTT")


def test_a_transcript_is_not_written_over_its_recording(tmp_path: Path):
    film = tmp_path / "film.txt"
    film.write_text("a recording")
    said = Transcript(str(film), "fake", 1.0, SAID.segments)
    with pytest.raises(avsr.AvsrError, match="recording itself"):
        writers.write(said, tmp_path / "." / "film.txt")
    assert film.read_text() == "a recording"


def test_what_progress_raises_ends_the_call(model: Recogniser, tmp_path: Path):
    """Which is how a program cancels it."""
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    told: list[float] = []

    def stop(done_s: float, of_s: float) -> None:
        told.append(done_s)
        raise TimeoutError("nobody waits any more")

    with pytest.raises(TimeoutError, match="nobody waits"):
        model.transcribe(path, progress=stop)
    assert len(told) == 1
