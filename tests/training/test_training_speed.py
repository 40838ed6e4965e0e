"""The bench of training times every step and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avsr.preprocessing.errors import AvsrError
from avsr.training.speed import main, measure

SMALL = [
    "model.crop=32",
    "model.dim=32",
    "model.heads=2",
    "model.video_width=4",
    "model.audio_width=4",
    "data.max_frames=75",
    "optim.precision=32-true",
]


def test_reading_augmentation_and_network_are_timed(corpus: Callable[..., Path], tmp_path: Path) -> None:
    folder = corpus()
    before = sorted(tmp_path.rglob("*"))
    found = measure("grid-tiny", [folder], SMALL, batches=3)
    assert sorted(tmp_path.rglob("*")) == before
    assert list(found.clips_per_s) == ["reading", "augmentation", "network"]
    assert min(found.clips_per_s.values()) > 0
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["convolutions"] > 0
    assert found.shares["matrix products"] > 0
    assert found.shares["optimiser, gradient norm, average"] > 0
    assert found.gflop > 0
    assert found.floor > found.clips_per_s["network"]
    wider = measure("grid-tiny", [folder], [*SMALL, "model.dim=64"], batches=2)
    assert wider.gflop > found.gflop


def test_the_command_prints_what_was_measured(corpus: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    more = [part for value in SMALL for part in ("--set", value)]
    assert main(["grid-tiny", "--data", str(corpus()), *more, "--batches", "2"]) == 0
    out = capsys.readouterr().out
    assert "\naugmentation " in out
    assert "GFLOP a clip" in out


def test_mistakes_are_one_line(corpus: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    assert main(["no-such", "--data", str(corpus())]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(AvsrError, match="take at least 2"):
        measure("grid-tiny", [corpus()], SMALL, batches=1)
