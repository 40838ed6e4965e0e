"""avsr live: what is printed, and what a machine without devices says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr import cli
from avsr.decoding.words import Hypothesis, Word
from avsr.live import session
from avsr.preprocessing.media import arriving
from avsr.recognisers.base import Recogniser


class Parrot(Recogniser):
    """Says one word of half a second from where its clip begins."""

    name, sha256, modalities = "parrot", "0", ("audio",)

    def recognise(self, clips, modality):
        said = [Word("hello", clip.start_s, clip.start_s + 0.5, 0.9, 1.0) for clip in clips]
        return [Hypothesis(word.word, [word], 0.9) for word in said]

    @staticmethod
    def activity(clip):
        loud = np.abs(clip.audio[::640]) > 0.1
        return loud, loud


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("avsr.transcribing.transcribe.load_model", lambda *_: Parrot())
    path = tmp_path / "a.wav"
    samples = np.zeros(16_000, np.float32)
    samples[3200:9600] = 0.3
    soundfile.write(path, samples, 16_000, subtype="PCM_16")
    return path


def test_lines_are_printed_and_the_latency_told(sound: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["live", str(sound), "--step", "0.2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == ["0:00.0", "hello"]
    assert "after they were said" in shown.err


def test_json_has_a_line_for_each_change(sound: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["live", str(sound), "--json", "--step", "0.2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [word["word"] for line in lines for word in line["final"]] == ["hello"]
    assert lines[-1]["ended"]


def test_a_machine_without_devices_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arriving, "FORMATS", {})
    assert cli.main(["live"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_and_a_device_are_not_both(sound: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["live", str(sound), "--camera", "0"]) == 2
    assert "not both" in capsys.readouterr().err


def test_ctrl_c_is_the_usual_end_and_tells_the_latency_too(
    sound: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    captioned = session.live

    def stopped(*asked):
        for caption in captioned(*asked):
            yield caption
            if caption.final:
                raise KeyboardInterrupt

    monkeypatch.setattr(session, "live", stopped)
    assert cli.main(["live", str(sound), "--step", "0.2"]) == 130
    latency, interrupted = capsys.readouterr().err.splitlines()
    assert "after they were said" in latency
    assert interrupted == "avsr: interrupted"


def test_a_file_without_what_is_asked_for_is_one_line(
    sound: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["live", str(sound), "--modality", "video"]) == 1
    assert "a.wav: no picture, which modality 'video' needs" in capsys.readouterr().err


def test_an_adapter_goes_with_the_model(sound: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = []

    def load_model(name, device):
        loaded.append(name)
        return Parrot()

    monkeypatch.setattr("avsr.transcribing.transcribe.load_model", load_model)
    assert cli.main(["live", str(sound), "--adapter", "ann a.safetensors"]) == 0
    assert loaded == ["default?adapter=ann%20a.safetensors"]


@pytest.mark.parametrize("model", ["whisper-base", "default+whisper-base", "python:mine:Asr"])
def test_an_adapter_of_no_network_of_ours_is_one_line(
    sound: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["live", str(sound), "--model", model, "--adapter", "a.safetensors"]) == 2
    assert f"model {model!r} is none: leave one of the two out" in capsys.readouterr().err
