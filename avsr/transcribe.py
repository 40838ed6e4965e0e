"""Media files to transcripts in one call: which model, on which device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.batches import batches_by_length, collate, mask
from avsr.preprocessing.errors import AvsrError
from avsr.recogniser import MODALITIES, Progress, Recogniser
from avsr.transcript import Hypothesis, Segment, Transcript, Word

if TYPE_CHECKING:
    import torch

__all__ = [
    "MODALITIES",
    "Hypothesis",
    "Progress",
    "Recogniser",
    "Segment",
    "Transcript",
    "Word",
    "batches_by_length",
    "collate",
    "load_model",
    "mask",
    "pick_device",
    "transcribe",
]


def load_model(name: str | Path = "default", device: str = "auto") -> Recogniser:
    """Loads a recogniser by name or path.

    Args:
        name: "default", a name that `avsr models` lists, or a path to a .safetensors file.
        device: "auto" takes the best there is; "cpu", "cuda" (or "cuda:1") and "mps" insist.

    Raises:
        AvsrError: no such model, an unreadable one, or no such device.
    """
    from avsr import checkpoint
    from avsr.activity import somebody

    chosen = pick_device(device)
    model, info = checkpoint.load(name, device=str(chosen))
    return Recogniser(model, checkpoint.resolve(name).stem, info, chosen, somebody)


def transcribe(path: str | Path, model: str | Path = "default", device: str = "auto", **options: Any) -> Transcript:
    """Recognises one media file; for several, load the model once with load_model.

    Args:
        path: any container that FFmpeg reads.
        model: as in load_model.
        device: as in load_model.
        options: modality, beam, face, progress and language, see Recogniser.transcribe.
    """
    return load_model(model, device).transcribe(path, **options)


def pick_device(name: str) -> torch.device:
    """The device a name stands for.

    Raises:
        AvsrError: unknown, or not on this machine.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind, _, index = name.partition(":")
    if kind not in there or (index and not (kind == "cuda" and index.isdecimal())):
        raise AvsrError(f"device {name!r} is unknown: use auto, cpu, cuda or mps")
    if not there[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise AvsrError(f"device {name!r} is not available on this machine: use auto or cpu")
    return torch.device(name)
