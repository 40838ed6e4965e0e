"""What a run needs, before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import TEXTS, TINY, make_clip
from typer.testing import CliRunner

from avsr.cli.program import app
from avsr.training.data.cache import FRAME_BYTES
from avsr.training.tools.estimate import estimate

LONG = [*TINY, "devices=1", "data.join=0", "optim.steps=1000", "val_every=100", "save_every=300"]


def test_the_largest_batch_the_speed_and_the_hours(
    corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clips = [make_clip(i, text) for i, text in enumerate(TEXTS)]
    folder = corpus([*clips, make_clip(9, "bin a", frames=70)])
    lines: list[str] = []
    found = estimate("grid-tiny", [folder, corpus(split="val")], LONG, 1, lines.append)
    assert (found.clips, found.steps, found.validations, found.savings) == (7, 1000, 10, 4)
    assert found.largest == (1, 70)
    assert found.step_s > 0
    assert 0 <= found.waiting < 1
    assert found.validation_s > 0
    assert found.total_s > 1000 * found.step_s
    assert found.memory_gb > 0.1
    assert found.clips_gb == pytest.approx(sum([70, *[16] * 6]) * FRAME_BYTES / 1e9, rel=0.01)
    text = str(found)
    assert "largest batch: 1 clips, 70 frames" in text
    assert "estimate:" in text
    assert any("7 clips" in line for line in lines)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_is_of_a_run_that_begins() -> None:
    told = CliRunner().invoke(app, ["train", "grid-tiny", "--dry-run", "--resume"])
    assert told.exit_code != 0
