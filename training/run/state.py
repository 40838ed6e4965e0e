"""What a run keeps to be resumed from, and whether it may be resumed from that."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.training.config import TrainConfig, renamed

STATE = "state.ckpt"  # all that resuming needs; our own file, read as tensors only
MODEL = "model.safetensors"
MOST_PROCESSES = 640_000  # devices times nodes, at most: each takes a batch a step
# What a state holds. ``batches`` were taken from the plan so far, by all processes: where in it the
# run goes on.
KEYS = {
    "objective": dict,
    "optimizer": dict,
    "average": dict,
    "step": int,
    "batches": int,
    "config": str,
    "data": str,
}
# What may be another when a run goes on: all of [optim] and what changes neither the network nor
# the order of clips.
MAY_CHANGE = {
    "devices",
    "nodes",
    "strategy",
    "log_every",
    "val_every",
    "val_clips",
    "save_every",
    "keep",
    "data.workers",
    "data.cache_gb",
    "data.max_dropped",
    "data.val_split",
    "augment.noise_dir",
    "augment.rir_dir",
}


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a state beside its place and renames it.

    Args:
        path: its place.
        state: what ``KEYS`` names.

    Raises:
        AvsrError: no space.
    """
    part = path.with_name(f"{path.name}.tmp")
    try:
        with open(part, "wb") as file:  # opened here, so that an error says what the disk said
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__
        why = getattr(cause, "strerror", None) or str(error).splitlines()[0]
        raise AvsrError(
            f"{path.parent}: cannot save step {state['step']} ({why}): free some space, then "
            "continue from the last saved state with --resume"
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
    # a foreign file makes the reader raise anything, with advice to read it unsafely
    except Exception as error:
        what = "empty" if path.stat().st_size == 0 else "damaged, or not a saved state"
        raise AvsrError(f"{path}: {what}: {instead}") from error
    for key, kind in KEYS.items():
        if not isinstance(state, dict) or not isinstance(state.get(key), kind):
            raise AvsrError(
                f"{path}: not a saved state of this version (no {key!r} in it): {instead}"
            )
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
        old = _flat(renamed(json.loads(saved)))
    except (ValueError, AttributeError, TypeError) as error:
        raise AvsrError(
            f"{out / STATE}: damaged, its recipe cannot be read: {_from_weights(out)}"
        ) from error
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
            f"{out} was trained with another recipe: {', '.join(told[key] for key in fixed)}. "
            "Resume it with the same "
            f"values, or {_from_weights(out)}"
        )
    if config.optim.steps < step:
        raise AvsrError(
            f"optim.steps = {config.optim.steps}, but {out} has trained {step} steps already: ask "
            "for more"
        )
    if "optim.steps" in told:
        told["optim.steps"] += (
            ": learning rate and weights of losses go on as at this step of such a run"
        )
    return [f"resumed with {line}" for line in told.values()]


def check_tensors(saved: dict[str, Any], own: dict[str, Tensor], out: Path, size: str) -> None:
    """Makes sure that a state's tensors are those of this network.

    Raises:
        AvsrError: one is missing, one too many, or of another shape or type.
    """
    for name in sorted(own.keys() ^ saved.keys(), key=str):
        raise other_version(out, f"whose {size} had {'no ' if name in own else ''}{name}")
    for name, value in own.items():
        if not _is_tensor(saved[name], value.shape, value.dtype):
            same = getattr(saved[name], "shape", None) == value.shape
            raise other_version(
                out, f"whose {size} ({name}) has another {'type' if same else 'shape'}"
            )


def fitted_optimizer(kept: dict[str, Any], own: torch.optim.Optimizer, out: Path) -> dict[str, Any]:
    """The optimiser's part of a state, with the hyper-parameters of this run.

    Raises:
        AvsrError: it is of other parameters, of another optimiser, or damaged.
    """
    groups = own.state_dict()["param_groups"]
    saved, state = kept["optimizer"].get("param_groups"), kept["optimizer"].get("state")
    if not _are_dicts(saved) or not isinstance(state, dict):
        raise other_version(out, "whose optimiser kept no 'param_groups' and 'state'")
    if [_members(group) for group in saved] != [_members(group) for group in groups]:
        raise other_version(out, "whose optimiser had other groups of parameters in 'param_groups'")
    for name in sorted(groups[0].keys() ^ saved[0].keys(), key=str):
        raise other_version(out, f"whose optimiser had {'no ' if name in groups[0] else ''}{name}")
    if len(state) != kept.get("trained", len(state)):  # states of earlier versions do not say it
        raise _damaged(
            out,
            f"{len(state)} parameters in 'state' of its optimiser, where {kept['trained']} were "
            "saved",
        )
    parameters = [parameter for group in own.param_groups for parameter in group["params"]]
    for i, values in state.items():
        if i not in range(len(parameters)) or not isinstance(values, dict):
            raise other_version(out, f"whose optimiser had another 'state' ({i!r})")
        for name in ("step", "exp_avg", "exp_avg_sq"):
            value, shape = values.get(name), () if name == "step" else parameters[i].shape
            if not _is_tensor(value, shape, torch.float32):
                raise other_version(out, f"whose optimiser had another {name}")
            if name != "exp_avg" and value.numel() and value.min() < 0:
                raise _damaged(out, f"{_moment(i, name)} below 0")
    return {"state": state, "param_groups": groups}


def check_finite(kept: dict[str, Any], out: Path) -> None:
    """Makes sure that a saved state can be trained on; its tensors are known to be those of this
    network.

    Raises:
        AvsrError: a weight or a moment is not finite.
    """
    if bad := first_not_finite(kept_tensors(kept)):
        raise _damaged(out, f"{bad} not finite")


def other_version(out: Path, what: str) -> AvsrError:
    """The error for a run that another version began; what: ``whose recipes ...``."""
    return AvsrError(f"{out}: the run was begun by a version of avsr {what}: {_from_weights(out)}")


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of a tensor that holds an infinity or no number, or None; synchronises with the device
    once."""
    named = [
        (name, value) for name, value in tensors if value.is_floating_point() and value.numel()
    ]
    norms = torch._foreach_norm([value for _, value in named], float("inf"))
    # An optimiser that is not fused counts its steps on the CPU, whatever the device.
    largest = torch.stack(
        [norm.to(norms[0].device, torch.float32, non_blocking=True) for norm in norms]
    )
    finite = torch.isfinite(largest).tolist()
    return next((name for (name, _), fine in zip(named, finite, strict=True) if not fine), None)


def kept_tensors(kept: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """All tensors of a state by name."""
    named = list(kept["objective"].items())
    named += [(f"averaged {name}", value) for name, value in kept["average"].items()]
    for i, values in kept["optimizer"]["state"].items():
        named += [
            (_moment(i, name), value) for name, value in values.items() if isinstance(value, Tensor)
        ]
    return named


def _moment(i: int, name: str) -> str:
    return f"optimiser's {name} of parameter {i}"


def _is_tensor(value: Any, shape: Sequence[int], dtype: torch.dtype) -> TypeGuard[Tensor]:
    """Whether this is a plain tensor of such a kind."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return plain and value.shape == tuple(shape) and value.dtype == dtype


def _are_dicts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) for one in values)


def _members(group: dict[str, Any]) -> list[int] | None:
    """Numbers of a group's parameters; None where it has no such."""
    numbers = group.get("params")
    return (
        numbers if isinstance(numbers, list) and all(isinstance(i, int) for i in numbers) else None
    )


def _damaged(out: Path, what: str) -> AvsrError:
    return AvsrError(f"{out / STATE}: damaged ({what}): {_from_weights(out)}")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections within sections as ``section.key``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value)


def _from_weights(out: Path) -> str:
    return f"go on from its weights with --set init={out / MODEL} and another --out"
