"""Overlapped speech detection: how likely two or more voices sound in each frame.

A small network on top of what the bundled model's audio encoder makes of the sound, made by
`avsr.training.tools.overlap`. To tell frames of no, one and several voices by recurrence in both
directions follows Bullock, Bredin & Garcia-Perera, "Overlap-aware diarization" (ICASSP 2020). That
representations learnt from much speech need few mixtures is as in Chen et al., "WavLM" (2022).

B  clips        N  audio samples, 640 T        T  frames, 25 a second        D  width
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.base.errors import AvsrError
from avsr.base.processes.threads import enough_threads
from avsr.model import checkpoint
from avsr.preprocessing.clip import Clip

if TYPE_CHECKING:
    from avsr.model.layers.frontends import WhisperFrontend

FILE = Path(__file__).with_name("overlap.safetensors")
BLOCKS = 3  # of the audio encoder's four: further up it forgets what is not the words
WIDTH = 64
NOBODY, ONE, SEVERAL = 0, 1, 2  # the classes

_loading = threading.Lock()  # the cache alone would let several threads load it at the same time


class OverlapHead(nn.Module):
    """What an audio encoder makes of sound to whether nobody, one or several speak.

    Args:
        inputs: D.
        dropout: while it is trained.
    """

    def __init__(self, inputs: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(inputs)
        self.narrow = nn.Linear(inputs, WIDTH)
        self.recurrence = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(2 * WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) float32 -> (B, T, 3) logits of NOBODY, ONE and SEVERAL."""
        x = self.scale(x.transpose(1, 2)).transpose(1, 2)
        x = self.dropout(F.relu(self.narrow(self.dropout(x))))
        logits: Tensor = self.classes(self.dropout(self.recurrence(x)[0]))
        return logits


def encoded(frontend: WhisperFrontend, audio: Tensor, present: Tensor) -> Tensor:
    """What an audio encoder makes of sound, (B, T, D).

    Args:
        frontend: of a network of ours.
        audio: (B, N) float32.
        present: (B, T) bool; each clip has sound somewhere.
    """
    mel = frontend.mel(audio, present)
    x = frontend.encoder.after(BLOCKS, mel, present, torch.ones_like(present))
    return x.unflatten(1, (-1, 2)).flatten(2)


def frontend_of(name: str | Path, device: str = "cpu") -> WhisperFrontend:
    """The audio encoder of a model.

    Raises:
        AvsrError: it is not of the shape of Whisper's.
    """
    from avsr.model.layers.frontends import WhisperFrontend

    frontend = checkpoint.load(name, device)[0].audio_frontend
    if not isinstance(frontend, WhisperFrontend):
        raise AvsrError(f"{name}: has no audio encoder of the shape of Whisper's: use `default`")
    return frontend


@lru_cache(1)
def detector(device: str = "cpu") -> tuple[WhisperFrontend, OverlapHead]:
    """The bundled model's audio encoder and the head that was made for it."""
    from safetensors.torch import load_file

    weights = {name: value.float() for name, value in load_file(FILE).items()}
    head = OverlapHead(len(weights["scale.weight"])).eval().requires_grad_(False)
    head.load_state_dict(weights)
    return frontend_of(checkpoint.resolve(checkpoint.DEFAULT, list), device), head.to(device)


def several(clip: Clip, device: str = "cpu") -> np.ndarray:
    """How likely two or more voices sound in each frame of a clip.

    Args:
        clip: short enough for one window, as in `Recogniser.recognise`.
        device: where it is computed.

    Returns:
        (T,) float32 in [0, 1], 0 where sound is absent.
    """
    present = clip.audio_present
    if not present.any():
        return np.zeros(clip.frames, np.float32)
    with _loading:
        frontend, head = detector(device)
    audio, there = (torch.from_numpy(x).to(device).unsqueeze(0) for x in (clip.audio, present))
    with torch.inference_mode(), enough_threads(clip.frames):
        logits = head(encoded(frontend, audio.float(), there))
    likely: np.ndarray = logits.softmax(-1)[0, :, SEVERAL].cpu().numpy()
    return likely * present
