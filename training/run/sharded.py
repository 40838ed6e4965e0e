"""Weights, gradients and optimiser parted among the processes of a run: FSDP2 through Fabric.

Each process keeps a share of every tensor. What a run saves is whole, in the form that one process
saves, so that a run may go on with another number of processes or the other strategy.

The method: Zhao et al. 2023, PyTorch FSDP; Rajbhandari et al. 2020, ZeRO.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from avsr.model.layers.blocks import ConformerBlock


def strategy(processes: int) -> Any:
    """Fabric's strategy for so many processes, all of which part the model among them."""
    from lightning.fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(_parted, data_parallel_size=processes, tensor_parallel_size=1)


def _parted(objective: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Parts each block by itself, and with the objective all that is in no block.

    All processes must gather the same tensors in the same order. Every block is called in every
    step; what may be left out of a step, such as the picture network where there are no pictures,
    is in no block.
    """
    processes = mesh["data_parallel"]
    objective.register_forward_hook(_touch)
    for module in objective.modules():
        if isinstance(module, ConformerBlock):
            fully_shard(module, mesh=processes)
    fully_shard(objective, mesh=processes)
    return objective


def _touch(module: nn.Module, _: Any, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives every tensor outside the blocks a gradient, nought where it played no part: what the
    processes add up is of the same size in each."""
    whole = [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    return losses | {"total": losses["total"] + 0 * sum(p.sum() for p in whole)}


def whole(values: Any) -> Any:
    """The same dictionary with every parted tensor whole, on the CPU; all processes must ask."""
    if isinstance(values, dict):
        return {key: whole(value) for key, value in values.items()}
    return values.full_tensor().cpu() if isinstance(values, DTensor) else values


def parted_like(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor as another one is kept: this process's share of it, or all."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)


def own_share(value: Tensor) -> Tensor:
    """The part of a tensor that lies in this process; all of it where it is not parted."""
    return value.to_local() if isinstance(value, DTensor) else value


def fitted_moments(state: dict[int, Any], optimizer: torch.optim.Optimizer) -> dict[int, Any]:
    """Moments of a saved optimiser, parted as this one's parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        i: {
            name: parted_like(value, parameters[i]) if value.ndim else value
            for name, value in values.items()
        }
        for i, values in state.items()
    }
