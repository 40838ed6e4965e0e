"""Long recordings in pieces: windows that overlap, and the seam between two of them, chosen by
word.

Each window begins some way before the seam, so that its words have been heard from their beginning.
Two windows see the words around the seam whole, and the seam lies after one that both found. So the
words of a file do not depend on where its windows fall: none is cut, lost or doubled because a time
was rounded to a frame. That holds for words no longer than what two windows share, a quarter of a
window at most.

Positions are frames (25 a second) from the beginning of the stream, with fractions: a word need not
begin with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.decoding.words import Hypothesis, Word, join, mean
from avsr.model.tokenizer import is_spaceless
from avsr.preprocessing.clip import FPS, Clip

if TYPE_CHECKING:
    from avsr.decoding.language import Language

# that one may grow to where a word, or a sentence of a grammar, is longer than a window
MOST_WINDOWS = 3
OVERLAP = 100  # frames (4 s) that two windows share, in a window of 20 s
CONTEXT = 25  # frames (1 s) in front of the first word that a window has to get right
GUARD = 25  # frames (1 s) at the end of a window whose words may be cut in half
APART = 5  # frames (0.2 s) by which two windows may differ about where a word is

Recognise = Callable[[Clip, bool], Hypothesis]
"""Words of a clip; the second value says whether what is said ends with it."""


@dataclass(frozen=True)
class Unit:
    """A word, or the words of a sentence that must stay whole, in frames of the stream."""

    words: list[Word]
    start: float
    end: float

    @property
    def text(self) -> str:
        return join(self.words)

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Window:
    """Frames first to last of the stream, and what was recognised in them."""

    clip: Clip
    first: int
    units: list[Unit]
    complete: int  # so many of its units are not cut off by its end

    @property
    def last(self) -> int:
        return self.first + self.clip.frames

    @property
    def overlap(self) -> int:
        """Frames that it shares with the next one, if nothing speaks against it."""
        return min(OVERLAP, self.clip.frames // 4)

    def part(self, first: int, last: int, units: Sequence[Unit]) -> tuple[Clip, Hypothesis]:
        """Frames and units of it, as they are handed on."""
        words = [word for unit in units for word in unit.words]
        said = Hypothesis(join(words), words, mean([word.confidence for word in words]))
        return self.clip.window(first - self.first, last - self.first), said


def in_windows(
    stream: Iterable[Clip], recognise: Recognise, language: Language | None, size: int
) -> Iterator[tuple[Clip, Hypothesis]]:
    """Recognises clips that follow each other, of any size, in overlapping windows.

    Args:
        stream: the recording, without gaps.
        recognise: finds the words of a window.
        language: what is decoded with; says which words must stay together.
        size: frames of a window. It grows, up to MOST_WINDOWS times that, where it holds no whole
            unit to go on from.

    Yields:
        Parts that follow each other without a gap, each with its words. A word on a seam belongs to
        one part alone.
    """
    source, first, length = Recording(stream), 0, size
    # what is pending: its units from `begun` on, and its frames from `since` on
    before: Window | None = None
    since = begun = 0
    spaceless = False  # windows of a text without spaces are put together letter by letter
    while True:
        clip, more = source.window(first, first + length)
        if clip is None:
            return
        words = recognise(clip, not more).words
        spaceless |= language is None and any(word.glued for word in words)
        units = _units(_letters(words) if spaceless else words, language, source.origin_s)
        complete = (
            _complete(units, first + clip.frames, clip.frames, language) if more else len(units)
        )
        here = Window(clip, first, units, complete)
        left, right = _seam(before, begun, here) if before is not None else (0, 0)
        follows = _next_first(here, right, language) if more else here.last
        if follows is None and length < MOST_WINDOWS * size:
            length += size  # the same window again, longer
            continue
        if before is not None:
            low, high = max(since, here.first), min(before.last, here.last)
            at = _seam_frame(before.units[:left], here.units[right:], low, high)
            yield before.part(since, at, before.units[begun:left])
            since = at
        if not more:
            yield here.part(since, here.last, here.units[right:])
            return
        before, begun, length = here, right, size
        first = here.last - here.overlap if follows is None else follows


class Recording:
    """A stream of clips as one recording, of which only what is still needed is kept."""

    def __init__(self, stream: Iterable[Clip]) -> None:
        self._stream = iter(stream)
        self._held: Clip | None = None
        self._first = 0  # frame of the stream at which `_held` begins
        self._ended = False
        self.origin_s = 0.0  # where the stream begins

    def window(self, first: int, last: int) -> tuple[Clip | None, bool]:
        """Frames first to last, fewer at the end, and whether more follow; what lies before them is
        let go."""
        if self._held is not None:
            self._held, self._first = (
                self._held.window(first - self._first, self._held.frames),
                first,
            )
        while not self._ended and (self._held is None or self._first + self._held.frames <= last):
            clip = next(self._stream, None)
            if clip is None:
                self._ended = True
            elif self._held is None:
                self._held, self.origin_s = clip, clip.start_s
            else:
                self._held = joined(self._held, clip)
        if self._held is None:
            return None, False
        return self._held.window(
            0, min(last - first, self._held.frames)
        ), self._held.frames > last - first


def joined(first: Clip, second: Clip) -> Clip:
    """Two clips that follow each other as one."""
    names = ("audio", "lips", "audio_present", "video_present")
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names
    }
    return replace(first, **arrays, quality=None)


def _units(words: Sequence[Word], language: Language | None, origin_s: float) -> list[Unit]:
    """Words that must stay together, each such group as one."""
    sizes = [1] * len(words) if language is None else language.units([word.word for word in words])
    units, done = [], 0
    for size in sizes:
        group = list(words[done : done + size])
        start, end = ((at_s - origin_s) * FPS for at_s in (group[0].start_s, group[-1].end_s))
        units.append(Unit(group, start, end))
        done += size
    return units


def _letters(words: Sequence[Word]) -> list[Word]:
    """Words of a text without spaces, in letters: where such a text is parted may depend on the
    window."""
    found = []
    for word in words:
        if is_spaceless(word.word) or len(word.letters) != len(word.word):
            found.append(word)  # a letter already, with the marks on it
            continue
        for n, (letter, place) in enumerate(zip(word.word, word.letters, strict=True)):
            glued = word.glued or n > 0
            found.append(
                replace(
                    word,
                    word=letter,
                    start_s=place[0],
                    end_s=place[1],
                    glued=glued,
                    letters=(place,),
                )
            )
    return found


def passages(words: Sequence[Word]) -> list[Word]:
    """The words of a whole file: of a text without spaces, what was said between two pauses; see
    `alignment.parts`."""
    from avsr.decoding.alignment import parts

    spans = [(round(word.start_s * FPS, 3), round(word.end_s * FPS, 3)) for word in words]
    runs: list[list[int]] = []
    for n, word in enumerate(words):
        if not (word.glued and runs) or is_spaceless(word.word) or is_spaceless(words[n - 1].word):
            runs.append([])
        runs[-1].append(n)
    return [
        _one([words[n] for n in part])
        for run in runs
        for part in (parts(run, spans) if len(run) > 1 else [run])
    ]


def _one(words: Sequence[Word]) -> Word:
    """Words that are glued to each other as one."""
    first = words[0]
    if len(words) == 1:
        return first
    letters = tuple(letter for word in words for letter in word.letters)
    sure, heard = (
        mean([word.confidence for word in words]),
        mean([word.audio_weight for word in words]),
    )
    return Word(
        join(words).strip(),
        first.start_s,
        words[-1].end_s,
        sure,
        heard,
        first.glued,
        letters,
        first.source,
    )


def _complete(units: Sequence[Unit], last: int, frames: int, language: Language | None) -> int:
    """How many units of a window that ends at `last` are not cut off there."""
    count = sum(unit.end <= last - min(GUARD, frames // 6) for unit in units)
    if language is not None and language.whole_units:
        count = min(count, len(units) - 1)  # the last sentence may go on
    return max(0, count)


def _next_first(window: Window, begun: int, language: Language | None) -> int | None:
    """Where the next window begins: OVERLAP before the end of this one, or so early that it sees a
    whole unit again.

    Args:
        window: what was recognised.
        begun: which of its units the seam on its left leaves to it.
        language: the sentences of a grammar are recognised from their beginning or not at all.

    Returns:
        A frame; None where the window should rather grow, because it would hardly get on.
    """
    whole, frames = language is not None and language.whole_units, window.clip.frames
    units, usual = window.units[begun:], window.last - window.overlap
    context = 0 if whole else min(CONTEXT, frames // 8)
    complete = window.units[begun : window.complete]
    following = units[len(complete)].start if len(complete) < len(units) else math.inf
    in_pause = math.floor(min(usual, following - context))
    starts = [math.floor(unit.start) for unit in complete]
    if not complete or in_pause >= complete[-1].end + CONTEXT:  # nothing around it to find again
        first = in_pause
        if whole and begun:
            first = max(first, math.floor(window.units[begun - 1].end))
    elif whole:  # with the beginning of a sentence, the last one again at the latest
        first = next((start for start in starts if start >= usual), starts[-1])
    else:  # so early that it finds the last complete unit again: the seam may lie behind that
        first = min(usual, starts[-1] - context)
    return first if first - window.first >= frames // 4 else None


def _seam(before: Window, begun: int, after: Window) -> tuple[int, int]:
    """Where one window's units end and the next one's begin.

    Best after a unit that both found, at the same place, as far as can be from both edges. Where
    they agree on none, in a pause that both have, or else where the seam cuts least.

    Args:
        before: a window; its units from `begun` on are pending.
        after: the next one, which begins before that ends.

    Returns:
        How many of the units of `before` come before the seam, and of those of `after`.
    """
    pairs = set(_same(before, begun, after))

    def trust(pair: tuple[int, int]) -> tuple[int, float]:
        """How many units around it are the same too, and how far it is from the edges."""
        i, j = pair
        margin = min(
            before.units[i].start - after.first, min(before.last, after.last) - before.units[i].end
        )
        return sum((i + step, j + step) in pairs for step in (-2, -1, 1, 2)), margin

    if pairs:
        i, j = max(pairs, key=trust)
        return i + 1, j + 1
    settled = before.units[begun - 1].end if begun else before.first
    at = _quiet_place(before, after, max(settled, after.first))
    return max(begun, sum(unit.middle < at for unit in before.units)), sum(
        unit.middle < at for unit in after.units
    )


def _same(before: Window, begun: int, after: Window) -> Iterator[tuple[int, int]]:
    """Pairs of units with the same text that lie at the same place in two windows."""
    others = after.units[: after.complete]
    if not others:
        return
    middles = np.array([unit.middle for unit in others])
    for i, unit in enumerate(before.units[begun : before.complete], begun):
        j = int(np.abs(middles - unit.middle).argmin())
        other = others[j]
        apart = max(abs(unit.start - other.start), abs(unit.end - other.end))
        nearest = all(
            abs(other.middle - rival.middle) >= abs(other.middle - unit.middle)
            for rival in before.units
        )
        if apart <= APART and nearest and unit.text == other.text:
            yield i, j


def _quiet_place(before: Window, after: Window, low: float) -> float:
    """The position from `low` on that cuts least of both windows' units, nearest the middle of what
    they share."""
    high = min(before.last, after.last)
    low = min(low, high)
    middle = (low + high) / 2
    spans = [(unit.start, unit.end) for unit in [*before.units[: before.complete], *after.units]]
    # What the end of a window may have cut off goes on, nobody knows how far: better left to the
    # next window.
    spans += [(unit.start, math.inf) for unit in before.units[before.complete :]]

    def cost(at: float) -> tuple[float, float]:
        """How much is cut off the unit that it cuts most, and how far it is from the middle."""
        cut = max(
            (min(at - start, end - at) for start, end in spans if start < at < end), default=0.0
        )
        return cut, abs(at - middle)

    places = [middle, low, high]
    for window in (before, after):
        places += [(a.end + b.start) / 2 for a, b in pairwise(window.units)]
        places += [edge for unit in window.units for edge in (unit.start, unit.end)]
    return min((at for at in places if low <= at <= high), key=cost)


def _seam_frame(left: Sequence[Unit], right: Sequence[Unit], low: int, high: int) -> int:
    """The frame between two parts: amid the pause there, within what both windows saw. Words do not
    depend on it."""
    end = left[-1].end if left else low
    start = right[0].start if right else high
    return max(low, min(high, round((max(end, low) + min(start, high)) / 2)))
