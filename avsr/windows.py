"""Long recordings in pieces: where to cut so that no word, or no sentence of a grammar, is lost at the seam."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import FPS, Clip

if TYPE_CHECKING:
    from avsr.language import Language
    from avsr.transcript import Word


def with_more(items: Iterable[Clip]) -> Iterator[tuple[Clip, bool]]:
    """Each item with whether another one follows."""
    held: Clip | None = None
    for item in items:
        if held is not None:
            yield held, True
        held = item
    if held is not None:
        yield held, False


def join(first: Clip, second: Clip) -> Clip:
    """Two clips that follow each other as one."""
    together: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("audio", "lips", "audio_present", "video_present")
    }
    return replace(first, **together, quality=None)


def units(words: Sequence[Word], language: Language | None) -> list[Word]:
    """Words that must stay together, each such group as one."""
    if language is None:
        return list(words)
    units, rest = [], list(words)
    for size in language.units([word.word for word in words]):
        group, rest = rest[:size], rest[size:]
        units.append(replace(group[0], word=" ".join(word.word for word in group), end_s=group[-1].end_s))
    return units


def cut_frame(words: Sequence[Word], clip: Clip, longest_s: float = 0.0) -> int:
    """Where to cut a window that has a successor: in the widest pause of its last third.

    Pauses are taken from the words themselves, so they are found in a silent film as well as in noise. The
    last second stays with the next window, because a word may be cut in half there. Where a word (or a sentence, with
    a grammar) fills the last third, the cut comes before it.

    Args:
        words: of the window, in order; a sentence that must stay whole counts as one.
        clip: the window.
        longest_s: a window may grow to that; a longer one is cut within a word rather than not at all.

    Returns:
        A frame of the clip; 0 where there is nothing before the word that fills it.
    """
    earliest = clip.start_s + clip.duration_s * 2 / 3
    latest = clip.start_s + clip.duration_s - min(1.0, clip.duration_s / 6)
    ends = [clip.start_s, *(word.end_s for word in words)]
    starts = [*(word.start_s for word in words), latest]
    pauses = [(max(end, earliest), min(start, latest)) for end, start in zip(ends, starts, strict=True)]
    begin, end = max(pauses, key=lambda pause: pause[1] - pause[0])
    at = (begin + end) / 2
    if begin > end:  # no pause in the last third
        before = [word.start_s for word in words if word.start_s < earliest]
        at = before[-1] if before else earliest
        if at == clip.start_s and clip.duration_s >= longest_s:
            at = earliest
    return min(max(0, round((at - clip.start_s) * FPS)), clip.frames)
