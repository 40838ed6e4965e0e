"""The attention decoder beside CTC, of our networks and of the research networks.

Vaswani et al., "Attention Is All You Need", 2017, with normalisation before each layer. In a search
it reads one token of every hypothesis at a time and keeps the keys and values of what it has read;
those of the encoder's output are computed once an utterance. In training it reads whole texts at
once. Attributes are called as the tensors in the files of the research networks are.

B  clips    T  frames    H  hypotheses    U  tokens read    D  width    A  heads    V  vocabulary
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]
EPS = 1e-12  # of every layer normalisation, as in the research networks


class DecoderConfig(BaseModel):
    """What a decoder is besides its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(..., ge=2, le=4096, description="D")
    heads: int = Field(..., ge=1, le=64)
    feed_forward: int = Field(..., ge=1, le=16384)
    layers: int = Field(..., ge=1, le=100)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice the heads ({self.heads})")
        return self


@dataclass(frozen=True)
class State:
    """What has been read of every hypothesis.

    Attributes:
        cache: keys and values of each layer, (H, A, U, D / A).
        memory: those of the encoder's output, (A, T, D / A); none in a language model.
    """

    cache: tuple[KeysValues, ...]
    memory: tuple[KeysValues, ...] = ()

    def select(self, indices: Tensor) -> State:
        """The state of hypotheses `indices` (K,), in that order."""
        cache = tuple((keys[indices], values[indices]) for keys, values in self.cache)
        return State(cache, self.memory)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sine in even and cosine in odd columns (Vaswani et al., 2017).

    Args:
        positions: (R,) float32; may be negative.
        width: D, even.

    Returns:
        (R, D) float32.
    """
    columns = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions[:, None] * torch.exp(columns * (-math.log(10000) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.relu(self.w_1(x)))


class Attention(nn.Module):
    """Attention without relative positions: of one new token to those before it, or to memory."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)

    def nothing(self) -> KeysValues:
        """What is cached before the first token: (1, A, 0, D / A), twice."""
        weight = self.linear_k.weight
        empty = weight.new_empty((1, self.heads, 0, weight.shape[0] // self.heads))
        return empty, empty

    def of_memory(self, memory: Tensor) -> KeysValues:
        """(T, D) -> keys and values (A, T, D / A)."""
        keys = self._by_head(self.linear_k(memory)).transpose(0, 1)
        values = self._by_head(self.linear_v(memory)).transpose(0, 1)
        return keys.contiguous(), values.contiguous()

    def to_past(self, x: Tensor, past: KeysValues) -> tuple[Tensor, KeysValues]:
        """Attends from the newest token of each hypothesis to all of its own.

        Args:
            x: (H, D).
            past: keys and values without the new token, (H, A, U, D / A).

        Returns:
            (H, D) and the keys and values with it.
        """
        keys = torch.cat((past[0], self._by_head(self.linear_k(x))[:, :, None]), dim=2)
        values = torch.cat((past[1], self._by_head(self.linear_v(x))[:, :, None]), dim=2)
        queries = self._by_head(self.linear_q(x))[:, :, None]  # (H, A, 1, D / A)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.linear_out(mixed.flatten(1)), (keys, values)

    def to_memory(self, x: Tensor, memory: KeysValues) -> Tensor:
        """(H, D) -> (H, D): to a memory that all hypotheses share they are so many queries."""
        queries = self._by_head(self.linear_q(x)).transpose(0, 1)  # (A, H, D / A)
        keys, values = memory
        mixed = F.scaled_dot_product_attention(queries[None], keys[None], values[None])
        return self.linear_out(mixed[0].transpose(0, 1).flatten(1))

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Whole texts at once: (B, U, D) to a source (B, S, D) where mask (B or 1, U or 1, S)."""
        queries, keys, values = (
            # (B, N, D) -> (B, A, N, D / A)
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.linear_q(x), self.linear_k(source), self.linear_v(source))
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask[:, None])
        return self.linear_out(mixed.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, A, D / A)."""
        return x.unflatten(1, (self.heads, -1))


class DecoderLayer(nn.Module):
    """Attention to what was said, attention to the frames, feed-forward."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.width, config.heads)
        self.src_attn = Attention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.feed_forward)
        self.norm1 = nn.LayerNorm(config.width, EPS)
        self.norm2 = nn.LayerNorm(config.width, EPS)
        self.norm3 = nn.LayerNorm(config.width, EPS)

    def forward(self, x: Tensor, past: KeysValues, memory: KeysValues) -> tuple[Tensor, KeysValues]:
        """(H, D) -> (H, D) and the cache with the new token, see Attention."""
        mixed, past = self.self_attn.to_past(self.norm1(x), past)
        x = x + mixed
        x = x + self.src_attn.to_memory(self.norm2(x), memory)
        return x + self.feed_forward(self.norm3(x)), past

    def read(self, x: Tensor, memory: Tensor, valid: Tensor, dropout: float) -> Tensor:
        """Whole texts (B, U, D) over memories (B, T, D), whose frames count where valid (B, T)."""
        before = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()[None]
        y = self.norm1(x)
        x = x + F.dropout(self.self_attn(y, y, before), dropout)
        x = x + F.dropout(self.src_attn(self.norm2(x), memory, valid[:, None]), dropout)
        return x + F.dropout(self.feed_forward(self.norm3(x)), dropout)


class Decoder(nn.Module):
    """Reads the tokens of hypotheses over one memory.

    Args:
        config: of the decoder.
        vocabulary: V.
        outputs: names of its output layers; a family with several has one a modality.
    """

    def __init__(
        self, config: DecoderConfig, vocabulary: int, outputs: tuple[str, ...] = ("output_layer",)
    ) -> None:
        super().__init__()
        self.vocabulary, self.width = vocabulary, config.width
        self.embed = nn.Sequential(nn.Embedding(vocabulary, config.width))
        self.decoders = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.after_norm = nn.LayerNorm(config.width, EPS)
        for output in outputs:
            self.add_module(output, nn.Linear(config.width, vocabulary))

    def forward(
        self, tokens: Tensor, memory: Tensor, valid: Tensor, dropout: float = 0.0
    ) -> Tensor:
        """Whole texts at once, each token with those before it in view.

        Args:
            tokens: (B, U) int64, the start of the text first.
            memory: (B, T, D).
            valid: (B, T) bool, frames that count.
            dropout: share of what each layer adds that is left out, in training.

        Returns:
            (B, U, D), what an output layer gets.
        """
        places = torch.arange(tokens.shape[1], dtype=torch.float32, device=tokens.device)
        x = self.embed(tokens) * math.sqrt(self.width) + sinusoids(places, self.width)
        for layer in self.decoders:
            x = cast(DecoderLayer, layer).read(x, memory, valid, dropout)
        return self.after_norm(x)

    def start(self, memory: Tensor) -> State:
        """The state of one empty hypothesis over a memory (T, D)."""
        layers = [cast(DecoderLayer, layer) for layer in self.decoders]
        cache = tuple(layer.self_attn.nothing() for layer in layers)
        return State(cache, tuple(layer.src_attn.of_memory(memory) for layer in layers))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Tokens (H,) -> (H, D), what an output layer gets, and the new state."""
        read = state.cache[0][0].shape[2]
        position = torch.tensor([read], dtype=torch.float32, device=tokens.device)
        x = self.embed(tokens) * math.sqrt(self.width)
        x = x + sinusoids(position, self.width).to(x.dtype)
        cache = []
        for layer, past, memory in zip(self.decoders, state.cache, state.memory, strict=True):
            x, past = layer(x, past, memory)
            cache.append(past)
        return self.after_norm(x), State(tuple(cache), state.memory)


class DecoderScorer:
    """A decoder with one of its output layers, see TokenScorer."""

    def __init__(self, decoder: Decoder, output: str = "output_layer") -> None:
        self.decoder = decoder
        self.output = decoder.get_submodule(output)

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.decoder.vocabulary

    @torch.inference_mode()
    def start(self, memory: Tensor) -> State:
        """See TokenScorer."""
        return self.decoder.start(memory)

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See TokenScorer."""
        x, state = self.decoder.step(tokens, state)
        return self.output(x).log_softmax(dim=-1), state

    @torch.inference_mode()
    def select(self, state: State, indices: Tensor) -> State:
        """See TokenScorer."""
        return state.select(indices)
