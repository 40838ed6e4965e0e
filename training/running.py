"""The running average of the weights of a network that is trained."""

from __future__ import annotations

import torch
from torch import nn


class Follower:
    """A network that follows another one: its weights are a running average, moved all at once.

    Args:
        average: of the same shape as model, in the same precision.
        model: is trained; its tensors stay where they are.
    """

    def __init__(self, average: nn.Module, model: nn.Module) -> None:
        pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
        self.weights = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Moves every weight by this share of its distance; counters are the model's."""
        torch._foreach_lerp_(
            [mean for mean, _ in self.weights], [value for _, value in self.weights], share
        )
        for mean, value in self.counters:
            mean.copy_(value)
