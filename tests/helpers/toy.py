"""Clips made from noise that is different for every text: all there is to learn is which noise says
what. And the small network that learns it, in a small run."""

from __future__ import annotations

import numpy as np

from avsr.preprocessing.clip import Clip

TEXTS = ["bin a", "set b", "lay c", "put d", "bin d", "set a"]
FRAMES = 16
SHAPE = {"crop": 32, "dim": 32, "heads": 2, "video_width": 4, "audio_width": 4}
SHAPE |= {"stream_layers": 1, "joint_layers": 1}
TINY = [f"model.{name}={value}" for name, value in SHAPE.items()]  # on top of a recipe
TINY += ["data.workers=0", "data.max_frames=75", "optim.precision=32-true"]


def make_clip(
    number: int, text: str, frames: int = FRAMES, video: bool = True, audio: bool = True
) -> Clip:
    rng = np.random.default_rng(number)
    return Clip(
        id=f"clip{number}",
        audio=rng.normal(0, 0.1, 640 * frames).astype(np.float32),
        lips=np.repeat(rng.integers(0, 256, (frames, 6, 6), dtype=np.uint8), 16, 1).repeat(16, 2),
        audio_present=np.full(frames, audio),
        video_present=np.full(frames, video),
        text=text,
        speaker="s1",
    )
