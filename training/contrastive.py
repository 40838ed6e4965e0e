"""Losses of several processes: what is compared among the clips of all of them, and means over all
clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(
    audio: Tensor, video: Tensor, heard: Tensor, seen: Tensor, tau: float = 0.1
) -> dict[str, Tensor]:
    """Contrast of sound and lips: which moment of a clip, and which clip of the batch, do they
    share (InfoNCE).

    A moment is looked for in its clip, a clip among those of all processes.

    The moments teach where in time lips and sound fit (as in Chung & Zisserman 2016, Out of time),
    the clips whose lips go with a sound.

    Args:
        audio: (B, T, P) unit vectors.
        video: (B, T, P) unit vectors.
        heard: (B, T) bool.
        seen: (B, T) bool.
        tau: temperature.

    Returns:
        "infonce_frames" and "infonce_clips", means over both directions, in nats.
    """
    audio, video, both = audio.float(), video.float(), heard & seen
    near = audio @ video.transpose(1, 2) / tau  # (B, T, T), one row a sound frame
    moments = [own_in_row(scores, both) for scores in (near, near.mT)]
    audio, video, both = gathered(audio), gathered(video), gathered(both)
    heard_then = (audio * both.unsqueeze(-1)).flatten(1)
    seen_then = (video * both.unsqueeze(-1)).flatten(1)
    shared = both.float() @ both.float().T  # (B, B), moments at which sound i and lips j are there
    fit = heard_then @ seen_then.T / shared.clamp_min(1) / tau
    clips = torch.stack([own_in_row(scores, both.any(1)) for scores in (fit, fit.mT)]).mean()
    # Every process has the loss of all clips, and a gradient for its own: they are to be added up,
    # where the processes' mean is taken.
    return {
        "infonce_frames": torch.stack(moments).mean(),
        "infonce_clips": clips * processes() - clips.detach() * (processes() - 1),
    }


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(own: Tensor) -> Tensor:
    """(B, T, ...) of every process as one, padded with zeros; its own part has a gradient. All
    processes must call it."""
    if processes() == 1:
        return own
    sizes = torch.tensor(own.shape[:2], device=own.device)
    dist.all_reduce(sizes, dist.ReduceOp.MAX)
    clips, frames = sizes.tolist()
    missing = [clips - own.shape[0], frames - own.shape[1]]
    padded = F.pad(own, [0, 0] * (own.ndim - 2) + [0, missing[1], 0, missing[0]]).contiguous()
    parts = [torch.empty_like(padded) for _ in range(processes())]
    dist.all_gather(parts, padded.detach())
    parts[dist.get_rank()] = padded
    return torch.cat(parts)


def own_in_row(scores: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of finding what belongs to each row, its place on the diagonal, among all that
    counts.

    Args:
        scores: (..., N, N).
        counts: (..., N) bool, of rows and of columns. No row is picked out, which would wait for
            the device.
    """
    log_probs = scores.masked_fill(~counts.unsqueeze(-2), -1e4).log_softmax(-1)
    own = log_probs.diagonal(dim1=-2, dim2=-1)
    return -(own * counts).sum() / counts.sum().clamp_min(1)


def pooled(
    losses: dict[str, Tensor], counts: dict[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Means over the clips of all processes, from the means over the clips of each.

    DistributedDataParallel takes the mean of the processes' gradients, as if each had as many
    tokens. Here each loss is weighed by its process's share of them, so that the gradient is what
    one process with all the clips would get. The statistics of batch norm stay in their process.

    Args:
        losses: means over this process's clips.
        counts: what each is a mean over: tokens, frames, words or clips.
        names: all losses there may be, in the same order in every process: one may lack what
            another has.
    """
    if processes() == 1:
        return losses
    table = torch.zeros(2, len(names), device=next(iter(losses.values())).device)  # counts, sums
    for i, name in enumerate(names):
        if name in losses:
            table[0, i] = counts[name]
            table[1, i] = counts[name] * losses[name].detach()
    own = table[0].clone()
    dist.all_reduce(table)
    shares = own * processes() / table[0].clamp_min(1)
    means = table[1] / table[0].clamp_min(1)
    out = {}
    for i, name in enumerate(names):
        if name in losses:
            part = losses[name] * shares[i]
            # the mean over all; the gradient of this process's part
            out[name] = part + (means[i] - part).detach()
    return out
