"""Auto-AVSR: networks for lips, for sound, or for both, each with weights of its own.

Ma et al., "Auto-AVSR: Audio-Visual Speech Recognition with Automatic Labels", ICASSP 2023, and the
models of "Visual Speech Recognition for Multiple Languages in the Wild" (Nature Machine
Intelligence 2022), which have the same layers. Attributes are called as the tensors in the files.

T  frames    S  samples, 640 T    D  width    V  vocabulary
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from avsr.imported.encoder import Blocks, EncoderConfig
from avsr.imported.frontends import AudioFrontend, VideoFrontend, out_of
from avsr.model.layers.decoder import Decoder, DecoderConfig, DecoderScorer

FusionNorm = Literal["batch", "layer", "none"]


class AutoAVSRConfig(BaseModel):
    """What such a network is besides its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["auto-avsr"] = "auto-avsr"
    vocabulary: int = Field(..., ge=3, le=100_000, description="V")
    video: EncoderConfig | None = None
    audio: EncoderConfig | None = None
    fusion_width: int = Field(0, ge=0, le=65536)
    fusion_norm: FusionNorm = "none"
    decoder: DecoderConfig

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.video is None and self.audio is None:
            raise ValueError("video or audio must be given")
        if (self.fusion_width > 0) != (self.video is not None and self.audio is not None):
            raise ValueError("fusion_width belongs to a network with video and audio")
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """The one that the network has weights for."""
        if self.audio is None:
            return ("video",)
        return ("audio",) if self.video is None else ("av",)


class Encoder(Blocks):
    """The frames of one modality."""

    def __init__(self, config: EncoderConfig, frontend: nn.Module) -> None:
        super().__init__(config)
        self.frontend = frontend
        self.embed = nn.Sequential(nn.Linear(out_of(config.channels), config.width))

    def forward(self, x: Tensor) -> Tensor:
        """What the front end takes -> (T, D)."""
        return self.blocks(self.embed(self.frontend(x)))


class Fusion(nn.Module):
    """Two encoders' frames, the lips' first, to one."""

    def __init__(self, before: int, inner: int, width: int, norm: FusionNorm) -> None:
        super().__init__()
        self.norm = norm
        self.fc1 = nn.Linear(before, inner)
        if norm == "batch":
            self.bn1 = nn.BatchNorm1d(inner)
        elif norm == "layer":
            self.norm1 = nn.LayerNorm(inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """(T, D) and (T, D) -> (T, D)."""
        inner = self.fc1(torch.cat((video, audio), dim=1))
        if self.norm == "batch":
            inner = self.bn1(inner)
        elif self.norm == "layer":
            inner = self.norm1(inner)
        return self.fc2(F.relu(inner))


class AutoAVSR(nn.Module):
    """One network for one modality: av, audio or video. Made from its configuration."""

    normalised_audio = True  # zero mean and unit variance, see avsr.imported.clips

    def __init__(self, config: AutoAVSRConfig) -> None:
        super().__init__()
        self.config = config
        width = config.decoder.width
        video, audio = config.video, config.audio
        if video is not None:
            self.encoder = Encoder(video, VideoFrontend(video.activation, video.channels))
        elif audio is not None:
            self.encoder = Encoder(audio, AudioFrontend(audio.activation, audio.channels))
        if video is not None and audio is not None:
            self.aux_encoder = Encoder(audio, AudioFrontend(audio.activation, audio.channels))
            both = video.width + audio.width
            self.fusion = Fusion(both, config.fusion_width, width, config.fusion_norm)
        self.decoder = Decoder(config.decoder, config.vocabulary)
        self.ctc = nn.ModuleDict({"ctc_lo": nn.Linear(width, config.vocabulary)})

    def encode(self, modality: str, video: Tensor | None, audio: Tensor | None) -> Tensor:
        """The encoder's output, the memory of the decoder.

        Args:
            modality: one of modalities.
            video: (T, 88, 88), normalised; not looked at for audio.
            audio: (S,), normalised; not looked at for video.

        Returns:
            (T, D).
        """
        if modality == "video":
            return self.encoder(video)
        if modality == "audio":
            return self.encoder(audio)
        return self.fusion(self.encoder(video), self.aux_encoder(audio))

    def ctc_log_probs(self, modality: str, memory: Tensor) -> Tensor:
        """(T, D) -> (T, V)."""
        return self.ctc["ctc_lo"](memory).log_softmax(dim=-1)

    @property
    def front_ends(self) -> tuple[str, ...]:
        """Names of the parts that turn pictures and samples into frames."""
        encoders = [name for name in ("encoder", "aux_encoder") if hasattr(self, name)]
        return tuple(f"{name}.frontend" for name in encoders)

    def output_name(self, modality: str) -> str:
        """The decoder's output layer."""
        return "output_layer"

    def scorer(self, modality: str) -> DecoderScorer:
        """What a beam search asks."""
        return DecoderScorer(self.decoder)
