"""What the streams are built of: attention, convolution, conformer blocks.

B  clips in a batch        T  frames, 25 a second        D  width of a block
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model.config import ModelConfig


def stand_in(dim: int, std: float = 1.0) -> nn.Parameter:
    """(dim,) normally distributed, what is learned for a frame in which there is nothing.

    On the meta device, where a model's shapes are made before its weights are filled in, nothing is
    drawn: there a normal distribution would import torch._dynamo, which takes longer than all the
    rest of loading a model.
    """
    values = torch.empty(dim)
    return nn.Parameter(values if values.is_meta else nn.init.normal_(values, std=std))


@functools.lru_cache(maxsize=4)
def rotary(
    frames: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, head_dim) of rotary position embedding (Su et al. 2021).

    Kept, as all blocks ask for the same ones. The sines of the first half are negative, see
    ``rotate``.
    """
    with torch.inference_mode(False):  # what is kept may be asked for by training next
        return _rotary(frames, head_dim, device, dtype)


def _rotary(
    frames: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    rates = 1000.0 ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angles = torch.arange(frames, device=device)[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., T, E) with each pair of values, half of E apart, turned by its frame's angle."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(B, heads, T, E) queries over S keys where mask (B, 1, 1, S) -> (B, heads, T, E); no dropout
    inside.

    On a CPU the backward pass of the fused kernel took a fifth of a training step, so there it is
    written out.
    """
    if not (query.requires_grad and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -1e9).softmax(-1).to(value.dtype) @ value


class Attention(nn.Module):
    """Multi-head attention with rotary positions, of a stream to itself or to the other stream.

    One extra key of zeros with a value of zeros is always there, so that looking at a stream that
    is wholly absent gives zero instead of NaN, and a frame is free to take nothing. ``plain``
    attention has neither; it must have something to look at.
    """

    def __init__(self, dim: int, heads: int, plain: bool = False) -> None:
        super().__init__()
        self.heads, self.plain = heads, plain
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """(B, T, D) queries over (B, T, D) source where source_mask (B, T) -> (B, T, D)."""
        query, key, value, mask = self._projected(x, source, source_mask)
        y = attend(query, key, value, mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """What `forward` looks at: (B, heads, T, T), and one more column for nothing unless
        plain."""
        query, key, _, mask = self._projected(x, source, source_mask)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return scores.masked_fill(~mask, -torch.inf).softmax(-1)

    def _projected(
        self, x: Tensor, source: Tensor, source_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, D / heads), and which keys are there, (B, 1, 1,
        T)."""
        frames, dim = x.shape[1:]
        query, keys_values, mask = self.query(x), self.key_value(source), source_mask
        if not self.plain:  # one more frame, all zeros: nothing to look at is a choice, too
            keys_values, mask = F.pad(keys_values, (0, 0, 0, 1)), F.pad(mask, (0, 1), value=True)
        query, key, value = (
            # (B, T, D) -> (B, heads, T, D / heads)
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (query, *keys_values.chunk(2, -1))
        )
        if not self.plain:
            # a traced graph makes its own: what is kept would be of the trace
            make = _rotary if torch.compiler.is_exporting() else rotary
            cos, sin = make(frames + 1, dim // self.heads, x.device, query.dtype)
            query, key = rotate(query, cos[:-1], sin[:-1]), rotate(key, cos, sin)
        return query, key, value, mask[:, None, None]


class FeedForward(nn.Sequential):
    def __init__(self, dim: int, mult: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * mult),
            nn.SiLU(),
            nn.Linear(dim * mult, dim),
            nn.Dropout(dropout),
        )

    @property
    def last(self) -> nn.Linear:
        """The linear map that ends the branch."""
        layer = self[-2]
        assert isinstance(layer, nn.Linear)
        return layer


class Convolution(nn.Module):
    """Gated pointwise, depthwise over time, pointwise; layer norm, so that no statistics cross
    clips."""

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = F.glu(self.expand(self.norm(x))).masked_fill(~valid.unsqueeze(-1), 0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
        return self.dropout(self.project(F.silu(self.inner_norm(x))))


class ConformerBlock(nn.Module):
    """Conformer block (Gulati et al. 2020); with ``cross`` also attention to the other stream,
    gated from zero."""

    def __init__(self, config: ModelConfig, cross: bool = False) -> None:
        super().__init__()
        dim, dropout = config.dim, config.dropout
        self.ff1 = FeedForward(dim, config.ff_mult, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, config.heads)
        self.convolution = Convolution(dim, config.conv_kernel, dropout)
        self.ff2 = FeedForward(dim, config.ff_mult, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.cross: Attention | None = None
        if cross:
            self.cross = Attention(dim, config.heads)
            self.cross_norm = nn.LayerNorm(dim)
            # tanh(0) = 0: at the start the streams ignore each other
            self.gate = nn.Parameter(torch.zeros(dim))
        # Each branch starts at zero: a block starts as a layer norm, and what lies above it learns
        # from the first step. (Measured on fixed streams, 80 steps of the fused part: CTC loss 0.32
        # a token, and 1.09 without.)
        for branch in (self.ff1.last, self.ff2.last, self.attention.out, self.convolution.project):
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)

    def forward(
        self,
        x: Tensor,
        valid: Tensor,
        other: Tensor | None = None,
        other_present: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); other (B, T, D) is looked at only where other_present (B, T)."""
        x = torch.add(x, self.ff1(x), alpha=0.5)
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, valid))
        if self.cross is not None and other is not None and other_present is not None:
            x = x + self.gate.tanh() * self.dropout(
                self.cross(self.cross_norm(x), other, other_present)
            )
        x = x + self.convolution(x, valid)
        x = torch.add(x, self.ff2(x), alpha=0.5)
        return self.norm(x)
