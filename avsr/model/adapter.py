"""Adapters: low-rank changes to a network's weights, in a small file of their own beside it.

A weight (O, I, ...) gets the product of two narrow matrices added, (O, r) and (r, I ...) (LoRA, Hu
et al. 2022). While it is trained, the network's own weights stay as they are; where it is used, the
product is added once and the network is as fast as before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.base.inputs import refuse_endless
from avsr.model.network import AVSR

KEY = "avsr-adapter"  # of the JSON in the file's metadata: about, see write
UP, DOWN = ".up", ".down"  # behind a weight's name, in the file
MOST_MB = 1000


class LowRank(nn.Module):
    """What is added to one weight; nothing at first, as `up` starts at zero."""

    def __init__(self, weight: Tensor, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        outputs_, inputs = weight.flatten(1).shape
        rank = min(rank, outputs_, inputs)
        self.up = nn.Parameter(torch.zeros(outputs_, rank))
        self.down = nn.Parameter(torch.randn(rank, inputs, generator=rng) * inputs**-0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def attach(model: AVSR, parts: Sequence[str], rank: int, seed: int = 0) -> dict[str, LowRank]:
    """Gives the weights of linear maps and convolutions in some parts a change to learn.

    Args:
        model: is changed; all its own weights are frozen.
        parts: names of modules, such as ``video_frontend``.
        rank: r.
        seed: of what the changes start with.

    Returns:
        The change of each weight, by its name in the model.
    """
    rng = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    found: dict[str, LowRank] = {}
    for part in parts:
        for name, module in model.get_submodule(part).named_modules(prefix=part):
            if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                continue
            change = LowRank(module.weight, rank, rng)
            found[f"{name}.weight"] = change.to(module.weight.device)
    for name, change in found.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(module, "weight", change)
    return found


def detach(model: AVSR, names: Sequence[str], keep: bool) -> None:
    """Ends what `attach` began.

    Args:
        model: is changed.
        names: of the weights that have a change.
        keep: the changes stay in the weights; otherwise the model is as it was before.
    """
    for name in names:
        module = model.get_submodule(name.removesuffix(".weight"))
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=keep)


def write(path: Path, changes: dict[str, LowRank], about: dict[str, Any]) -> None:
    """Writes an adapter, whole or not at all, in half precision.

    Args:
        path: the file.
        changes: by the names of the weights.
        about: anything JSON; ``base`` and ``base_sha256`` name the model and its weights.

    Raises:
        AvsrError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {}
    for name, change in changes.items():
        tensors[name + UP] = change.up.detach().half().cpu().contiguous()
        tensors[name + DOWN] = change.down.detach().half().cpu().contiguous()
    try:
        outputs.write(path, [save(tensors, metadata={KEY: json.dumps(about)})])
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be written ({error.strerror}): choose another folder or free space"
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """What an adapter's file says of itself.

    Raises:
        AvsrError: no such file, or no adapter.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise AvsrError(f"adapter {path}: no such file; avsr adapt writes one")
    refuse_endless(path, "adapter", MOST_MB)
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})[KEY])
            return {"base": str(about["base"]), "base_sha256": str(about["base_sha256"]), **about}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise AvsrError(
            f"adapter {path}: not an adapter, or damaged: use a file that avsr adapt wrote"
        ) from error


@torch.no_grad()
def apply(model: AVSR, path: Path, sha256: str) -> dict[str, Any]:
    """Adds an adapter to the weights of the model that it was trained for.

    Args:
        model: is changed.
        path: the adapter.
        sha256: digest of the model's weights, see `checkpoint.weights_sha256`.

    Returns:
        What the adapter says of itself.

    Raises:
        AvsrError: not an adapter, a damaged one, or one of another model.
    """
    from safetensors.torch import load_file

    about = read_about(path)
    if about["base_sha256"] != sha256:
        raise AvsrError(
            f"adapter {path}: was made for {about['base']!r} with other weights than this model: "
            "use it with that model, or adapt this one anew"
        )
    tensors, weights = load_file(path), dict(model.named_parameters())
    for name in sorted(key.removesuffix(UP) for key in tensors if key.endswith(UP)):
        if name not in weights or name + DOWN not in tensors:
            raise AvsrError(f"adapter {path}: damaged, {name} is incomplete: adapt the model anew")
        weight, change = weights[name], _product(tensors[name + UP], tensors[name + DOWN])
        if change.shape != weight.flatten(1).shape or not torch.isfinite(change).all():
            raise AvsrError(f"adapter {path}: damaged at {name}: adapt the model anew")
        weight.add_(change.view_as(weight).to(weight.device))
    return about


def _product(up: Tensor, down: Tensor) -> Tensor:
    """(O, r) by (r, I) -> (O, I); empty where they are not of such shapes."""
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
        return up.new_empty(0)
    return up.float() @ down.float()
