"""What a model is: frozen, validated, and stored inside every checkpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsr.preprocessing.faces.crop_styles import OWN

HEAD_DIM = 64  # of attention in Whisper, whatever the size


class ModelConfig(BaseModel):
    """Everything needed to rebuild a network besides its weights.

    ``fusion`` decides where the streams meet: ``cross`` (cross-modal attention, then joint blocks),
    ``early`` (embeddings are added and all blocks are joint) or ``late`` (two full recognisers
    whose posteriors are mixed). The number of blocks a signal passes is the same in all three.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("avsr", min_length=1, max_length=60)
    tokens: tuple[str, ...] = Field(
        ..., min_length=2, description="token strings; index 0 is the CTC blank"
    )
    piece_scores: tuple[float, ...] = Field(
        (), description="log probability of each token of a vocabulary of pieces; see the tokenizer"
    )
    language: str = Field(
        "",
        max_length=20,
        description="texts were spelt as preprocessing.text.spelt does in it; empty: as they were",
    )
    fusion: Literal["cross", "early", "late"] = "cross"
    n_mels: int = Field(80, ge=20, le=128)
    crop: int = Field(64, ge=32, le=96, description="side of the picture the network sees, pixels")
    dim: int = Field(144, ge=16, le=1024, description="D, width of the conformer blocks")
    heads: int = Field(4, ge=1, le=16)
    ff_mult: int = Field(2, ge=1, le=8, description="feed-forward width over D")
    conv_kernel: int = Field(
        15, ge=3, le=63, description="frames a block's depthwise convolution spans; odd"
    )
    video_width: int = Field(
        16, ge=4, le=128, description="channels of the first ResNet stage; doubled per stage"
    )
    audio_frontend: Literal["convolution", "whisper"] = Field(
        "convolution",
        description="mel to 25 Hz: two convolutions, or a Transformer shaped as Whisper's encoder",
    )
    audio_width: int = Field(
        32, ge=4, le=1024, description="channels of the audio front end; 384 in Whisper's tiny"
    )
    audio_layers: int = Field(
        4, ge=1, le=24, description="Transformer blocks of a whisper front end"
    )
    stream_layers: int = Field(
        2, ge=0, le=24, description="conformer blocks in each stream before they meet"
    )
    cross_layers: int = Field(
        1, ge=0, le=12, description="blocks in each stream with attention to the other"
    )
    joint_layers: int = Field(2, ge=0, le=24, description="conformer blocks after fusion")
    space_dim: int = Field(
        64, ge=8, le=512, description="P, width of the space that both streams share"
    )
    outputs_per_frame: int = Field(
        1, ge=1, le=4, description="CTC outputs for each frame; more give fast speech room"
    )
    self_conditioning: bool = Field(
        True, description="stream posteriors are fed back into the stream"
    )
    decoder_layers: int = Field(
        0, ge=0, le=24, description="of an attention decoder over the fused part; 0 has none"
    )
    decoder_ff: int = Field(2048, ge=1, le=16384, description="feed-forward width of the decoder")
    dropout: float = Field(0.1, ge=0, lt=1)

    @property
    def crops(self) -> str:
        """The style of the mouth crops that networks of ours read."""
        return OWN.name

    @property
    def longest(self) -> int | None:
        """Frames of the longest clip to train on: none is too long."""
        return None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.piece_scores and len(self.piece_scores) != len(self.tokens):
            raise ValueError(
                f"piece_scores are {len(self.piece_scores)}, one for each of {len(self.tokens)} "
                "tokens are needed"
            )
        if self.decoder_layers and self.fusion == "late":
            raise ValueError("decoder_layers: late fusion has no fused part to decode; set 0")
        if self.dim % (2 * self.heads):
            raise ValueError(
                f"dim={self.dim} must be a multiple of twice the heads (2 x {self.heads})"
            )
        if self.audio_frontend == "whisper" and self.audio_width % HEAD_DIM:
            raise ValueError(
                f"audio_width={self.audio_width} of a whisper front end must be a multiple of "
                f"{HEAD_DIM}"
            )
        if self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel={self.conv_kernel} must be odd")
        return self


# Sizes by name; a recipe may change any field. Parameters: grid-tiny about 3 M (two CPU cores),
# grid-whisper 11 M, the same with Whisper tiny's encoder, grid about 13 M, lrs 60 M with its
# decoder.
SIZES: dict[str, dict] = {
    "grid-tiny": {"outputs_per_frame": 2},
    "grid-whisper": {
        "outputs_per_frame": 2,
        "audio_frontend": "whisper",
        "audio_width": 384,
        "audio_layers": 4,
    },
    "grid": {
        "crop": 88,
        "dim": 256,
        "ff_mult": 3,
        "video_width": 32,
        "audio_width": 48,
        "stream_layers": 2,
        "cross_layers": 1,
        "joint_layers": 2,
        "outputs_per_frame": 2,
    },
    "lrs": {
        "crop": 88,
        "dim": 384,
        "heads": 6,
        "ff_mult": 3,
        "conv_kernel": 31,
        "video_width": 64,
        "audio_width": 64,
        "stream_layers": 4,
        "cross_layers": 1,
        "joint_layers": 3,
        "decoder_layers": 3,
        "decoder_ff": 1536,
    },
}
