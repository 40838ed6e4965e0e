"""Voice activity detection by Silero VAD: how likely a voice is in each frame of sound.

T  frames, 25 a second        N  audio samples, 640 T        K  chunks of 512 samples
"""

from __future__ import annotations

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.base.errors import AvsrError
from avsr.base.processes.threads import enough_threads
from avsr.preprocessing.clip import SAMPLES_PER_FRAME

CHUNK = 512  # samples that the detector judges at a time, 32 ms
CONTEXT = 64  # samples before a chunk that it also sees
# samples at the start that it hears twice, 3.2 s: until it is used to it, music is a voice to it
SETTLE = 100 * CHUNK

_loading = threading.Lock()  # the cache alone would let several threads load it at the same time


class SileroVAD(nn.Module):
    """The network of Silero VAD 6 at 16 kHz, a file in one pass where the package goes chunk by
    chunk.

    The package's own loader sets PyTorch's number of threads for the whole process; its weights do
    not. Source: Silero Team, "Silero VAD", github.com/snakers4/silero-vad, MIT licence.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 258, 256, 128, bias=False)
        shapes = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
        self.encoder = nn.ModuleList(
            nn.Conv1d(inputs, outputs, 3, stride, 1) for inputs, outputs, stride in shapes
        )
        self.rnn = nn.LSTM(128, 128)
        self.head = nn.Conv1d(128, 1, 1)

    def forward(self, chunks: Tensor) -> Tensor:
        """(K, CONTEXT + CHUNK) float32 in order -> (K,) probability that somebody speaks."""
        x = self.stft(F.pad(chunks, (0, CONTEXT), "reflect").unsqueeze(1))  # (K, 258, 4)
        real, imaginary = x.chunk(2, 1)
        x = (real.square() + imaginary.square()).sqrt()
        for layer in self.encoder:
            x = F.relu(layer(x))
        hidden, _ = self.rnn(x.squeeze(-1))  # (K, 128, 1) -> (K, 128)
        return self.head(F.relu(hidden).unsqueeze(-1)).sigmoid().flatten()

    @classmethod
    def from_package(cls, weights: dict[str, Tensor]) -> SileroVAD:
        """The network with the weights under the names that they have in the package."""
        own = {
            "stft.weight": weights["stft.forward_basis_buffer"],
            "head.weight": weights["decoder.decoder.2.weight"],
            "head.bias": weights["decoder.decoder.2.bias"],
        }
        for kind in ("weight", "bias"):
            for layer in range(4):
                own[f"encoder.{layer}.{kind}"] = weights[f"encoder.{layer}.reparam_conv.{kind}"]
            for side in ("ih", "hh"):
                own[f"rnn.{kind}_{side}_l0"] = weights[f"decoder.rnn.{kind}_{side}"]
        model = cls().eval().requires_grad_(False)
        model.load_state_dict(own)
        return model


@lru_cache(1)
def detector() -> SileroVAD:
    """The voice activity detector, on the CPU.

    Raises:
        AvsrError: its weights are not there, or are of another version.
    """
    package = importlib.util.find_spec("silero_vad")  # found, not imported: see SileroVAD
    folders = list(package.submodule_search_locations or []) if package else []
    path = Path(*folders[:1], "data", "silero_vad.jit")
    if not folders or not path.is_file():
        raise AvsrError(
            "voice activity detection needs the package silero-vad: pip install "
            "'silero-vad>=6.2,<7'"
        )
    weights = torch.jit.load(path, map_location="cpu").state_dict()
    prefix = "_model."  # the other one is for 8 kHz
    try:
        return SileroVAD.from_package(
            {name.removeprefix(prefix): value for name, value in weights.items()}
        )
    except (KeyError, RuntimeError) as error:
        raise AvsrError(
            "this silero-vad has another network: pip install 'silero-vad>=6.2,<7'"
        ) from error


def voice(audio: np.ndarray) -> np.ndarray:
    """How likely a voice is in each frame.

    Args:
        audio: (N,) float32 in [-1, 1], 16 kHz.

    Returns:
        (T,) float32 in [0, 1].
    """
    frames = len(audio) // SAMPLES_PER_FRAME
    if frames == 0:
        return np.zeros(0, np.float32)
    count = -(-len(audio) // CHUNK)
    padded = F.pad(torch.from_numpy(audio), (CONTEXT, count * CHUNK - len(audio)))
    chunks = padded.unfold(0, CONTEXT + CHUNK, CHUNK)
    settling = chunks[: SETTLE // CHUNK]
    with _loading:
        network = detector()
    with torch.inference_mode(), enough_threads(0):  # a small network, step by step
        probabilities = network(torch.cat([settling, chunks]))[len(settling) :].numpy()
    starts = np.arange(frames) * SAMPLES_PER_FRAME
    # a frame touches two chunks or three
    first, last = starts // CHUNK, (starts + SAMPLES_PER_FRAME - 1) // CHUNK
    return np.maximum.reduce(
        [probabilities[first], probabilities[(first + last) // 2], probabilities[last]]
    )
