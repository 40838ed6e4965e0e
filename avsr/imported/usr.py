"""USR 2.0: one set of weights for lips, for sound, and for both.

Haliassos et al., "Unified Speech Recognition: A Single Model for Auditory, Visual, and Audiovisual
Inputs", NeurIPS 2024, and its second version. The modality picks the projection before the shared
blocks, the CTC head and the decoder's output layer. Attributes are called as the tensors in the
files.

T  frames    S  samples, 640 T    D  width    V  vocabulary
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avsr.imported.encoder import DROPOUT, Blocks, EncoderConfig, RelativeAttention
from avsr.imported.frontends import AudioFrontend, VideoFrontend, out_of
from avsr.model.layers.decoder import EPS, Decoder, DecoderConfig, DecoderScorer, FeedForward

SUFFIXES = {"video": "v", "audio": "a", "av": "av"}  # of what a modality has of its own


class USRConfig(BaseModel):
    """What such a network is besides its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["usr"] = "usr"
    vocabulary: int = Field(..., ge=3, le=100_000, description="V")
    encoder: EncoderConfig
    decoder: DecoderConfig

    @property
    def modalities(self) -> tuple[str, ...]:
        """All that the network has weights for."""
        return ("av", "audio", "video")


class ScaledBlock(nn.Module):
    """Attention and feed-forward, each scaled per channel before it is added."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attn = RelativeAttention(width, config.heads, config.legacy_positions)
        self.feed_forward = FeedForward(width, config.feed_forward)
        self.norm_mha = nn.LayerNorm(width, EPS)
        self.norm_ff = nn.LayerNorm(width, EPS)
        self.gamma_mha = nn.Parameter(torch.ones(width))
        self.gamma_ff = nn.Parameter(torch.ones(width))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """(T, D) -> (T, D); table: see RelativeAttention."""
        x = x + self.drop(self.gamma_mha * self.self_attn(self.norm_mha(x), table))
        return x + self.drop(self.gamma_ff * self.feed_forward(self.norm_ff(x)))


class Encoder(Blocks):
    """Frames of either modality or of both through the same blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config, ScaledBlock)
        self.frontend_v = VideoFrontend(config.activation, config.channels)
        self.frontend_a = AudioFrontend(config.activation, config.channels)
        before = out_of(config.channels)
        self.linear_v = nn.Linear(before, config.width)
        self.linear_a = nn.Linear(before, config.width)
        self.linear_av = nn.Linear(2 * before, config.width)

    def forward(self, modality: str, video: Tensor | None, audio: Tensor | None) -> Tensor:
        """What the front ends take -> (T, D), see USR.encode."""
        if modality == "video":
            return self.blocks(self.linear_v(self.frontend_v(video)))
        if modality == "audio":
            return self.blocks(self.linear_a(self.frontend_a(audio)))
        both = torch.cat((self.frontend_v(video), self.frontend_a(audio)), dim=1)
        return self.blocks(self.linear_av(both))


class USR(nn.Module):
    """The network. Made from its configuration."""

    normalised_audio = False  # the waveform as it is
    front_ends = ("encoder.frontend_v", "encoder.frontend_a")

    def __init__(self, config: USRConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        outputs = tuple(f"out_layer_{suffix}" for suffix in SUFFIXES.values())
        self.decoder = Decoder(config.decoder, config.vocabulary, outputs)
        for suffix in SUFFIXES.values():
            head = nn.Linear(config.decoder.width, config.vocabulary)
            self.add_module(f"ctc_{suffix}", nn.ModuleDict({"ctc_lo": head}))

    def encode(self, modality: str, video: Tensor | None, audio: Tensor | None) -> Tensor:
        """The encoder's output, the memory of the decoder.

        Args:
            modality: one of modalities.
            video: (T, 88, 88), normalised; not looked at for audio.
            audio: (S,), in [-1, 1]; not looked at for video.

        Returns:
            (T, D).
        """
        return self.encoder(modality, video, audio)

    def ctc_log_probs(self, modality: str, memory: Tensor) -> Tensor:
        """(T, D) -> (T, V)."""
        head = self.get_submodule(f"ctc_{SUFFIXES[modality]}.ctc_lo")
        return head(memory).log_softmax(dim=-1)

    def output_name(self, modality: str) -> str:
        """Which of the decoder's output layers is the modality's."""
        return f"out_layer_{SUFFIXES[modality]}"

    def scorer(self, modality: str) -> DecoderScorer:
        """What a beam search asks."""
        return DecoderScorer(self.decoder, self.output_name(modality))
