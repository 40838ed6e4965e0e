"""The language model of the research networks, as the search asks it.

Vaswani et al., "Attention Is All You Need", 2017, with normalisation before each layer. It reads
one token of every hypothesis at a time and keeps the keys and values of what it has read.
Attributes are called as the tensors in the files are.

H  hypotheses    U  tokens read    D  width    A  heads    V  vocabulary
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from avsr.model.layers.decoder import EPS, Attention, DecoderConfig, FeedForward, KeysValues, State


class LanguageModelConfig(DecoderConfig):
    """What a language model is besides its weights."""

    vocabulary: int = Field(..., ge=3, le=100_000, description="V")
    embedding: int = Field(..., ge=1, le=4096, description="width of a token's embedding")


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
