"""What hypotheses depend on: model, clips, noises, libraries. Where one of them changes, old
hypotheses are void."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.inputs import content, digest
from avsr.eval.conditions.axes import VERSION, library_versions
from avsr.preprocessing.shards import versions

_NAMED = 4  # changes named in one line


def run_parts(
    model_sha256: str,
    entries: Iterable[Any],
    noises: Iterable[Path],
    impulse_responses: Iterable[Path],
) -> dict[str, str]:
    """Name -> version or hash of all that hypotheses depend on, besides their row.

    Args:
        model_sha256: of the recogniser, see `fingerprint`.
        entries: of the index of the shards, the clips that lend their voices among them.
        noises, impulse_responses: files that conditions take sound from; their content counts.
    """
    clips = hashlib.sha256(
        json.dumps([entry.model_dump(mode="json") for entry in entries], sort_keys=True).encode()
    )
    return {
        "model": model_sha256,
        "clips": clips.hexdigest(),
        "version of the conditions": str(VERSION),
        **{f"library {name}": found for name, found in compute_versions().items()},
        **{f"noise {path.name}": file_digest(path) for path in noises},
        **{f"impulse response {path.name}": file_digest(path) for path in impulse_responses},
    }


def run_key(parts: Mapping[str, str]) -> str:
    """Short hash of `run_parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def told_changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What differs between two `run_parts`, for people: "library torch (2.12 to 2.13), noise
    hum.wav"."""
    told = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            told.append(
                f"{name} ({before} to {after})" if name.startswith(("library", "version")) else name
            )
    more = len(told) - _NAMED
    return ", ".join(told[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def compute_versions() -> dict[str, str]:
    """Libraries that decide what a recogniser is given and what it makes of it, and their
    versions."""
    found = {**versions(), **library_versions()}
    try:
        found["torch"] = version("torch")
    except PackageNotFoundError:
        found["torch"] = "unknown"
    return found


def fingerprint(recogniser: Any) -> str:
    """Hash that tells one model from another: its `sha256` where it has one, else that of its
    weights and its decoding.

    Raises:
        AvsrError: it has neither, so that results of two models could be taken for each other.
    """
    digest = getattr(recogniser, "sha256", None)
    if digest:
        return str(digest)
    model = getattr(recogniser, "model", None)
    if model is None or not hasattr(model, "state_dict"):
        raise AvsrError(
            f"recogniser {recogniser.name!r} cannot be told from others; give it an attribute "
            "`sha256`"
        )
    # The whole of the decoding: an n-gram model with every probability, a grammar with every word.
    about = (getattr(recogniser, name, "") for name in ("config", "info", "decoding"))
    total = hashlib.sha256(" ".join(map(repr, about)).encode("utf-8", "backslashreplace"))
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().float().numpy().tobytes())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        AvsrError: it cannot be read.
    """
    return digest(content(path))
