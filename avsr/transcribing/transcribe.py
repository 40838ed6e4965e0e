"""Media files to transcripts in one call: which model, on which device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.device import pick_device
from avsr.model.batches import batches_by_length, collate, mask
from avsr.recognisers.ours import MODALITIES, Progress, Recogniser
from avsr.transcribing.transcript import Hypothesis, Segment, Transcript, Word

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


def load_model(name: str | Path = "default", device: str | torch.device = "auto") -> Recogniser:
    """Loads a recogniser by name or path.

    Args:
        name: "default", a name that `avsr models` lists, or a path to a .safetensors file.
        device: "auto" takes the best there is; "cpu", "cuda" (or "cuda:1") and "mps" insist.

    Raises:
        AvsrError: no such model, an unreadable one, or no such device.
    """
    from avsr.model import checkpoint
    from avsr.transcribing.activity import somebody

    chosen = pick_device(device)
    model, info = checkpoint.load(name, device=str(chosen))
    return Recogniser(model, checkpoint.resolve(name).stem, info, chosen, somebody)


def transcribe(
    path: str | Path, model: str | Path = "default", device: str = "auto", **options: Any
) -> Transcript:
    """Recognises one media file; for several, load the model once with load_model.

    Args:
        path: any container that FFmpeg reads.
        model: as in load_model.
        device: as in load_model.
        options: modality, beam, face, progress, language and audio_track, see
            Recogniser.transcribe.
    """
    return load_model(model, device).transcribe(path, **options)
