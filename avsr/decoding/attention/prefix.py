"""CTC prefix scores: how probable it is that a text begins with certain tokens, or is just those.

Method: Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", IEEE
JSTSP 2017, algorithm 2; the recursion over time in closed form.

H  hypotheses        C  tokens tried after each        T  frames
V  vocabulary, 0 is the CTC blank
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avsr.decoding.ctc import BLANK

LOG_ZERO = -1e4  # stands for log 0 among posteriors: infinity minus infinity would be no number


@dataclass(frozen=True)
class Prefixes:
    """H prefixes and the paths that spell them; column t has those over the first t frames.

    Attributes:
        token: (H, T + 1) float64, log probability of the paths that end in the last token; the r^n
            of the paper.
        blank: (H, T + 1) float64, of those that end in a blank; its r^b.
        last: (H,) int64, the last token; the blank for the empty prefix, which has none.
    """

    token: Tensor
    blank: Tensor
    last: Tensor

    @property
    def either(self) -> Tensor:
        """(H, T + 1) float64, of the paths that spell the prefix, whatever they end in."""
        return torch.logaddexp(self.token, self.blank)


class CtcPrefixScorer:
    """Prefix probabilities of one clip, in double precision on the CPU.

    Args:
        log_probs: (T, V) float, CTC log posteriors of one clip without padding.
    """

    def __init__(self, log_probs: Tensor) -> None:
        finite = log_probs.detach().cpu().double().clamp(min=LOG_ZERO)
        self._log_probs = finite.T.contiguous()  # (V, T)

    def start(self) -> Prefixes:
        """The empty prefix: certain before the first frame, and after that blanks alone."""
        nothing = torch.zeros(1, 1, dtype=torch.float64)
        blank = torch.cat([nothing, self._log_probs[BLANK].cumsum(0)[None]], dim=1)
        return Prefixes(torch.full_like(blank, -torch.inf), blank, torch.tensor([BLANK]))

    def begins(self, prefixes: Prefixes, tokens: Tensor) -> Tensor:
        """How probable it is that the text begins with a prefix and a further token.

        Args:
            prefixes: H of them.
            tokens: (H, C) int64, those tried after each prefix, no blanks among them.

        Returns:
            (H, C) float64, log probabilities; -inf where the frames do not suffice.
        """
        repeated = tokens == prefixes.last[:, None]
        before = torch.where(
            repeated[:, :, None], prefixes.blank[:, None], prefixes.either[:, None]
        )
        return torch.logsumexp(before[:, :, :-1] + self._log_probs[tokens], dim=2)

    def ends(self, prefixes: Prefixes) -> Tensor:
        """(H,) float64: log probability that the text is just the prefix."""
        return prefixes.either[:, -1]

    def extend(self, prefixes: Prefixes, parents: Tensor, tokens: Tensor) -> Prefixes:
        """Longer prefixes.

        Args:
            prefixes: H of them.
            parents: (K,) int64, which of them each new one begins with.
            tokens: (K,) int64, the token that follows.
        """
        repeated = tokens == prefixes.last[parents]  # needs a blank between its two spikes
        before = torch.where(repeated[:, None], prefixes.blank[parents], prefixes.either[parents])
        token = _stay(before, self._log_probs[tokens])
        blank = _stay(token, self._log_probs[BLANK].expand(len(tokens), -1))
        return Prefixes(token, blank, tokens)


def _stay(before: Tensor, log_probs: Tensor) -> Tensor:
    """Paths that enter a state at any frame and stay in it.

    With r_t = x_t + log(exp r_{t-1} + exp phi_{t-1}) and P_t the sum of x up to t, r_t - P_t is the
    running log-sum-exp of phi_{t-1} - P_{t-1}.

    Args:
        before: (K, T + 1), phi: log probability of the paths that may enter after t frames.
        log_probs: (K, T), x: what the state emits in each frame.

    Returns:
        (K, T + 1), r: log probability of being in the state after t frames.
    """
    nowhere = before.new_zeros(len(before), 1)
    emitted = torch.cat([nowhere, log_probs.cumsum(1)], dim=1)
    entered = torch.logcumsumexp(before[:, :-1] - emitted[:, :-1], dim=1)
    return torch.cat([nowhere - torch.inf, entered + emitted[:, 1:]], dim=1)
