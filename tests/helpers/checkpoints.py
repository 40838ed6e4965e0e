"""Checkpoints of research networks in the forms they come in."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def float32(network) -> dict[str, Tensor]:
    """Its weights as checkpoints have them."""
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }


def units(folder: Path, count: int = 118) -> Path:
    path = folder / "units.txt"
    lines = ["<unk> 1", *(f"\u2581W{number} {number}" for number in range(2, count + 1))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def current(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of today's Auto-AVSR."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("encoder.frontend.", "frontend.")
        renamed[name.replace("encoder.embed.0.", "proj_encoder.")] = tensor
    return renamed


def saved_with_pth(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def saved_as_before_1_6(state: object, path: Path) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def saved_with_safetensors(state: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(state, path)
    return path


def training_checkpoint(state: dict[str, Tensor]) -> dict:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
    return {"epoch": 3, "state_dict": prefixed(state, "model."), "optimizer_states": [optimizer]}
