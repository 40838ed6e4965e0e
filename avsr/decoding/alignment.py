"""When was each word said: CTC forced alignment, word times and confidences.

T  outputs of the model, R for each frame        U  tokens, 0 is the CTC blank        L  tokens of
the text S  states of the text with a blank before, between and after its tokens, S = 2 L + 1
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.decoding import fast
from avsr.decoding.ctc import BLANK
from avsr.decoding.words import PAUSE_S
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS

# frames (0.32 s) between two letters of a word; what lies further off has drifted into the silence
LETTER_GAP = 8
# frames between letters where a text without spaces is parted, tried in this order
GAPS = (LETTER_GAP, 4, 2, 1, 0)
# what has more letters and takes longer (3 s) is no word but a text without spaces
WORD_LETTERS, WORD_FRAMES = 20, 75
# frames of silence, after which nothing is glued to what was said before
PAUSE = round(PAUSE_S * FPS)
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
        glued: it is written without a space before it.
        places: where each of its letters begins and ends.
    """

    word: str
    first: float
    last: float
    letters: tuple[float, float]
    confidence: float
    weakest: float
    glued: bool = False
    places: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Timing:
    """How far words reach beyond their letters' spikes, which lie anywhere in a sound; it differs
    between models.

    Attributes:
        lead_frames: a word begins up to so many frames before its first letter.
        tail_frames: and ends up to so many after its last one.
    """

    lead_frames: int = 0
    tail_frames: int = 3

    def stretch(
        self, extents: Sequence[tuple[float, float]], frames: float
    ) -> list[tuple[float, float]]:
        """Words from their letters: each goes beyond its own as far as the letters of its
        neighbours let it.

        Args:
            extents: where the letters of each word of an utterance begin and end, in frames, in
                order.
            frames: length of the utterance. What two words could share belongs to the later one.
        """
        ends = [0, *(last for _, last in extents)]
        starts = [
            max(first - self.lead_frames, end)
            for (first, _), end in zip(extents, ends, strict=False)
        ]
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
        if (
            not isinstance(entry, dict)
            or not entry.keys() <= known
            or not all(n in FRAMES for n in entry.values())
        ):
            raise AvsrError(
                f"the model's word_times are {entry!r}: must be {' and '.join(known)} of "
                f"{FRAMES[0]} to {FRAMES[-1]}; "
                "fit them again with avsr calibrate"
            )
        return cls(**{name: int(frames) for name, frames in entry.items()})


def forced_align(log_probs: Tensor, ids: Sequence[int]) -> np.ndarray:
    """The most probable CTC path that spells `ids`.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        ids: the L tokens of the text, without blanks.

    Returns:
        (L, 2) int64: first output of each token and the one after its last.

    Raises:
        AvsrError: the text needs more outputs than there are, or no path has a probability above
            zero.
    """
    return forced_align_batch([log_probs], [ids])[0]


def forced_align_batch(
    log_probs: Sequence[Tensor], ids: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """As `forced_align`, for several clips in one pass: all states of all clips move on by one
    output at a time. Long ones are left to torchaudio, where it is there: see `fast`.

    Method: Graves et al., "Connectionist Temporal Classification", ICML 2006, section 4, with max
    for sum.

    Args:
        log_probs: (T, U) float of each clip; T may differ.
        ids: the tokens of each text.
    """
    for clip, text in zip(log_probs, ids, strict=True):
        _check_length(len(clip), text)
    placed = [fast.forced_align(clip, text) for clip, text in zip(log_probs, ids, strict=True)]
    left = [i for i, outputs in enumerate(placed) if outputs is None]
    by_us = iter(_aligned([log_probs[i] for i in left], [ids[i] for i in left]))
    return [next(by_us) if outputs is None else outputs for outputs in placed]


def _aligned(log_probs: Sequence[Tensor], ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The same, all of them here."""
    if not ids:
        return []
    widest = 2 * max(map(len, ids)) + 1
    # (B, S); what lies beyond a text is never reached from its ends
    states = np.full((len(ids), widest), BLANK)
    emit = np.full((max(map(len, log_probs)), len(ids), widest), -np.inf, np.float32)  # (T, B, S)
    for i, (clip, text) in enumerate(zip(log_probs, ids, strict=True)):
        states[i, 1 : 2 * len(text) : 2] = text
        count = 2 * len(text) + 1
        emit[: len(clip), i, :count] = clip.float().cpu().numpy()[:, states[i, :count]]

    back, score = _viterbi(emit, states, [len(clip) for clip in log_probs])
    lengths = [(len(clip), len(text)) for clip, text in zip(log_probs, ids, strict=True)]
    return [
        _spans(back[:outputs, i], score[i], length) for i, (outputs, length) in enumerate(lengths)
    ]


def _check_length(outputs: int, ids: Sequence[int]) -> None:
    """Raises where a text needs more outputs than a clip has."""
    needed = len(ids) + sum(before == token for before, token in itertools.pairwise(ids))
    if outputs < needed:
        raise AvsrError(
            f"a text of {len(ids)} characters needs {needed} outputs, the clip has {outputs}: "
            "shorten the text"
        )


def _viterbi(
    emit: np.ndarray, states: np.ndarray, lens: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Best way into each state of each output: from itself, the one before, or over a blank between
    two tokens.

    Args:
        emit: (T, B, S) float32, log probability of each state's token; overwritten.
        states: (B, S) tokens.
        lens: outputs that count in each clip.

    Returns:
        (T, B, S) int8, states stepped forward on entering; (B, S) float32, score of each state
        after a clip's end.
    """
    count = states.shape[1]
    no_skip = np.full(states.shape, -np.inf, np.float32)
    skippable = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    no_skip[:, 2:][skippable] = 0.0

    back = np.zeros(emit.shape, np.int8)
    # two states of padding make the shifts plain slices
    score = np.full((len(states), count + 2), -np.inf, np.float32)
    final = np.full(states.shape, -np.inf, np.float32)
    ends = {length - 1: np.flatnonzero(np.equal(lens, length)) for length in lens}
    stay, step, over = score[:, 2:], score[:, 1:-1], score[:, :-2]
    for t, gain in enumerate(emit):
        if t == 0:
            stay[:, :2] = gain[:, :2]
        else:
            skip, moved = over + no_skip, back[t]
            np.greater(step, stay, out=moved, casting="unsafe")
            best = np.maximum(stay, step)
            moved[skip > best] = 2
            np.maximum(best, skip, out=best)
            np.add(best, gain, out=stay)
        if t in ends:
            final[ends[t]] = stay[ends[t]]
    return back, final


def _spans(back: np.ndarray, score: np.ndarray, length: int) -> np.ndarray:
    """(L, 2): the outputs of each token on the best path of one clip, (T, S) moves and (S,) final
    scores."""
    if length == 0:
        return np.zeros((0, 2), np.int64)
    state = 2 * length if score[2 * length] >= score[2 * length - 1] else 2 * length - 1
    if not np.isfinite(score[state]):
        raise AvsrError(
            "no path through the clip spells the text: it is impossible under the model"
        )
    path = np.empty(len(back), np.int64)
    # bytes are read one by one much faster than an array
    width, moves = back.shape[1], back.tobytes()
    for t in range(len(back) - 1, -1, -1):
        path[t] = state
        state -= moves[t * width + state]
    tokens = np.arange(1, 2 * length, 2)
    return np.stack(
        [np.searchsorted(path, tokens), np.searchsorted(path, tokens, side="right")], axis=1
    )


def word_times(
    log_probs: Tensor,
    ids: Sequence[int],
    tokenizer: Tokenizer,
    timing: Timing | None = None,
    per_frame: int = 1,
    outputs: np.ndarray | None = None,
) -> list[WordSpan]:
    """The words that `ids` spell, each with its frames and its confidence.

    A word reaches from its first letter to its last one and a little beyond, see `Timing`. Letters
    that drifted away from the others (CTC does not mind whether the first letter of an utterance
    comes long before the sound, or the last one long after it) count as standing beside them.

    Args:
        log_probs: (T, U) float, of one clip without padding.
        ids: the tokens of the text, without blanks.
        tokenizer: of the U tokens.
        timing: how far words reach beyond their letters.
        per_frame: R, outputs for each frame.
        outputs: (L, 2), what `forced_align` returned for them; found here where it is not given.

    Returns:
        One span per word, in order.

    Raises:
        AvsrError: as in forced_align.
    """
    placed = (forced_align(log_probs, ids) if outputs is None else outputs).tolist()
    spans = [(first / per_frame, last / per_frame) for first, last in placed]
    words: list[list[int]] = []  # positions in ids
    glued: list[bool] = []
    for stretch in tokenizer.words(ids):
        pieces = [part for word in stretch for part in parts(word, spans)]
        glued += [
            False,
            *(spans[b[0]][0] - spans[a[-1]][1] <= PAUSE for a, b in itertools.pairwise(pieces)),
        ]
        words += pieces

    probs = log_probs.float().exp().cpu().numpy()
    extents = [
        _extent([spans[i] for i in word], 1 / per_frame, opens=n == 0, closes=n == len(words) - 1)
        for n, word in enumerate(words)
    ]
    found = []
    stretched = (timing or Timing()).stretch(extents, len(log_probs) / per_frame)
    for word, close, letters, (first, last) in zip(words, glued, extents, stretched, strict=True):
        peaks = [float(probs[slice(*placed[i]), ids[i]].max()) for i in word]
        text = tokenizer.decode(ids[i] for i in word)
        places = tuple(spans[i] for i in word)
        found.append(
            WordSpan(text, first, last, letters, sum(peaks) / len(peaks), min(peaks), close, places)
        )
    return found


def parts(word: list[int], spans: Sequence[tuple[float, float]]) -> list[list[int]]:
    """What stands between two spaces, in parts where it is too long for a word: the text has no
    spaces.

    It is parted at all pauses of the longest kind that there is, and each part that is still too
    long at shorter ones. So where a part begins depends on what is near it alone.

    Args:
        word: positions of its letters.
        spans: where each letter begins and ends, in frames.
    """
    found = [word]
    for gap in GAPS:
        shorter: list[list[int]] = []
        for part in found:
            lasts = (
                spans[part[-1]][1] - spans[part[0]][0] > WORD_FRAMES and len(part) > WORD_LETTERS
            )
            shorter += _at_pauses(part, spans, gap) if lasts else [part]
        found = shorter
    return found


def _at_pauses(
    letters: list[int], spans: Sequence[tuple[float, float]], gap: float
) -> list[list[int]]:
    """Letters in parts, with `gap` frames or more between two."""
    found = [letters[:1]]
    for before, letter in itertools.pairwise(letters):
        if spans[letter][0] - spans[before][1] >= gap:
            found.append([])
        found[-1].append(letter)
    return found


def without_echoes(words: Sequence[WordSpan]) -> list[WordSpan]:
    """The words without those of one letter that come again within less than a frame (at one output
    a frame, none do).

    CTC takes outputs for independent: where such a word may as well lie a frame later, its letter
    is often the most likely token at both places. Nobody says a letter twice in so short a time.
    Where a text has no spaces, one letter is no word that is said for itself, and may well come
    twice.

    Args:
        words: of an utterance, in order.
    """
    kept = list(words[:1])
    for before, word in itertools.pairwise(words):
        again = len(word.word) == 1 and word.word == before.word and not word.glued
        if not (again and word.letters[0] - before.letters[1] < ECHO):
            kept.append(word)
    return kept


def _extent(
    letters: Sequence[Sequence[float]], least: float, *, opens: bool, closes: bool
) -> tuple[float, float]:
    """Where a word begins and ends, in frames, by those of its letters that lie together.

    Args:
        letters: where each letter begins and ends.
        least: the least that a letter takes, one output, in frames.
        opens: it is the first word: its letters drift forward in time, so the last of them are in
            place.
        closes: it is the last word: its letters drift the other way. Otherwise most of its letters
            are in place.
    """
    runs = [[0]]  # positions in letters
    for position, (before, letter) in enumerate(itertools.pairwise(letters), 1):
        if letter[0] - before[1] > LETTER_GAP:
            runs.append([])
        runs[-1].append(position)
    kept = max(runs, key=len) if opens == closes else runs[-1] if opens else runs[0]
    # The least for each letter that is elsewhere: there is room for it, since it has as much there.
    return letters[kept[0]][0] - kept[0] * least, letters[kept[-1]][1] + (
        len(letters) - 1 - kept[-1]
    ) * least
