"""Weights and inputs from a formula: the reference's outputs for them are in data/golden_*.npz.

The references are the published programs, run in float64 on these weights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)


def uniform(count: int, stream: int) -> np.ndarray:
    """`count` numbers in [0, 1): splitmix64 of stream * 2**32 + index; exact on every machine."""
    with np.errstate(over="ignore"):
        index = np.arange(count, dtype=np.uint64) + np.uint64(stream << 32)
        z = index * GOLDEN_RATIO + GOLDEN_RATIO
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fill(state: dict[str, Tensor], gain: float = 1.7) -> dict[str, Tensor]:
    """A float64 state dict of these names and shapes; sorted names are streams 1, 2, ..."""
    names = sorted(name for name in state if not name.endswith("num_batches_tracked"))
    return {name: weight(name, state[name].shape, i, gain) for i, name in enumerate(names, 1)}


def weight(name: str, shape: tuple[int, ...], stream: int, gain: float) -> Tensor:
    """One tensor, of a size that keeps signals alive through all layers."""
    u = torch.from_numpy(2 * uniform(int(np.prod(shape)), stream) - 1).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    if name.endswith(("running_mean", "bias")) or "pos_bias" in name:
        return 0.2 * u
    if len(shape) == 1:
        return 1 + 0.2 * u
    value = u * gain * (3 / int(np.prod(shape[1:]))) ** 0.5
    is_output = name.endswith(("output_layer.weight", "ctc_lo.weight"))
    is_output |= ".out_layer_" in name and name.endswith("weight")
    return 2 * value if is_output else value


def video(frames: int) -> Tensor:
    """(T, 88, 88) float64, already normalised."""
    return torch.from_numpy(2 * uniform(frames * 88 * 88, 1001) - 1).reshape(frames, 88, 88) * 1.5


def audio(frames: int) -> Tensor:
    """(640 T,) float64, not normalised: noise that swells and fades."""
    k = np.arange(frames * 640)
    return torch.from_numpy((2 * uniform(len(k), 1002) - 1) * 0.1 * (1 + np.sin(k / 900)))
