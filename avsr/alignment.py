"""When was each word said: CTC forced alignment, word times and confidences.

T  outputs of the model, R for each frame        U  tokens, 0 is the CTC blank        L  tokens of the text
S  states of the text with a blank before, between and after its tokens, S = 2 L + 1
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from avsr.decoding import BLANK
from avsr.preprocessing.errors import AvsrError

LETTER_GAP = 8  # frames (0.32 s) between two letters of a word; what lies further off has drifted into the silence
ECHO = 1  # frames (0.04 s) between a letter and the same one again; less is no time to say it
FRAMES = range(11)  # that a word may reach beyond its spikes


@dataclass(frozen=True)
class WordSpan:
    """A word on the frame clock.

    Attributes:
        word: as it is spelt.
        first, last: where it begins and ends, in frames and 1/R of them.
        letters: the same of its letters alone, see `Timing`.
        confidence: mean over its letters of the posterior at their peak.
        weakest: the lowest of those.
    """

    word: str
    first: float
    last: float
    letters: tuple[float, float]
    confidence: float
    weakest: float


@dataclass(frozen=True)
class Timing:
    """How far words reach beyond their letters' spikes, which lie anywhere in a sound; it differs between models.

    Attributes:
        lead_frames: a word begins up to so many frames before its first letter.
        tail_frames: and ends up to so many after its last one.
    """

    lead_frames: int = 0
    tail_frames: int = 3

    def stretch(self, extents: Sequence[tuple[float, float]], frames: float) -> list[tuple[float, float]]:
        """Words from their letters: each goes beyond its own as far as the letters of its neighbours let it.

        Args:
            extents: where the letters of each word of an utterance begin and end, in frames, in order.
            frames: length of the utterance. What two words could share belongs to the later one.
        """
        ends = [0, *(last for _, last in extents)]
        starts = [max(first - self.lead_frames, end) for (first, _), end in zip(extents, ends, strict=False)]
        limits = [*starts[1:], frames]
        return [
            (start, min(last + self.tail_frames, limit))
            for start, (_, last), limit in zip(starts, extents, limits, strict=False)
        ]

    def to_info(self) -> dict[str, int]:
        """What stands in a model's info under "word_times"."""
        return asdict(self)

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> Timing:
        """What a model brings along, or the usual.

        Raises:
            AvsrError: no whole numbers of frames, or too many.
        """
        entry = info.get("word_times", {})
        known = cls().to_info().keys()
        if not isinstance(entry, dict) or not entry.keys() <= known or not all(n in FRAMES for n in entry.values()):
            raise AvsrError(
                f"the model's word_times are {entry!r}: must be {' and '.join(known)} of {FRAMES[0]} to {FRAMES[-1]}; "
                "fit them again with python -m avsr.eval.calibration"
            )
        return cls(**{name: int(frames) for name, frames in entry.items()})


def forced_align(log_probs: Tensor, ids: Sequence[int]) -> Tensor:
    """The most probable CTC path that spells `ids` (Viterbi, all states of a frame at once).

    Method: Graves et al., "Connectionist Temporal Classification", ICML 2006, section 4, with max for sum.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        ids: the L tokens of the text, without blanks.

    Returns:
        (L, 2) int64: first output of each token and the one after its last.

    Raises:
        AvsrError: the text needs more outputs than there are, or no path has a probability above zero.
    """
    length = len(ids)
    if length == 0:
        return torch.zeros(0, 2, dtype=torch.int64)
    tokens = torch.as_tensor(ids, dtype=torch.int64)
    outputs, needed = len(log_probs), length + int((tokens[1:] == tokens[:-1]).sum())
    if outputs < needed:
        raise AvsrError(
            f"a text of {length} characters needs {needed} outputs, the clip has {outputs}: shorten the text"
        )
    states = torch.full((2 * length + 1,), BLANK)
    states[1::2] = tokens
    emit = log_probs.float().cpu()[:, states]  # (T, S)

    moves = _viterbi(emit, states)
    state = moves.final
    if state is None:
        raise AvsrError("no path through the clip spells the text: it is impossible under the model")
    path = torch.empty(outputs, dtype=torch.int64)
    for t in range(outputs - 1, -1, -1):
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
    """Best way into each state of each output: from itself, the one before, or over a blank between two tokens."""
    outputs, count = emit.shape
    skippable = torch.zeros(count, dtype=torch.bool)
    skippable[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    no_skip = torch.where(skippable, 0.0, -torch.inf)

    back = torch.zeros(outputs, count, dtype=torch.int8)
    score = torch.full((count + 2,), -torch.inf)  # two states of padding in front make the shifts plain slices
    score[2:4] = emit[0, :2]
    for t in range(1, outputs):
        ways = torch.stack((score[2:], score[1:-1], score[:-2] + no_skip))
        best, back[t] = ways.max(dim=0)
        score[2:] = best + emit[t]
    final = count - 1 if score[-1] >= score[-2] else count - 2
    return _Moves(back, final if torch.isfinite(score[final + 2]) else None)


def word_times(
    log_probs: Tensor, ids: Sequence[int], tokens: Sequence[str], timing: Timing | None = None, per_frame: int = 1
) -> list[WordSpan]:
    """The words that `ids` spell, each with its frames and its confidence.

    A word reaches from its first letter to its last one and a little beyond, see `Timing`. Letters that drifted away
    from the others (CTC does not mind whether the first letter of an utterance comes long before the sound, or the last
    one long after it) count as standing beside them.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        ids: the tokens of the text, without blanks.
        tokens: the string of each id; the one for " " separates words.
        timing: how far words reach beyond their letters.
        per_frame: R, outputs for each frame.

    Returns:
        One span per word, in order.

    Raises:
        AvsrError: as in forced_align.
    """
    outputs = forced_align(log_probs, ids).tolist()
    spans = [(first / per_frame, last / per_frame) for first, last in outputs]
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
        _extent([spans[i] for i in word], 1 / per_frame, opens=n == 0, closes=n == len(words) - 1)
        for n, word in enumerate(words)
    ]
    found = []
    stretched = (timing or Timing()).stretch(extents, len(log_probs) / per_frame)
    for word, letters, (first, last) in zip(words, extents, stretched, strict=True):
        peaks = [float(probs[slice(*outputs[i]), ids[i]].max()) for i in word]
        text = "".join(tokens[ids[i]] for i in word)
        found.append(WordSpan(text, first, last, letters, sum(peaks) / len(peaks), min(peaks)))
    return found


def without_echoes(words: Sequence[WordSpan]) -> list[str]:
    """The words without those of one letter that come again within less than a frame (at one output a frame, none do).

    CTC takes outputs for independent: where such a word may as well lie a frame later, its letter is often the most
    likely token at both places. Nobody says a letter twice in so short a time.

    Args:
        words: of an utterance, in order.
    """
    kept = words[:1]
    for before, word in itertools.pairwise(words):
        echo = len(word.word) == 1 and word.word == before.word and word.letters[0] - before.letters[1] < ECHO
        kept = kept if echo else [*kept, word]
    return [word.word for word in kept]


def _extent(letters: Sequence[Sequence[float]], least: float, *, opens: bool, closes: bool) -> tuple[float, float]:
    """Where a word begins and ends, in frames, by those of its letters that lie together.

    Args:
        letters: where each letter begins and ends.
        least: the least that a letter takes, one output, in frames.
        opens: it is the first word: its letters drift forward in time, so the last of them are in place.
        closes: it is the last word: its letters drift the other way. Otherwise most of its letters are in place.
    """
    runs = [[0]]  # positions in letters
    for position, (before, letter) in enumerate(itertools.pairwise(letters), 1):
        if letter[0] - before[1] > LETTER_GAP:
            runs.append([])
        runs[-1].append(position)
    kept = max(runs, key=len) if opens == closes else runs[-1] if opens else runs[0]
    # The least for each letter that is elsewhere: there is room for it, since it has as much there.
    return letters[kept[0]][0] - kept[0] * least, letters[kept[-1]][1] + (len(letters) - 1 - kept[-1]) * least
