"""What a run writes down about itself, and which of its models it keeps."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from avsr.base import outputs
from avsr.base.inputs import ROOT, digest
from avsr.model import checkpoint

RECORD = "run.json"
BEST = "best.safetensors"
SAVED = "step-{:07d}.safetensors"  # of models that are kept besides the last one
Save = Callable[[Path, nn.Module, dict[str, Any]], object]
LIBRARIES = ("avsr", "torch", "lightning", "numpy", "librosa", "av")


def write_record(out: Path, data: Sequence[str | Path], seed: int, step: int, device: str) -> None:
    """Adds a start of the run to run.json: what it is made with, and of what.

    Args:
        out: folder of the run.
        data: prepared folders, or where they are to be had.
        seed: of the run.
        step: where it begins.
        device: and how many.
    """
    began = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "seed": seed,
        "device": device,
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git(),
        "data": {str(folder): _index_digest(folder) for folder in data},
    }
    starts = [*read_record(out), began]
    outputs.write(out / RECORD, [json.dumps({"starts": starts}, indent=1).encode()])


def read_record(out: Path) -> list[dict[str, Any]]:
    """The starts of a run, the first one first; none where there is no such file."""
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return found if isinstance(found, list) else []


def keep_best(
    out: Path, model: nn.Module, info: dict[str, Any], rates: dict[str, float], save: Save
) -> None:
    """Keeps a model with the lowest word error rate so far: of both modalities together, or of the
    one that it takes.

    Args:
        out: folder of the run.
        model: that was scored.
        info: of its file.
        rates: of validation clips, by modality, the one that decides first; nothing is kept where
            there are none.
        save: writes a model.
    """
    for name, rate in list(rates.items())[:1]:
        try:
            before = float(checkpoint.told_by(out / BEST)["info"]["validation"][name])
        except (LookupError, TypeError, ValueError):
            before = float("inf")
        if rate < before:
            save(out / BEST, model, {**info, "validation": rates})


def keep_last(out: Path, model: nn.Module, info: dict[str, Any], count: int, save: Save) -> None:
    """Keeps the models of the last savings, under their steps; the last of all is elsewhere.

    Args:
        out: folder of the run.
        model: of this saving.
        info: of its file; has the step.
        count: how many are kept, the last among them; 1 keeps it alone.
        save: writes a model.
    """
    if count > 1:
        save(out / SAVED.format(info["step"]), model, info)
        for old in sorted(out.glob("step-*.safetensors"))[:-count]:
            old.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the source tree, and whether it was changed; None for an installed package."""
    if not (ROOT / ".git").exists():
        return None
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(ROOT), *command],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def _index_digest(folder: str | Path) -> str | None:
    """SHA-256 of its index.json, as sha256sum tells it; None where it cannot be read."""
    import fsspec

    try:
        with fsspec.open(f"{folder}/index.json", "rb") as file:
            return digest([file.read()])
    except (OSError, ValueError):
        return None
