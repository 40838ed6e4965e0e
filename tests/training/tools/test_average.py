"""Averages of two checkpoints lie between them, and only fitting ones are averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avsr.base.errors import AvsrError, UsageError
from avsr.cli import main
from avsr.model import checkpoint
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.training.run.running import Follower
from avsr.training.tools.average import average


def network(dim: int = 32, seed: int = 0, per_frame: int = 1) -> AVSR:
    torch.manual_seed(seed)
    config = ModelConfig(
        tokens=("<blank>", "a", "b"), crop=32, dim=dim, heads=2, outputs_per_frame=per_frame
    )
    return AVSR(config).eval()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_lies_between(share: float) -> None:
    first, second = network(seed=1), network(seed=2)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    mixed = average(first, second, share).state_dict()
    for name, value in second.state_dict().items():
        expected = before[name].lerp(value, share) if value.is_floating_point() else value
        torch.testing.assert_close(mixed[name], expected)
        assert torch.equal(first.state_dict()[name], before[name])


def test_the_running_average_moves_every_weight_as_one_by_one() -> None:
    model, together, alone = (network(seed=seed) for seed in (1, 2, 2))
    follower = Follower(together, model)
    for share in (0.9, 0.1, 1e-3):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.mul_(3)
            follower.follow(share)
            for mean, value in zip(
                alone.state_dict().values(), model.state_dict().values(), strict=True
            ):
                mean.lerp_(value, share) if mean.is_floating_point() else mean.copy_(value)
        for name, value in alone.state_dict().items():
            assert torch.equal(together.state_dict()[name], value), name


def test_a_successor_may_have_more_outputs_a_frame() -> None:
    first, second = network(seed=1), network(seed=2, per_frame=2)
    half = average(first, second, 0.5).head.weight
    torch.testing.assert_close(half, (first.head.weight.repeat(2, 1) + second.head.weight) / 2)
    with pytest.raises(AvsrError, match="differ in size"):
        average(second, first, 0.5)


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AvsrError, match="differ in size"):
        average(network(), network(dim=48), 0.5)
    with pytest.raises(UsageError, match="must be 0"):
        average(network(), network(), 1.5)


def test_the_tool_writes_a_checkpoint_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        checkpoint.save(tmp_path / f"{name}.safetensors", network(seed=seed), {"step": seed})
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "c")]
    assert main(["average", *paths, "--share", "0.5"]) == 0
    model, info = checkpoint.load(paths[2])
    assert (info["step"], info["averaged_share"]) == (2, 0.5)
    half = (network(seed=1).head.weight + network(seed=2).head.weight) / 2
    torch.testing.assert_close(model.head.weight, half)
    assert main(["average", *paths, "--share", "2"]) == 2
    assert main(["average", str(tmp_path / "none.safetensors"), *paths[1:]]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert all(line.startswith("avsr: ") for line in errors)
