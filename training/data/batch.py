"""Clips of one step, padded to the same length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsr.preprocessing.clip import SAMPLES_PER_FRAME

FRAMES_PER_TOKEN = 3  # of running speech, roughly


@dataclass
class Batch:
    """Padded clips; T frames, N = 640 T samples, S = 4 T mel frames.

    Attributes:
        audio: (B, N) float32, noisy.
        clean_audio: (B, N) float32, the same without noise, for the teacher.
        lips: (B, T, 96, 96) uint8.
        looks: (B, LOOK) float32, how they are to be shown, see ``pictures``.
        audio_present: (B, T) bool, after spans were taken out.
        clean_present: (B, T) bool, before.
        video_present: (B, T) bool.
        mel_keep: (B, S, M) bool.
        formants: (B,) float32, factors of the vocal tract length.
        synchronised: (B,) bool, false where the lips are another clip's, or come too early or too
            late.
        lips_needed: (B,) bool, true where one other voice is the louder one and only the lips tell
            who is meant.
        lens: (B,) int64 frames.
        targets: (B, L) int64 token ids.
        target_lens: (B,) int64.
        frame_targets: (B, T) int64, -1 where unknown.
        ids: names of the clips.
        origin: the same batch where it was made, if it was moved to a device: see ``on_host``.
    """

    audio: Tensor
    clean_audio: Tensor
    lips: Tensor
    looks: Tensor
    audio_present: Tensor
    clean_present: Tensor
    video_present: Tensor
    mel_keep: Tensor
    formants: Tensor
    synchronised: Tensor
    lips_needed: Tensor
    lens: Tensor
    targets: Tensor
    target_lens: Tensor
    frame_targets: Tensor
    ids: list[str]
    origin: Batch | None = None

    @property
    def on_host(self) -> Batch:
        """The same on the CPU: what the loop decides from it does not wait for the device."""
        return self.origin or self

    @cached_property
    def valid(self) -> Tensor:
        """(B, T) bool, false in the padding."""
        return torch.arange(self.lips.shape[1], device=self.lens.device) < self.lens[:, None]

    @cached_property
    def tokens(self) -> Tensor:
        """(B,) float, what a clip counts in a loss per token: its tokens, or what would fit where
        it has none."""
        return torch.where(self.target_lens > 0, self.target_lens, self.lens / FRAMES_PER_TOKEN)

    def to(self, device: torch.device) -> Batch:
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in self.tensors()
        }
        return Batch(**moved, ids=self.ids, origin=self.on_host)

    def pin_memory(self) -> Batch:
        """The same in memory from which a GPU copies while the CPU goes on; the loader calls it."""
        pinned: dict[str, Any] = {name: value.pin_memory() for name, value in self.tensors()}
        return Batch(**pinned, ids=self.ids)

    def take(self, rows: Tensor) -> Batch:
        """The clips at these positions, padding kept; rows (R,) int64."""
        taken: dict[str, Any] = {name: value[rows] for name, value in self.tensors()}
        return Batch(**taken, ids=[self.ids[i] for i in rows.tolist()])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by name."""
        return (
            (field.name, getattr(self, field.name))
            for field in fields(self)
            if field.name not in ("ids", "origin")
        )


def collate(items: list[dict]) -> Batch:
    """Pads clips to the longest; padding is absent everywhere and its frame targets are unknown."""
    frames = max(len(item["lips"]) for item in items)
    length = max(1, *(len(item["targets"]) for item in items))

    def pad(name: str, size: int, value: int = 0) -> Tensor:
        first = items[0][name]
        out = np.full((len(items), size, *first.shape[1:]), value, first.dtype)
        for row, item in zip(out, items, strict=True):
            row[: len(item[name])] = item[name]
        return torch.from_numpy(out)

    sizes = {"audio": SAMPLES_PER_FRAME, "clean_audio": SAMPLES_PER_FRAME, "mel_keep": 4}
    names = (
        "audio",
        "clean_audio",
        "lips",
        "audio_present",
        "clean_present",
        "video_present",
        "mel_keep",
    )
    padded: dict[str, Any] = {name: pad(name, frames * sizes.get(name, 1)) for name in names}
    return Batch(
        **padded,
        looks=torch.from_numpy(np.stack([item["look"] for item in items])),
        synchronised=torch.tensor([item["synchronised"] for item in items]),
        lips_needed=torch.tensor([item["lips_needed"] for item in items]),
        formants=torch.tensor([item["formants"] for item in items], dtype=torch.float32),
        lens=torch.tensor([len(item["lips"]) for item in items]),
        targets=pad("targets", length),
        target_lens=torch.tensor([len(item["targets"]) for item in items]),
        frame_targets=pad("frame_targets", frames, -1),
        ids=[item["id"] for item in items],
    )
