"""What torchaudio does faster, behind the functions of `alignment` and `ctc`: forced alignment, and
the beam search of a GPU.

torchaudio loads only beside the PyTorch that it was built for, and is in maintenance. So nothing
here needs it: where it does not load, or does not suit, the answer is None.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsr.decoding.ctc import BLANK

log = logging.getLogger(__name__)

# frames times states of a clip, from which on its alignment is faster than ours for a whole batch
# (measured: as fast with 9,000, twice as fast with 150,000); less does not repay importing it
WORTH = 100_000
WIDEST = 128  # beam of the search on a GPU; it must not be wider than the vocabulary either


def forced_align(log_probs: Tensor, ids: Sequence[int]) -> np.ndarray | None:
    """The most probable CTC path that spells `ids`, where it is long enough to be worth while.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        ids: the L tokens of the text, for which the T outputs suffice.

    Returns:
        (L, 2) int64, as `alignment.forced_align`; None where torchaudio does not load, where the
        clip is short, or where some token is impossible in some output: torchaudio reads memory
        that nobody has written where no path is possible.
    """
    if not ids or len(log_probs) * (2 * len(ids) + 1) < WORTH:
        return None
    if not bool(torch.isfinite(log_probs).all()):
        return None
    align = _function("torchaudio.functional", "forced_align")
    if align is None:
        return None
    tokens = torch.tensor([list(ids)], device=log_probs.device)
    path, _ = align(log_probs[None].float().contiguous(), tokens, blank=BLANK)
    return _runs(path[0].cpu().numpy())


def _runs(path: np.ndarray) -> np.ndarray:
    """Where each token of a path begins and ends; two of one kind have a blank between them.

    Args:
        path: (T,) int64, the token of each output.

    Returns:
        (L, 2) int64.
    """
    around = np.concatenate([[BLANK], path, [BLANK]])
    begins = (path != BLANK) & (path != around[:-2])
    ends = (path != BLANK) & (path != around[2:])
    return np.stack([np.flatnonzero(begins), np.flatnonzero(ends) + 1], axis=1)


def beam_search(
    log_probs: Tensor, lens: Tensor, width: int, tokens: Sequence[str]
) -> list[Sequence[int]] | None:
    """The best text of each clip of a batch by CTC prefix beam search on a GPU.

    It tries every token in every output, where `ctc.beam_search` leaves out what is very unlikely.

    Args:
        log_probs: (B, T, U) float.
        lens: (B,) int64, outputs that count in each clip.
        width: prefixes kept after each output.
        tokens: the string of each id.

    Returns:
        The ids of each clip; None where the posteriors are not on a GPU, torchaudio does not load
        or cannot search so widely.
    """
    if not log_probs.is_cuda or width > min(WIDEST, len(tokens)):
        return None
    make = _function("torchaudio.models.decoder", "cuda_ctc_decoder")
    if make is None:
        return None
    with torch.cuda.device(log_probs.device):
        # a threshold of 1 skips no output, however certain it is of the blank
        search = make(list(tokens), nbest=1, beam_size=width, blank_skip_threshold=1.0)
        found = search(
            log_probs.float().contiguous(), lens.to(log_probs.device, torch.int32).contiguous()
        )
    return [candidates[0].tokens for candidates in found]


@cache
def _function(module: str, name: str) -> Callable[..., Any] | None:
    """A function of torchaudio without its warning that it will go; None where it does not load: it
    is not installed, built for another PyTorch (RuntimeError) or other libraries (OSError)."""
    try:
        function = getattr(import_module(module), name)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        if not isinstance(error, ModuleNotFoundError):
            log.info("torchaudio is not used: %s", error)
        return None
    return inspect.unwrap(function)
