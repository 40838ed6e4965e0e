"""What a run leaves in its folder, and runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import TINY

from avsr.base.errors import AvsrError
from avsr.base.inputs import digest
from avsr.cli import main
from avsr.model import checkpoint
from avsr.training.tools.runs import find_runs, plot, table
from avsr.training.train import train

SHORT = [
    *TINY,
    "devices=1",
    "log_every=1",
    "optim.steps=3",
    "save_every=1",
    "val_every=2",
    "keep=2",
]


def test_runs_of_one_seed_are_one_run_and_are_told_beside_others(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    data = [corpus(), corpus(split="val")]

    def go(name: str, *more: str) -> list[str]:
        lines: list[str] = []
        train("grid-tiny", data, tmp_path / "runs" / name, False, [*SHORT, *more], lines.append)
        losses = [line.partition(" lr ")[0] for line in lines if line.startswith("step ")]
        assert len(losses) == 4  # one of error rates
        return losses

    first = go("first")
    assert go("again") == first
    assert go("other", "seed=1") != first

    out = tmp_path / "runs" / "first"
    start = json.loads((out / "run.json").read_text())["starts"][0]
    assert (start["seed"], start["step"], start["device"]) == (0, 0, "1 x cpu")
    index = (data[0] / "index.json").read_bytes()
    assert start["data"][str(data[0])] == digest([index])
    assert {"python", "torch", "avsr"} <= start["versions"].keys()
    assert "git" in start
    kept = sorted(path.name for path in out.glob("*.safetensors"))
    assert kept == [
        "best.safetensors",
        "model.safetensors",
        *(f"step-{i:07d}.safetensors" for i in (2, 3)),
    ]
    assert checkpoint.load(out / "best.safetensors")[1]["step"] == 2

    found = find_runs([tmp_path / "runs"])
    head, _, *lines = table(found).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:4]] == ["run", "seed", "step"]
    assert [line.split("|")[1].strip() for line in lines] == ["again", "first", "other"]
    assert all(" 3/3 " in line for line in lines)
    assert found[1].seconds > 0
    assert found[1].best("wer/both") is not None
    pytest.importorskip("matplotlib")
    assert plot(found).startswith("<svg")
    with pytest.raises(AvsrError, match=r"no run and no folder of runs"):
        find_runs([data[0]])


def test_what_is_beside_runs_is_told_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, config in (
        ("a", '{"optim": {"steps": 9}}'),
        ("b", '{"architectures": []}'),
        ("c", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "a" / "tensorboard").mkdir()
    (tmp_path / "a" / "tensorboard" / "events.out.tfevents.1.x").write_bytes(b"cut off" * 99)
    (tmp_path / "empty").mkdir()
    assert main(["runs", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert [line.split()[1] for line in told.out.splitlines()[2:]] == ["a"]
    assert "b/config.json: is no recipe of a run: leave it out" in told.err
    assert "c/config.json: cannot be read" in told.err
    assert main(["runs", str(tmp_path / "a"), "--plot", str(tmp_path / "no" / "x.svg")]) == 1
    assert f"avsr: {tmp_path}/no/x.svg: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("config", ["{}", "[]", '{"optim": 3}'])
def test_a_recipe_of_something_else_is_no_run(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(AvsrError, match="is no recipe of a run"):
        find_runs([tmp_path])
