"""What a recogniser gives back: words with their times, and the transcript of a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from avsr.preprocessing.clip import FPS

PAUSE_S = 1.0  # silence between two words that ends a segment
LONGEST_S = 30.0  # of a segment; a longer one is parted at its widest pause
SCHEMA = 1


@dataclass(frozen=True)
class Word:
    """A word and when it was said, in seconds of its source; audio_weight 1 is heard, 0 is
    lip-read.

    Where a text has no spaces, a word is a letter of a script without them, or what was said
    between two pauses. Such a word is `glued` to the one before: `join` writes no space there.
    `letters` tells where each of its letters begins and ends; it serves to put windows together and
    is no part of a transcript.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float
    audio_weight: float
    glued: bool = False
    letters: tuple[tuple[float, float], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Hypothesis:
    """What one clip says; confidence is the mean over the words, 0 where there are none."""

    text: str
    words: list[Word]
    confidence: float


@dataclass(frozen=True)
class Segment:
    """Words without a long pause between; the *_present are fractions of its frames."""

    start_s: float
    end_s: float
    text: str
    confidence: float
    speaker: str | None
    audio_present: float
    video_present: float
    words: list[Word]


@dataclass(frozen=True)
class Transcript:
    """What one file says. `warnings` tell what was missing, for people; they are not part of the
    JSON."""

    file: str
    model: str
    duration_s: float
    segments: list[Segment]
    warnings: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it on one line."""
        return join(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """The JSON transcript, schema 1: seconds to the millisecond, fractions to four digits."""
        body: dict[str, Any] = {
            "file": self.file,
            "model": self.model,
            "duration_s": self.duration_s,
        }
        body["segments"] = [asdict(segment) for segment in self.segments]
        for segment in body["segments"]:
            for word in segment["words"]:
                del word["glued"], word["letters"]
        return {"schema": SCHEMA, **_rounded(body)}


def _rounded(value: Any, digits: int = 4) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, 3 if key.endswith("_s") else 4) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, digits) if isinstance(value, float) else value


class Spelt(Protocol):
    """A word, and whether it is written without a space before it."""

    @property
    def word(self) -> str: ...

    @property
    def glued(self) -> bool: ...


def join(words: Iterable[Spelt]) -> str:
    """The text that words make, with a space before each but the first and those that are glued."""
    return "".join(("" if word.glued else " ") + word.word for word in words).lstrip(" ")


def segments(
    words: Sequence[Word], audio_present: np.ndarray, video_present: np.ndarray
) -> list[Segment]:
    """The words of a file in groups, parted where a pause is longer than PAUSE_S or a group longer
    than LONGEST_S.

    Args:
        words: in order.
        audio_present: (T,) bool, frames of the file with sound.
        video_present: (T,) bool, frames with lips.
    """
    found = []
    for group in _groups(list(words)):
        start_s, end_s = group[0].start_s, group[-1].end_s
        first = math.floor(round(start_s * FPS, 6))
        frames = slice(first, max(first + 1, math.ceil(round(end_s * FPS, 6))))
        heard, seen = (float(present[frames].mean()) for present in (audio_present, video_present))
        sure = mean([word.confidence for word in group])
        found.append(Segment(start_s, end_s, join(group), sure, None, heard, seen, group))
    return found


def _groups(words: list[Word]) -> list[list[Word]]:
    """As `segments`, the words alone."""
    found, waiting = [], [words] if words else []
    while waiting:
        group = waiting.pop()
        parts = _parted(group)
        if len(parts) > 1:
            waiting += reversed(parts)
        else:
            found.append(group)
    return found


def _parted(words: list[Word]) -> list[list[Word]]:
    """A group at all its pauses, or else, where it is too long, at the widest of them; itself where
    it is neither."""
    if len(words) < 2:
        return [words]
    pauses = [after.start_s - before.end_s for before, after in pairwise(words)]
    widest = max(pauses)
    if widest > PAUSE_S:
        cuts = [n for n, pause in enumerate(pauses, 1) if pause > PAUSE_S]
        return [words[first:last] for first, last in pairwise([0, *cuts, len(words)])]
    if words[-1].end_s - words[0].start_s > LONGEST_S:
        middle = (words[0].start_s + words[-1].end_s) / 2
        cut = min(
            range(1, len(words)), key=lambda n: (-pauses[n - 1], abs(words[n].start_s - middle))
        )
        return [words[:cut], words[cut:]]
    return [words]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
