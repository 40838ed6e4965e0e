"""From pictures and samples to 25 vectors a second: the front ends that research networks share.

Stafylakis & Tzimiropoulos, "Combining Residual Networks with LSTMs for Lipreading", Interspeech
2017; Petridis et al., "End-to-end Audiovisual Speech Recognition", ICASSP 2018. Attributes are
called as the tensors in the files are.

T  frames, 25 a second    H, W  picture, 88 x 88    S  samples, 640 T    C  channels, 64
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

SAMPLES = 640  # of sound to a frame
STAGES = 4  # of the trunk, each twice as wide as the one before
CHANNELS = 64  # of the first one, in all published checkpoints
CHUNK = 32  # frames at once: what a stage writes is still in the cache when the next one reads it

Activation = Literal["swish", "prelu"]


def out_of(channels: int) -> int:
    """The width of what leaves a front end whose first stage has so many channels."""
    return channels * 2 ** (STAGES - 1)


def _activation(kind: Activation, width: int) -> nn.Module:
    return nn.PReLU(width) if kind == "prelu" else nn.SiLU(inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions of 3 with a way around them, over pictures or over time."""

    def __init__(self, dims: int, before: int, width: int, stride: int, kind: Activation) -> None:
        super().__init__()
        conv: Callable[..., nn.Module] = nn.Conv2d if dims == 2 else nn.Conv1d
        norm: Callable[..., nn.Module] = nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d
        self.conv1 = conv(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = norm(width)
        self.relu1 = _activation(kind, width)
        self.conv2 = conv(width, width, 3, padding=1, bias=False)
        self.bn2 = norm(width)
        self.relu2 = _activation(kind, width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            shortcut = conv(before, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.downsample(x)
        return self.relu2(y)


class Trunk(nn.Module):
    """ResNet-18 without its stem, over pictures (dims 2) or over time (dims 1)."""

    def __init__(self, dims: int, kind: Activation, channels: int) -> None:
        super().__init__()
        before = width = channels
        for stage in range(1, STAGES + 1):
            stride = 1 if stage == 1 else 2
            first = ResidualBlock(dims, before, width, stride, kind)
            second = ResidualBlock(dims, width, width, 1, kind)
            self.add_module(f"layer{stage}", nn.Sequential(first, second))
            before, width = width, 2 * width

    def stages(self, x: Tensor) -> Tensor:
        """(T, C, 22, 22) -> (T, 8 C, 3, 3), or (1, C, 160 T) -> (1, 8 C, 20 T)."""
        for stage in range(1, STAGES + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class AudioTrunk(Trunk):
    """The one-dimensional trunk; in the files its stem belongs to it."""

    def __init__(self, kind: Activation, channels: int) -> None:
        super().__init__(1, kind, channels)
        self.conv1 = nn.Conv1d(1, channels, 80, stride=4, padding=38, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.relu = _activation(kind, channels)


class VideoFrontend(nn.Module):
    """One convolution over space and time, then a ResNet-18 on each frame."""

    def __init__(self, kind: Activation = "swish", channels: int = CHANNELS) -> None:
        super().__init__()
        stem = nn.Conv3d(1, channels, (5, 7, 7), (1, 2, 2), padding=(2, 3, 3), bias=False)
        self.frontend3D = nn.Sequential(stem, nn.BatchNorm3d(channels))
        self.trunk = Trunk(2, kind, channels)

    def forward(self, frames: Tensor) -> Tensor:
        """Args:
            frames: (T, H, W), normalised.

        Returns:
            (T, 8 C).
        """
        padded = F.pad(frames, (0, 0, 0, 0, 2, 2))  # two frames of nothing before and after
        starts = range(0, len(frames), CHUNK)
        chunks = [self._chunk(padded[start : start + CHUNK + 4]) for start in starts]
        return torch.cat(chunks)

    def _chunk(self, frames: Tensor) -> Tensor:
        """(T + 4, H, W) -> (T, 8 C).

        Five frames as the channels of a picture, channels last in memory: the same sums as those of
        a convolution over time, and a fifth of the front end's time is saved.
        """
        conv, norm = cast(nn.Conv3d, self.frontend3D[0]), self.frontend3D[1]
        layout = torch.channels_last
        pictures = frames.unfold(0, 5, 1).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        weight = conv.weight[:, 0].contiguous(memory_format=layout)
        x = F.conv2d(pictures, weight, conv.bias, stride=2, padding=3)  # (T, C, H / 2, W / 2)
        x = norm(x[:, :, None])[:, :, 0]  # a normalisation of (T, C, 1, H / 2, W / 2)
        x = F.max_pool2d(F.silu(x, inplace=True), 3, stride=2, padding=1)
        return self.trunk.stages(x.contiguous()).mean(dim=(2, 3))


class AudioFrontend(nn.Module):
    """The same network over the samples of the sound."""

    def __init__(self, kind: Activation = "swish", channels: int = CHANNELS) -> None:
        super().__init__()
        self.trunk = AudioTrunk(kind, channels)

    def forward(self, samples: Tensor) -> Tensor:
        """Args:
            samples: (S,), 640 T of them.

        Returns:
            (T, 8 C).
        """
        trunk = self.trunk
        x = trunk.relu(trunk.bn1(trunk.conv1(samples[None, None])))  # (1, C, 160 T)
        x = F.avg_pool1d(trunk.stages(x), 20)
        return x[0].T


# A convolution and the batch normalisation that follows it, by the names they have in one module.
FOLDED = (("conv1", "bn1"), ("conv2", "bn2"), ("0", "1"), ("depthwise_conv", "norm"))


def fold_batch_norms(network: nn.Module) -> None:
    """Makes each batch normalisation part of the convolution before it; the outputs stay."""
    for module in list(network.modules()):
        for conv_name, norm_name in FOLDED:
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(norm, _BatchNorm) and isinstance(conv, _ConvNd):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
