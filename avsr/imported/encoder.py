"""The encoder that the research networks share: conformer blocks with relative positions.

Gulati et al., "Conformer", Interspeech 2020; Dai et al., "Transformer-XL", ACL 2019 for the
attention. Attributes are called as the tensors in the files are.

T  frames, 25 a second    D  width    A  heads    R  distances, 2 T - 1 (legacy: T)
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from avsr.imported.frontends import CHANNELS, Activation
from avsr.model.layers.decoder import EPS, FeedForward, sinusoids

LEGACY_ROWS = 5000  # of the table that the older code cuts its positions from
DROPOUT = 0.1  # of what each layer adds, in training, as in the authors' recipes


class EncoderConfig(BaseModel):
    """What an encoder is besides its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(..., ge=2, le=4096, description="D")
    heads: int = Field(..., ge=1, le=64)
    feed_forward: int = Field(..., ge=1, le=16384)
    layers: int = Field(..., ge=1, le=100)
    kernel: int = Field(0, ge=0, le=255, description="frames a convolution spans; 0 has none")
    macaron: bool = Field(False, description="a second feed-forward layer before the attention")
    legacy_positions: bool = Field(False, description="the older relative attention")
    activation: Activation = Field("swish", description="of the front end's residual blocks")
    channels: int = Field(CHANNELS, ge=1, le=512, description="of the front end's first stage")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice the heads ({self.heads})")
        if self.kernel and self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        return self


def relative_table(frames: int, width: int, like: Tensor) -> Tensor:
    """Rows for the distances T - 1, ..., 0, ..., -(T - 1): (2 T - 1, D), type and device of
    like."""
    distances = torch.arange(frames - 1, -frames, -1, dtype=torch.float32, device=like.device)
    return sinusoids(distances, width).to(like.dtype)


def legacy_table(frames: int, width: int, like: Tensor) -> Tensor:
    """Rows for the positions 4999, 4998, ...: (T, D); where it is cut is a quirk of the old
    code."""
    rows = torch.arange(frames, dtype=torch.float32, device=like.device)
    return sinusoids(LEGACY_ROWS - 1 - rows, width).to(like.dtype)


def shift(raw: Tensor) -> Tensor:
    """Scores by distance -> scores by frame: (A, T, 2 T - 1) -> (A, T, T), a view.

    Frame i and frame j are i - j apart, which is column T - 1 - i + j of row i. So each row begins
    one column before where the row above it does.
    """
    heads, frames, distances = raw.shape
    raw = raw.contiguous()
    strides = (frames * distances, distances - 1, 1)
    return raw.as_strided((heads, frames, frames), strides, raw.storage_offset() + frames - 1)


def legacy_shift(raw: Tensor) -> Tensor:
    """The same of the older code, (A, T, T) -> (A, T, T); beyond the diagonal it mixes rows."""
    heads, frames, _ = raw.shape
    padded = F.pad(raw, (1, 0))  # (A, T, T + 1)
    return padded.view(heads, frames + 1, frames)[:, 1:]


class RelativeAttention(nn.Module):
    """Attention whose scores also depend on how far two frames are apart."""

    def __init__(self, width: int, heads: int, legacy: bool) -> None:
        super().__init__()
        self.heads, self.legacy = heads, legacy
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """Args:
            x: (T, D).
            table: (R, D), see relative_table and legacy_table.

        Returns:
            (T, D).
        """
        queries = self._by_head(self.linear_q(x))
        keys = self._by_head(self.linear_k(x))
        values = self._by_head(self.linear_v(x))
        positions = self._by_head(self.linear_pos(table))
        by_distance = (queries + self.pos_bias_v[:, None]) @ positions.transpose(1, 2)
        by_frame = legacy_shift(by_distance) if self.legacy else shift(by_distance)
        bias = by_frame / math.sqrt(queries.shape[-1])
        content = queries + self.pos_bias_u[:, None]
        mixed = F.scaled_dot_product_attention(content[None], keys[None], values[None], bias[None])
        return self.linear_out(mixed[0].transpose(0, 1).flatten(1))

    def _by_head(self, x: Tensor) -> Tensor:
        """(T, D) -> (A, T, D / A)."""
        return x.unflatten(1, (self.heads, -1)).transpose(0, 1)


class Convolution(nn.Module):
    """The convolution of a conformer block; "cov" is how the files spell it."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_cov1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_cov2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        y = F.glu(self.pointwise_cov1(x.T[None]), dim=1)
        y = F.silu(self.norm(self.depthwise_conv(y)))
        return self.pointwise_cov2(y)[0].T


class Block(nn.Module):
    """A conformer block, or a Transformer's where the configuration has no convolution."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.ff_scale = 0.5 if config.macaron else 1.0
        self.self_attn = RelativeAttention(width, config.heads, config.legacy_positions)
        self.feed_forward = FeedForward(width, config.feed_forward)
        self.norm_mha = nn.LayerNorm(width, EPS)
        self.norm_ff = nn.LayerNorm(width, EPS)
        self.feed_forward_macaron: FeedForward | None = None
        self.conv_module: Convolution | None = None
        if config.macaron:
            self.feed_forward_macaron = FeedForward(width, config.feed_forward)
            self.norm_ff_macaron = nn.LayerNorm(width, EPS)
        if config.kernel:
            self.conv_module = Convolution(width, config.kernel)
            self.norm_conv = nn.LayerNorm(width, EPS)
            self.norm_final = nn.LayerNorm(width, EPS)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """(T, D) -> (T, D); table: see RelativeAttention."""
        drop = self.drop
        if self.feed_forward_macaron is not None:
            x = x + self.ff_scale * drop(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        x = x + drop(self.self_attn(self.norm_mha(x), table))
        if self.conv_module is not None:
            x = x + drop(self.conv_module(self.norm_conv(x)))
        x = x + self.ff_scale * drop(self.feed_forward(self.norm_ff(x)))
        return x if self.conv_module is None else self.norm_final(x)


class Blocks(nn.Module):
    """The blocks of an encoder. What stands before them is the family's.

    Args:
        config: of the encoder.
        block: the class of one block.
    """

    def __init__(self, config: EncoderConfig, block: type[nn.Module] = Block) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(block(config) for _ in range(config.layers))
        self.after_norm = nn.LayerNorm(config.width, EPS)

    def blocks(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D); no absolute position is added."""
        width = self.config.width
        table = legacy_table if self.config.legacy_positions else relative_table
        positions = table(len(x), width, like=x)
        x = x * math.sqrt(width)
        for block in self.encoders:
            x = block(x, positions)
        return self.after_norm(x)
