"""What the two streams of our network look at in each other.

B  clips in a batch        T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.model.batches import compute
from avsr.preprocessing.clip import Clip

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from avsr.model.network import AVSR


@dataclass(frozen=True)
class Crossing:
    """Cross-modal attention in one clip, the mean over layers and heads; rows sum to 1.

    Attributes:
        of_audio: (T, T + 1) float32, how much each frame of sound looks at each frame of lips; the
            last column is nothing.
        of_video: (T, T + 1) float32, the same of lips at sound.
        audio_weight: (T,) float32, share of the sound in the fused stream.
    """

    of_audio: np.ndarray
    of_video: np.ndarray
    audio_weight: np.ndarray


def crosses(model: AVSR) -> bool:
    """Whether a network has cross-modal attention."""
    return len(model.audio_cross) > 0


def crossing(model: AVSR, clip: Clip, device: torch.device) -> Crossing:
    """The cross-modal attention of a network that has it, in one clip of at least one frame."""
    return compute(partial(_watched, model), [clip], device)


def _watched(model: AVSR, *batch: Tensor) -> Crossing:
    """A forward pass with somebody at each cross-modal attention."""
    seen: dict[str, list[Tensor]] = {"audio": [], "video": []}
    hooks, here = [], get_ident()
    for kind, blocks in (("audio", model.audio_cross), ("video", model.video_cross)):
        for block in blocks:

            def look(module: Any, inputs: Any, kind: str = kind) -> None:
                if get_ident() == here:  # other threads may recognise other clips meanwhile
                    seen[kind].append(module.weights(*inputs).mean(1))  # over the heads

            hooks.append(block.cross.register_forward_pre_hook(look))  # type: ignore[union-attr]
    try:
        output = model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    of_audio, of_video = (_mean(found) for found in seen.values())
    return Crossing(of_audio, of_video, output.audio_weight[0].float().cpu().numpy())


def _mean(layers: Iterable[Tensor]) -> np.ndarray:
    """Layers of (1, T, T + 1) -> (T, T + 1)."""
    import torch

    return torch.stack(list(layers)).mean(0)[0].float().cpu().numpy()
