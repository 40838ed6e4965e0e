"""Whole calls are timed in processes of their own, their stages add up, and files of any length are
made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr.eval.metrics.cost.calls import STAGES, StageClock, repeat, time_calls, to_markdown
from avsr.preprocessing.media.streams import probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from avsr.preprocessing.synthetic.corpus import make_clip

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, seed=0)
    return path


def test_a_clip_is_repeated_to_a_length(clip: Path, tmp_path: Path) -> None:
    once, often = probe(clip), probe(repeat(clip, tmp_path / "long.mp4", 20))
    assert often.duration_s == pytest.approx(20, abs=once.duration_s)
    assert (often.width, often.fps) == (once.width, pytest.approx(once.fps, rel=0.05))


def test_a_stage_within_a_stage_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    timer = SimpleNamespace(perf_counter=lambda: now_s[0])
    monkeypatch.setattr("avsr.eval.metrics.cost.calls.time", timer)
    clock = StageClock()
    with clock.stage("outer"):
        now_s[0] += 0.02
        with clock.stage("inner"):
            now_s[0] += 0.05
    assert clock.seconds == pytest.approx({"inner": 0.05, "outer": 0.02})


@pytest.mark.slow
def test_a_call_is_split_into_its_stages(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avsr.eval.metrics.cost.calls.LENGTHS_S", (3,))
    calls = time_calls(clip, tmp_path)
    assert [(call.lips, call.busy) for call in calls] == [
        (True, False),
        (False, False),
        (True, True),
        (False, True),
    ]
    with_lips, sound_only = calls[:2]
    assert with_lips.stages.keys() <= set(STAGES)
    for stage in (
        "start-up",
        "opening",
        "decoding",
        "landmarks",
        "crops",
        "network",
        "decoding to words",
        "writing",
    ):
        assert with_lips.stages[stage] > 0, stage
    assert not {"landmarks", "crops"} & sound_only.stages.keys()
    assert 0 < with_lips.stages["start-up"] < with_lips.seconds
    assert with_lips.peak_mb > 100
    assert to_markdown(calls).count("\n") >= 5
