"""Word errors as a loss: what greedy decoding is scored by, where CTC only asks for likely
texts."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import torch
from torch import Tensor
from torch.distributions import Categorical

from avsr.decoding.ctc import collapse
from avsr.model.tokenizer import Tokenizer


def expected_word_errors(
    log_probs: Tensor,
    lens: Tensor,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    paths: int = 8,
    sharpness: float = 2.0,
) -> Tensor:
    """Word errors per spoken word that paths through the outputs make on average.

    CTC takes the outputs for independent: one that puts a letter a little early and one that puts
    it a little late may both be more likely than not, which costs CTC next to nothing and greedy
    decoding a word said twice. Paths are drawn and scored; what is better than the others drawn of
    its clip becomes more likely.

    Method: Graves & Jaitly 2014, Towards End-to-End Speech Recognition with Recurrent Neural
    Networks; the mean of the other paths as the baseline from Shannon 2017, Optimizing expected
    word error rate via sampling.

    Args:
        log_probs: (B, T, U).
        lens: (B,) int64, outputs that count in each clip.
        texts: what was said in each clip, may be empty.
        tokenizer: of the U tokens.
        paths: drawn for each clip, at least 2.
        sharpness: power of the posteriors that are drawn from; towards infinity all paths are the
            greedy one.

    Returns:
        The mean over the paths drawn; its gradient is that estimator's.
    """
    policy = torch.log_softmax(sharpness * log_probs.float(), -1)
    with torch.no_grad():
        drawn = Categorical(logits=policy).sample((paths,))  # (P, B, T)
        heard = [tokenizer.decode(ids) for ids in collapse(drawn.flatten(0, 1), lens.repeat(paths))]
        counts = [_word_errors(*pair) for pair in zip([*texts] * paths, heard, strict=True)]
        errors = torch.tensor(counts, device=lens.device).view(paths, -1)
        regret = (errors - errors.mean(0)) * paths / (paths - 1)
    inside = torch.arange(policy.shape[1], device=lens.device) < lens[:, None]
    chosen = policy.expand(paths, -1, -1, -1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
    score = (chosen * inside).sum(-1)  # (P, B)
    surrogate = (regret * score).mean(0).sum()
    words = max(1, sum(len(text.split()) for text in texts))
    return (errors.mean(0).sum() + surrogate - surrogate.detach()) / words


def _word_errors(spoken: str, heard: str) -> float:
    """Substitutions, deletions and insertions; where nothing was said, every word heard is one."""
    if not spoken:  # jiwer takes no empty reference
        return float(len(heard.split()))
    found = jiwer.process_words(spoken, heard)
    return float(found.substitutions + found.deletions + found.insertions)
