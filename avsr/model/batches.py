"""Clips as what a network takes, masked, batched by length and padded, and what it makes of them.

B  clips in a batch        T  frames, 25 a second        N  audio samples, 640 T
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from avsr.base.processes.threads import enough_threads
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")

BATCH_FRAMES = 1600  # padded frames in one forward pass, about 20 GRID clips


def batches_by_length(indices: Iterable[int], frames: Sequence[int]) -> Iterator[list[int]]:
    """Clips of like length together, longest first, so that little is padded.

    Args:
        indices: of the clips to batch.
        frames: length of every clip, those left out among them.

    Yields:
        Indices of one batch: a single clip, or at most BATCH_FRAMES padded frames.
    """
    batch: list[int] = []
    for i in sorted(indices, key=lambda i: frames[i], reverse=True):
        if batch and frames[batch[0]] * (len(batch) + 1) > BATCH_FRAMES:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def collate(clips: Sequence[Clip]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Clips as one padded batch, in the order the model takes; padding is marked absent.

    Returns:
        audio (B, N) float32, lips (B, T, 96, 96) uint8, audio_present (B, T) bool, video_present
        (B, T) bool, lens (B,) int64.
    """
    import torch

    lens = [clip.frames for clip in clips]
    count, longest = len(clips), max(lens)
    audio = np.zeros((count, longest * SAMPLES_PER_FRAME), np.float32)
    lips = np.zeros((count, longest, CROP_SIZE, CROP_SIZE), np.uint8)
    present = np.zeros((2, count, longest), np.bool_)
    for i, (clip, frames) in enumerate(zip(clips, lens, strict=True)):
        audio[i, : frames * SAMPLES_PER_FRAME] = clip.audio
        lips[i, :frames] = clip.lips
        present[0, i, :frames] = clip.audio_present
        present[1, i, :frames] = clip.video_present
    tensors = (torch.from_numpy(array) for array in (audio, lips, present[0], present[1]))
    return (*tensors, torch.tensor(lens, dtype=torch.int64))  # type: ignore[return-value]


def compute(network: Callable[..., Result], clips: Sequence[Clip], device: torch.device) -> Result:
    """What a network makes of clips as one batch; outside training, it is asked here alone.

    Args:
        network: called with the tensors of `collate`, as `AVSR` and `AVSR.encode` are.
        clips: together they must fit into memory.
        device: where the network is.
    """
    import torch

    with torch.inference_mode(), enough_threads(sum(clip.frames for clip in clips)):
        return network(*(tensor.to(device) for tensor in collate(clips)))


def mask(clip: Clip, modality: str) -> Clip:
    """The clip with what the modality hides marked absent."""
    absent = np.zeros(clip.frames, np.bool_)
    if modality == "audio":
        return replace(clip, video_present=absent)
    if modality == "video":
        return replace(clip, audio_present=absent)
    return clip
