"""The attention decoder and the language model of the research networks, as the search asks them.

Vaswani et al., "Attention Is All You Need", 2017, with normalisation before each layer. Both read
one token of every hypothesis at a time and keep the keys and values of what they have read; those
of the encoder's output are computed once an utterance. Attributes are called as the tensors in the
files are.

T  frames    H  hypotheses    U  tokens read    D  width    A  heads    V  vocabulary
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from avsr.imported.encoder import EPS, FeedForward, sinusoids

KeysValues = tuple[Tensor, Tensor]


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


class LanguageModelConfig(DecoderConfig):
    """What a language model is besides its weights."""

    vocabulary: int = Field(..., ge=3, le=100_000, description="V")
    embedding: int = Field(..., ge=1, le=4096, description="width of a token's embedding")


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


class LanguageLayer(nn.Module):
    """Attention to what was said, feed-forward."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.feed_forward)
        self.norm_mha = nn.LayerNorm(config.width, EPS)
        self.norm_ff = nn.LayerNorm(config.width, EPS)

    def forward(self, x: Tensor, past: KeysValues) -> tuple[Tensor, KeysValues]:
        """(H, D) -> (H, D) and the cache with the new token, see Attention."""
        mixed, past = self.self_attn.to_past(self.norm_mha(x), past)
        x = x + mixed
        return x + self.feed_forward(self.norm_ff(x)), past


class LanguageEncoder(nn.Module):
    """The layers of the language model; it knows no positions."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(config.embedding, config.width), nn.LayerNorm(config.width), nn.ReLU()
        )
        self.encoders = nn.ModuleList(LanguageLayer(config) for _ in range(config.layers))
        self.after_norm = nn.LayerNorm(config.width, EPS)


class LanguageModel(nn.Module):
    """A Transformer language model over the same tokens, see TokenScorer."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.embedding)
        self.encoder = LanguageEncoder(config)
        self.decoder = nn.Linear(config.width, config.vocabulary)

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.config.vocabulary

    @torch.inference_mode()
    def start(self, memory: Tensor) -> State:
        """See TokenScorer; memory is not looked at."""
        layers = [cast(LanguageLayer, layer) for layer in self.encoder.encoders]
        return State(tuple(layer.self_attn.nothing() for layer in layers))

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See TokenScorer."""
        x = self.encoder.embed(self.embed(tokens))
        cache = []
        for layer, past in zip(self.encoder.encoders, state.cache, strict=True):
            x, past = layer(x, past)
            cache.append(past)
        logits = self.decoder(self.encoder.after_norm(x))
        return logits.log_softmax(dim=-1), State(tuple(cache))

    @torch.inference_mode()
    def select(self, state: State, indices: Tensor) -> State:
        """See TokenScorer."""
        return state.select(indices)
