"""Other mouths, other light, another camera: drawn clip by clip, done to a batch on its device.

What is drawn for a clip is one row of numbers, its look. It depends on the clip's generator alone.
The pixels, which cost most, are changed on the model's device. A change is the same for all frames
of a clip; only the grain moves.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from avsr.model.layers.frontends import VIEW, view_lips
from avsr.preprocessing.clip import CROP_SIZE
from avsr.training.config import AugmentConfig

# What a look holds, in this order.
PARTS: dict[str, tuple[int, ...]] = {
    "homography": (3, 3),  # where a pixel of the view is read, coordinates in [-1, 1]
    "bend": (2, 4, 4),  # how far each of 4 x 4 knots is moved from there
    "borrowed": (
        2,
    ),  # whose still picture is mixed in, as a place in the batch from 0 to 1, and its share
    "filter": (7, 7),  # a kernel that the picture passes
    "light": (3, 3),  # logarithm of the light at 3 x 3 knots
    "tone": (2,),  # gamma, and how much steeper the middle grey levels become
    "grain": (
        3,
    ),  # grey levels of sensor noise, and two numbers that say where it lies in each frame
}
SIZES = {name: int(np.prod(shape)) for name, shape in PARTS.items()}
LOOK = sum(SIZES.values())
GRAINS = 64  # places at which the grain may lie, each way
MIDDLE = 128.0  # grey level


def draw_look(config: AugmentConfig, rng: Generator) -> np.ndarray:
    """(LOOK,) float32, how one clip's crops are to be shown."""
    drawn = {
        "homography": _homography(config, rng),
        "bend": rng.normal(0, rng.uniform(0, config.warp_px) * 2 / CROP_SIZE, PARTS["bend"]),
        "borrowed": np.array(
            [rng.random(), rng.uniform(0, 0.8) if rng.random() < config.borrow else 0.0]
        ),
        "filter": _filter(config, rng),
        "light": rng.normal(0, 0.25, PARTS["light"]) * (rng.random() < config.light),
        "tone": np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.6)])
        * (rng.random() < config.picture),
        "grain": np.array(
            [rng.uniform(2, 12) * (rng.random() < config.picture / 2), *rng.integers(0, GRAINS, 2)]
        ),
    }
    return np.concatenate([np.ravel(drawn[name]) for name in PARTS]).astype(np.float32)


def plain_look() -> np.ndarray:
    """(LOOK,) float32, the look that shows a crop as it is."""
    looks = {name: np.zeros(shape) for name, shape in PARTS.items()}
    looks["homography"] = np.diag([VIEW / CROP_SIZE, VIEW / CROP_SIZE, 1.0])
    looks["filter"][3, 3] = 1.0
    return np.concatenate([np.ravel(looks[name]) for name in PARTS]).astype(np.float32)


def _homography(config: AugmentConfig, rng: Generator) -> np.ndarray:
    """(3, 3): a head turned, moved, of other size or proportions, mirrored, seen from the side."""
    zoom = VIEW / CROP_SIZE * np.exp(rng.uniform(-config.scale, config.scale))
    wide = np.exp(rng.uniform(-config.scale, config.scale))  # mouths differ in their proportions
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    shift = rng.uniform(-config.shift_px, config.shift_px, 2) * 2 / CROP_SIZE
    mirror = -1.0 if rng.random() < config.flip else 1.0
    shear = rng.uniform(-config.perspective, config.perspective)
    nearer = rng.uniform(
        -config.perspective, config.perspective, 2
    )  # one side of the picture than the other
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turned = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [*nearer, 1.0]])
    return turned @ np.array([[mirror * wide, shear, 0], [0, 1 / wide, 0], [0, 0, 1]])


def _filter(config: AugmentConfig, rng: Generator) -> np.ndarray:
    """(7, 7): nothing, blur, or a random convolution, another texture (Xu et al. 2021)."""
    size = PARTS["filter"][0]
    kernel = np.zeros((size, size))
    kernel[size // 2, size // 2] = 1.0
    kind = rng.random()
    if kind < config.picture:
        sigma = rng.uniform(0.4, 2.0)
        row = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
        kernel = np.outer(row, row) / row.sum() ** 2
    elif kind < config.picture + config.texture:
        side, share = int(rng.choice([3, 5, 7])), rng.uniform(0, 0.7)
        edge = (size - side) // 2
        kernel *= 1 - share
        kernel[edge : size - edge, edge : size - edge] += share * rng.normal(
            0, 1 / side, (side, side)
        )
    return kernel


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No mixed precision inside, on devices that know one."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@torch.no_grad()
def change_pictures(lips: Tensor, present: Tensor, looks: Tensor, size: int) -> Tensor:
    """Shows stored crops as their looks say.

    Args:
        lips: (B, T, 96, 96) uint8; black frames stay black.
        present: (B, T) bool.
        looks: (B, LOOK), see ``draw_look``.
        size: side of the view, pixels.

    Returns:
        (B, T, size, size) float32 in grey levels.
    """
    with full_precision(lips.device):  # half has too few grey levels
        look = {
            name: part.unflatten(1, PARTS[name])
            for name, part in zip(PARTS, looks.float().split(list(SIZES.values()), 1), strict=True)
        }
        black = lips.amax((2, 3)) == 0
        x = view_lips(lips, size, _places(look["homography"], look["bend"], size))
        x = _with_still_of_another(x, present & ~black, look["borrowed"])
        x = _filtered(x, look["filter"])
        x = _lit(x, look["light"], look["tone"])
        x += _grain(look["grain"], *x.shape[1:3])
        return x.clamp_(0, 255).masked_fill_(black[:, :, None, None], 0)


def _places(homography: Tensor, bend: Tensor, size: int) -> Tensor:
    """Where in the crop each pixel is read: (B, 3, 3), (B, 2, 4, 4) -> (B, size, size, 2)."""
    line = (torch.arange(size, device=bend.device) * 2 + 1) / size - 1
    down, across = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([across, down, torch.ones_like(down)], -1)  # (size, size, 3)
    moved = points @ homography.mT[:, None]  # (B, size, size, 3)
    warp = F.interpolate(bend, (size, size), mode="bicubic", align_corners=False)
    return moved[..., :2] / moved[..., 2:] + warp.permute(0, 2, 3, 1)


def _with_still_of_another(x: Tensor, seen: Tensor, borrowed: Tensor) -> Tensor:
    """Pictures (B, T, H, H), which are changed: their mean over time comes in part from another
    clip of the batch.

    What stays the same over a clip is the person, the beard and the light; what moves are words.
    """
    counts = seen.sum(1)
    still = torch.einsum("bthw,bt->bhw", x, seen / counts.clamp_min(1)[:, None])
    std, mean = torch.std_mean(still, (1, 2), keepdim=True)
    standard = (still - mean) / std.clamp_min(1)
    other = (borrowed[:, 0] * len(x)).long().clamp_max(len(x) - 1)
    share = borrowed[:, 1] * (counts > 0) * (counts[other] > 0)
    return x.add_((share[:, None, None] * std * (standard[other] - standard))[:, None])


def _filtered(x: Tensor, kernels: Tensor) -> Tensor:
    """Pictures (B, T, H, H) after one kernel (B, 7, 7) each."""
    edge = kernels.shape[-1] // 2
    clips_as_channels = F.pad(x.transpose(0, 1), (edge,) * 4, mode="replicate")
    kept = MIDDLE * (1 - kernels.sum((1, 2)))  # grey of MIDDLE stays what it is
    return F.conv2d(clips_as_channels, kernels[:, None], kept, groups=len(x)).transpose(0, 1)


def _lit(x: Tensor, light: Tensor, tone: Tensor) -> Tensor:
    """Pictures (B, T, H, H) in uneven light and through another tone curve."""
    gain = F.interpolate(light[:, None], x.shape[-2:], mode="bicubic", align_corners=False).exp()
    gamma, steeper = tone[:, :1, None, None].exp(), tone[:, 1:, None, None]
    x = (x * (gain / 255)).clamp_(0, 1).pow_(gamma)
    # 255 (x + steeper (3 x^2 - 2 x^3 - x)), with few passes over the pictures
    curve = x * (-510 * steeper)
    curve.add_(765 * steeper).mul_(x).add_(255 * (1 - steeper))
    return curve.mul_(x)


def _grain(grain: Tensor, frames: int, size: int) -> Tensor:
    """Sensor noise (B, T, H, H): one pattern, which lies elsewhere in each frame."""
    time = torch.arange(1, frames + 1, device=grain.device)
    down = ((grain[:, 1:2] + 1) * time * 7 + time * time) % GRAINS
    across = ((grain[:, 2:3] + 1) * time * 11 + time * time * 3) % GRAINS
    patches = (
        _pattern(size, grain.device).unfold(0, size, 1).unfold(1, size, 1)
    )  # (64, 64, size, size), a view
    return patches[down.long(), across.long()].mul_(grain[:, 0, None, None, None])


@functools.cache
def _pattern(size: int, device: torch.device) -> Tensor:
    """White noise, always the same."""
    side = size + GRAINS - 1
    return torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device)
