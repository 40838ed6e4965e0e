"""The running average of the weights of a network that is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from avsr.training.run.sharded import own_share, parted_like


class Follower:
    """A network that follows another one: its weights are a running average, moved all at once.

    Args:
        average: of the same shape as model, in the same precision; whole.
        model: is trained; its tensors stay where they are. Of those that are parted among processes
            each follows its own share, and ``gather`` brings them together.
    """

    def __init__(self, average: nn.Module, model: nn.Module) -> None:
        self.pairs = list(
            zip(average.state_dict().values(), model.state_dict().values(), strict=True)
        )
        self._begin()

    def _begin(self) -> None:
        pairs = [(own_share(parted_like(mean, value)), value) for mean, value in self.pairs]
        self.shares = [mean for mean, _ in pairs]
        self.weights = [
            (mean, own_share(value)) for mean, value in pairs if mean.is_floating_point()
        ]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Moves every weight by this share of its distance; counters are the model's."""
        torch._foreach_lerp_(
            [mean for mean, _ in self.weights], [value for _, value in self.weights], share
        )
        for mean, value in self.counters:
            mean.copy_(value)

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], average: nn.Module) -> None:
        """Goes on from saved weights; average: the network that follows."""
        average.load_state_dict(state)
        self._begin()

    @torch.no_grad()
    def gather(self) -> None:
        """Makes the network that follows whole; all processes must call it."""
        for (mean, value), share in zip(self.pairs, self.shares, strict=True):
            if isinstance(value, DTensor):
                mesh, placements = value.device_mesh, value.placements
                parted = DTensor.from_local(
                    share, mesh, placements, shape=value.shape, stride=value.stride()
                )
                mean.copy_(parted.full_tensor())
