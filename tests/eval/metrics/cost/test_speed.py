"""The bench times every step it can, says which it could not, and names the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import peak_memory_mb
from avsr.eval.metrics.cost import speed
from avsr.eval.metrics.cost.speed import Machine, Stopwatch, bench
from avsr.preprocessing.clip import Clip
from avsr.transcribing.transcribe import load_model


class Fake:
    """Takes a millisecond for a clip and writes down how it was asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def recognise(self, clips: Sequence[Clip], modality: str = "auto") -> list[SimpleNamespace]:
        self.asked.add(modality)
        time.sleep(0.001)
        return [SimpleNamespace(text="") for _ in clips]

    def transcribe(self, path: Path) -> None:
        self.asked.add("whole")
        time.sleep(0.001)


def test_steps_are_set_against_their_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]

    def takes(seconds: float) -> None:
        now_s[0] += seconds

    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    watch = Stopwatch(repeats=3)
    watch.time("quick", 50, lambda: takes(0.01))
    watch.time("slow", 50, lambda: takes(0.04), against="quick")
    watch.time("lonely", 50, lambda: None, against="never timed")
    quick, slow, lonely = watch.rows
    assert (quick.reference, quick.ratio) == ("quick", 1)
    assert slow.reference == "quick"
    assert slow.ratio == pytest.approx(1 / 4)
    assert slow.frames_per_s == pytest.approx(50 / slow.seconds)
    assert slow.real_time_factor == pytest.approx(slow.seconds / 2)
    assert lonely.reference == "lonely"


def test_a_step_that_takes_long_runs_once() -> None:
    calls = []
    Stopwatch(repeats=3).time("long", 1, lambda: calls.append(1), once=True)
    assert len(calls) == 1


def test_the_machine_is_named() -> None:
    machine = Machine.here()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.threads >= 1
    assert f"torch {machine.torch}" in str(machine)
    assert peak_memory_mb() > 10


def test_every_step_of_a_real_clip_is_timed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    fake = Fake()
    result = bench(shared / "data" / "grid" / "s1" / "bbaf2n.mp4", recogniser=fake, repeats=1)
    steps = [row.step for row in result.rows]
    assert steps == [
        "decode",
        "landmarks, every frame",
        "landmarks, adaptive",
        "crops",
        "log-mel",
        "network, audio + video",
        "network, audio only",
        "network, video only",
        "transcribe, file to words",
    ]
    assert result.rows[2].reference == "landmarks, every frame"
    assert result.rows[2].ratio > 0
    assert result.notes == []
    assert fake.asked == {"av", "audio", "video", "whole"}
    text = result.to_markdown()
    assert text == str(result)
    assert all(step in text for step in steps)


def test_sound_alone_is_timed_as_far_as_it_goes(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    np = pytest.importorskip("numpy")
    soundfile.write(tmp_path / "hum.wav", 0.1 * np.sin(np.arange(32_000) / 20), 16_000)
    result = bench(tmp_path / "hum.wav", recogniser=Fake(), repeats=1)
    assert [row.step for row in result.rows] == [
        "decode",
        "log-mel",
        "network, audio only",
        "transcribe, file to words",
    ]
    assert any("no picture" in note for note in result.notes)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AvsrError):
        bench(tmp_path / "none.mp4", recogniser=Fake())


def test_the_log_mel_that_is_timed_is_the_recognisers_own() -> None:
    recogniser, steps, heard_in = load_model(), [], set()
    recogniser.model.audio_frontend.mel.register_forward_hook(lambda *_: heard_in.add(steps[-1]))
    bench(recogniser=recogniser, repeats=1, progress=steps.append)
    assert "log-mel" in heard_in
