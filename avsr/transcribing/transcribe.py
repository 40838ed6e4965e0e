"""Media files to transcripts in one call: which model, on which device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.decoding.words import Hypothesis, Word
from avsr.recognisers.base import Recogniser
from avsr.recognisers.ours import with_adapter
from avsr.recognisers.pair import Pair
from avsr.recognisers.protocol import MODALITIES
from avsr.recognisers.registry import lip_reader, load
from avsr.transcribing.engine import Progress
from avsr.transcribing.transcript import Segment, Transcript

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
    "load_model",
    "transcribe",
]


def load_model(
    name: str | Path = "default",
    device: str | torch.device = "auto",
    adapter: str | Path | None = None,
) -> Recogniser:
    """Loads a recogniser by name or path.

    One that only hears is joined by an installed model that reads lips, if there is one with an
    open vocabulary: that reads where sound is missing or too noisy.

    Args:
        name: "default", a name that `avsr models` lists, a path to a .safetensors file, or any
            other form that `registry.load` takes.
        device: "auto" takes the best there is; "cpu", "cuda" (or "cuda:1") and "mps" insist.
        adapter: a file that `avsr adapt` wrote for this model; it adds what was learnt there.

    Raises:
        AvsrError: no such model, an unreadable one, no such device, or an adapter of another model.
    """
    found = load(name if adapter is None else with_adapter(name, adapter), device)
    if found.modalities == ("audio",) and (reader := lip_reader()):
        return Pair(found, load(reader, device))
    return found


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
