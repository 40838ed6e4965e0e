"""What a run keeps to be resumed from, and whether it may be resumed from that."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsr.preprocessing.errors import AvsrError
from avsr.training.config import TrainConfig

STATE = "state.ckpt"  # all that resuming needs; our own file, read as tensors only
MODEL = "model.safetensors"
MOST_PROCESSES = 640_000  # devices times nodes, at most: each takes a batch a step
# What a state holds. ``batches`` were taken from the plan so far, by all processes: where in it the run goes on.
KEYS = {"objective": dict, "optimizer": dict, "average": dict, "step": int, "batches": int, "config": str, "data": str}
# What may be another when a run goes on: all of [optim] and what changes neither the network nor the order of clips.
MAY_CHANGE = {
    "devices",
    "nodes",
    "log_every",
    "val_every",
    "val_clips",
    "save_every",
    "data.workers",
    "data.cache_gb",
    "data.max_dropped",
    "data.val_split",
    "augment.noise_dir",
    "augment.rir_dir",
}


def write_state(path: Path, state: dict[str, Any], save: Callable[[Path, dict[str, Any]], None], first: bool) -> None:
    """Writes a state beside its place and renames it.

    Args:
        path: its place.
        state: what ``KEYS`` names.
        save: writes it, in all processes together.
        first: whether this process renames it.

    Raises:
        AvsrError: no space.
    """
    part = path.with_name(f"{path.name}.tmp")
    try:
        save(part, state)
        if first:
            os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch's writer says a full disk with a RuntimeError
        part.unlink(missing_ok=True)
        raise AvsrError(
            f"{path.parent}: cannot save step {state['step']} ({str(error).splitlines()[0]}): free some space, then "
            f"continue from the last saved state with --resume"
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """The state of a run, on the CPU.

    Raises:
        AvsrError: it is damaged, foreign or of another version.
    """
    instead = f"go on from its weights with --set init={path.with_name(MODEL)} and another --out"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums
        if damaged:
            raise zipfile.BadZipFile(damaged)
        state = torch.load(path, map_location="cpu", weights_only=True)  # tensors; runs no code
    except OSError as error:
        raise AvsrError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except Exception as error:  # a foreign file makes the reader raise anything, with advice to read it unsafely
        what = "empty" if path.stat().st_size == 0 else "damaged, or not a saved state"
        raise AvsrError(f"{path}: {what}: {instead}") from error
    for key, kind in KEYS.items():
        if not isinstance(state, dict) or not isinstance(state.get(key), kind):
            raise AvsrError(f"{path}: not a saved state of this version (no {key!r} in it): {instead}")
    step, batches = state["step"], state["batches"]
    if isinstance(step, bool) or not 0 < step <= batches <= step * MOST_PROCESSES:
        raise AvsrError(f"{path}: damaged ({step!r} steps with {batches!r} batches): {instead}")
    return state


def changes(saved: str, config: TrainConfig, step: int, out: Path) -> list[str]:
    """What the recipe of a run that goes on has changed, a line each.

    Args:
        saved: the recipe that the run began with, as JSON.
        config: the one it goes on with.
        step: steps that are done.
        out: folder of the run.

    Raises:
        AvsrError: the recipe is one of another version, or something changed that cannot.
    """
    try:
        old = _flat(json.loads(saved))
    except (ValueError, AttributeError) as error:
        raise AvsrError(f"{out / STATE}: damaged, its recipe cannot be read: {_from_weights(out)}") from error
    new = _flat(json.loads(config.model_dump_json()))
    for key in sorted(old.keys() ^ new.keys()):
        if not key.startswith("model."):  # these are named only where they are changed
            what = f"had {key}" if key in old else f"had no {key}"
            raise other_version(out, f"whose recipes {what}")
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    told = {key: f"{key} = {_shown(new.get(key))} (was {_shown(old.get(key))})" for key in changed}
    fixed = [key for key in changed if key not in MAY_CHANGE and not key.startswith("optim.")]
    if fixed:
        raise AvsrError(
            f"{out} was trained with another recipe: {', '.join(told[key] for key in fixed)}. Resume it with the same "
            f"values, or {_from_weights(out)}"
        )
    if config.optim.steps < step:
        raise AvsrError(f"optim.steps = {config.optim.steps}, but {out} has trained {step} steps already: ask for more")
    if "optim.steps" in told:
        told["optim.steps"] += ": learning rate and weights of losses go on as at this step of such a run"
    return [f"resumed with {line}" for line in told.values()]


def check_tensors(saved: dict[str, Any], own: dict[str, Tensor], out: Path, size: str) -> None:
    """Makes sure that a state's tensors are those of this network.

    Raises:
        AvsrError: one is missing, one too many, or of another shape.
    """
    for name in sorted(own.keys() ^ saved.keys()):
        raise other_version(out, f"whose {size} had {'no ' if name in own else ''}{name}")
    for name, value in own.items():
        if not isinstance(saved[name], Tensor) or saved[name].shape != value.shape:
            raise other_version(out, f"whose {size} ({name}) has another shape")


def fitted_optimizer(saved: dict[str, Any], own: torch.optim.Optimizer, out: Path) -> dict[str, Any]:
    """An optimiser's saved state with the hyper-parameters of this run.

    Raises:
        AvsrError: it is of other parameters, or of another optimiser.
    """
    groups = own.state_dict()["param_groups"]
    kept, state = saved.get("param_groups"), saved.get("state")
    if not isinstance(kept, list) or not isinstance(state, dict):
        raise other_version(out, "whose optimiser kept no 'param_groups' and 'state'")
    if [len(group.get("params", ())) for group in kept] != [len(group["params"]) for group in groups]:
        raise other_version(out, "whose optimiser had other groups of parameters")
    for name in sorted(groups[0].keys() ^ kept[0].keys()):
        raise other_version(out, f"whose optimiser had {'no ' if name in groups[0] else ''}{name}")
    parameters = [parameter for group in own.param_groups for parameter in group["params"]]
    for i, values in state.items():
        for name in ("step", "exp_avg", "exp_avg_sq"):
            value = values.get(name) if isinstance(values, dict) else None
            shape = () if name == "step" or i not in range(len(parameters)) else parameters[i].shape
            if not isinstance(value, Tensor) or value.shape != shape:
                raise other_version(out, f"whose optimiser had another {name}")
    return {"state": state, "param_groups": groups}


def other_version(out: Path, what: str) -> AvsrError:
    """The error for a run that another version began; what: ``whose recipes ...``."""
    return AvsrError(f"{out}: the run was begun by a version of avsr {what}: {_from_weights(out)}")


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of a tensor that holds an infinity or no number, or None; synchronises with the device once."""
    named = [(name, value) for name, value in tensors if value.is_floating_point() and value.numel()]
    largest = torch.stack([value.float() for value in torch._foreach_norm([v for _, v in named], float("inf"))])
    finite = torch.isfinite(largest).tolist()
    return next((name for (name, _), fine in zip(named, finite, strict=True) if not fine), None)


def kept_tensors(
    objective: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> list[tuple[str, Tensor]]:
    """All tensors of a state by name."""
    named = list(objective.state_dict().items())
    named += [(f"averaged {name}", value) for name, value in average.state_dict().items()]
    for values in optimizer.state.values():
        named += [(f"optimiser's {name}", value) for name, value in values.items() if isinstance(value, Tensor)]
    return named


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections within sections as ``section.key``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value)


def _from_weights(out: Path) -> str:
    return f"go on from its weights with --set init={out / MODEL} and another --out"
