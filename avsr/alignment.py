"""When was each word said: CTC forced alignment, word times and confidences.

T  frames, 25 a second        U  tokens, 0 is the CTC blank        L  tokens of the text
S  states of the text with a blank before, between and after its tokens, S = 2 L + 1
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsr.decoding import BLANK
from avsr.preprocessing.errors import AvsrError

TAIL_FRAMES = 3  # CTC's spike marks the beginning of a word's last sound: up to 0.12 s of what follows is still it
LETTER_GAP = 8  # frames (0.32 s) between two letters of a word; what lies further off has drifted into the silence


@dataclass(frozen=True)
class WordSpan:
    """A word on the frame clock: frames first to last (exclusive), and the mean posterior of its letters."""

    word: str
    first: int
    last: int
    confidence: float


def forced_align(log_probs: Tensor, ids: Sequence[int]) -> Tensor:
    """The most probable CTC path that spells `ids` (Viterbi, all states of a frame at once).

    Method: Graves et al., "Connectionist Temporal Classification", ICML 2006, section 4, with max for sum.

    Args:
        log_probs: (T, U) float, frame posteriors of one clip without padding.
        ids: the L tokens of the text, without blanks.

    Returns:
        (L, 2) int64: first frame of each token and the frame after its last one.

    Raises:
        AvsrError: the text needs more frames than there are, or no path has a probability above zero.
    """
    length = len(ids)
    if length == 0:
        return torch.zeros(0, 2, dtype=torch.int64)
    tokens = torch.as_tensor(ids, dtype=torch.int64)
    frames, needed = len(log_probs), length + int((tokens[1:] == tokens[:-1]).sum())
    if frames < needed:
        raise AvsrError(f"a text of {length} characters needs {needed} frames, the clip has {frames}: shorten the text")
    states = torch.full((2 * length + 1,), BLANK)
    states[1::2] = tokens
    emit = log_probs.float().cpu()[:, states]  # (T, S)

    moves = _viterbi(emit, states)
    state = moves.final
    if state is None:
        raise AvsrError("no path through the clip spells the text: it is impossible under the model")
    path = torch.empty(frames, dtype=torch.int64)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(moves.back[t, state])
    spans = torch.empty(length, 2, dtype=torch.int64)
    for i in range(length):
        inside = torch.nonzero(path == 2 * i + 1).flatten()
        spans[i, 0], spans[i, 1] = inside[0], inside[-1] + 1
    return spans


@dataclass(frozen=True)
class _Moves:
    """back (T, S) int8: states stepped forward on entering; final: the last state, None where no path exists."""

    back: Tensor
    final: int | None


def _viterbi(emit: Tensor, states: Tensor) -> _Moves:
    """Best way into each state of each frame: from itself, the one before, or over a blank between two tokens."""
    frames, count = emit.shape
    skippable = torch.zeros(count, dtype=torch.bool)
    skippable[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    no_skip = torch.where(skippable, 0.0, -torch.inf)

    back = torch.zeros(frames, count, dtype=torch.int8)
    score = torch.full((count + 2,), -torch.inf)  # two states of padding in front make the shifts plain slices
    score[2:4] = emit[0, :2]
    for t in range(1, frames):
        ways = torch.stack((score[2:], score[1:-1], score[:-2] + no_skip))
        best, back[t] = ways.max(dim=0)
        score[2:] = best + emit[t]
    final = count - 1 if score[-1] >= score[-2] else count - 2
    return _Moves(back, final if torch.isfinite(score[final + 2]) else None)


def word_times(log_probs: Tensor, ids: Sequence[int], tokens: Sequence[str]) -> list[WordSpan]:
    """The words that `ids` spell, each with its frames and its confidence.

    A word starts with its first letter. It ends with its last one, or up to TAIL_FRAMES later, but never
    after the next word starts. Letters that drifted away from the others (CTC does not mind whether the first letter
    of an utterance comes long before the sound, or the last one long after it) count as standing beside them. The
    confidence of a word is the mean over its letters of the posterior at their peak.

    Args:
        log_probs: (T, U) float, frame posteriors of one clip without padding.
        ids: the tokens of the text, without blanks.
        tokens: the string of each id; the one for " " separates words.

    Returns:
        One span per word, in order.

    Raises:
        AvsrError: as in forced_align.
    """
    spans = forced_align(log_probs, ids).tolist()
    words: list[list[int]] = []  # positions in ids
    inside = False
    for position, token in enumerate(ids):
        if tokens[token] == " ":
            inside = False
            continue
        if not inside:
            words.append([])
        words[-1].append(position)
        inside = True

    probs = log_probs.float().exp().cpu()
    extents = [
        _extent([spans[i] for i in word], opens=n == 0, closes=n == len(words) - 1) for n, word in enumerate(words)
    ]
    starts = [first for first, _ in extents] + [len(log_probs)]
    found = []
    for word, (first, last), following in zip(words, extents, starts[1:], strict=True):
        peaks = [float(probs[slice(*spans[i]), ids[i]].max()) for i in word]
        text = "".join(tokens[ids[i]] for i in word)
        found.append(WordSpan(text, first, min(last + TAIL_FRAMES, following), sum(peaks) / len(peaks)))
    return found


def _extent(letters: Sequence[Sequence[int]], *, opens: bool, closes: bool) -> tuple[int, int]:
    """First frame of a word and the frame after its last one, by those of its letters that lie together.

    Args:
        letters: [first, last + 1] frame of each letter.
        opens: it is the first word: its letters drift forward in time, so the last of them are in place.
        closes: it is the last word: its letters drift the other way. Otherwise most of its letters are in place.
    """
    runs = [[0]]  # positions in letters
    for position, (before, letter) in enumerate(itertools.pairwise(letters), 1):
        if letter[0] - before[1] > LETTER_GAP:
            runs.append([])
        runs[-1].append(position)
    kept = max(runs, key=len) if opens == closes else runs[-1] if opens else runs[0]
    # A frame for each letter that is elsewhere: there is room for it, since it has one there.
    return letters[kept[0]][0] - kept[0], letters[kept[-1]][1] + len(letters) - 1 - kept[-1]
