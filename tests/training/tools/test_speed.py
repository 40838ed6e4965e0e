"""The bench of training times every step and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy import TINY

from avsr.cli import main
from avsr.training.tools.speed import flops, measure


def test_reading_augmentation_and_network_are_timed(
    corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scratch = corpus(), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    found = measure("grid-tiny", [folder], TINY, batches=3)  # a recipe for two processes
    assert not list(scratch.rglob("dropped.txt"))  # the first that a run writes
    assert "LOCAL_RANK" not in os.environ
    assert list(found.clips_per_s) == ["reading", "augmentation", "network"]
    assert min(found.clips_per_s.values()) > 0
    assert found.frames_per_cpu_s > found.shown_per_cpu_s > 0
    for kind in ("convolutions", "matrix products", "CTC", "optimiser, gradient norm, average"):
        assert found.shares[kind] > 0
    assert found.shares["other arithmetic"] < 0.5
    assert found.seconds_per_clip == pytest.approx(16 / 25, rel=0.5)
    wider = measure("grid-tiny", [folder], [*TINY, "model.ff_mult=8"], batches=3)
    assert wider.gflop > found.gflop


def test_operations_are_counted_as_by_hand() -> None:
    batch, width, kernel, steps = 2, 8, 3, 10
    depthwise = torch.nn.Conv1d(width, width, kernel, padding=1, groups=width)
    x = torch.randn(batch, width, steps, requires_grad=True)
    once = 2 * batch * steps * width * kernel
    # forward, gradient of x, of the weights
    assert flops(lambda: depthwise(x).sum().backward()) == 3 * once
    assert flops(lambda: depthwise(x.detach()).sum().backward()) == 2 * once
    query = torch.randn(2, 4, 6, 16)  # B, H, T, D
    with torch.no_grad():
        count = flops(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert count == 2 * (2 * 2 * 4 * 6 * 6 * 16)


def test_the_command_prints_what_was_measured_once(
    corpus: Callable[..., Path], capfd: pytest.CaptureFixture
) -> None:
    more = [part for value in TINY for part in ("--set", value)]
    assert (
        main(["bench", "--recipe", "grid-tiny", "--data", str(corpus()), *more, "--batches", "2"])
        == 0
    )
    out = capfd.readouterr().out
    assert out.count("\naugmentation ") == 1
    assert "GFLOP a clip" in out


def test_mistakes_are_one_line(corpus: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    for arguments, status in ((["no-such"], 1), (["grid-tiny", "--batches", "1"], 2)):
        assert main(["bench", "--recipe", *arguments, "--data", str(corpus())]) == status
        assert capsys.readouterr().err.count("\n") == 1
