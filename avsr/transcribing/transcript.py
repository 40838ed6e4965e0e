"""The transcript of a file: its words in segments, and the JSON that is written of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from avsr.decoding.words import PAUSE_S, Hypothesis, Word, join, mean
from avsr.preprocessing.clip import FPS

__all__ = ["Hypothesis", "Segment", "Transcript", "Word", "join", "mean", "segments"]

LONGEST_S = 30.0  # of a segment; a longer one is parted at its widest pause
SCHEMA = 1


@dataclass(frozen=True)
class Segment:
    """Words without a long pause between; the *_present and `together`, in which somebody else
    speaks as well, are fractions of its frames; in_domain is whether it is of the model's language.
    What nobody asked for or can tell is None."""

    start_s: float
    end_s: float
    text: str
    confidence: float
    speaker: str | None
    audio_present: float
    video_present: float
    words: list[Word]
    in_domain: bool | None = None
    together: float | None = None


@dataclass(frozen=True)
class Transcript:
    """What one file says. `warnings` tell what was missing, for people; they are not part of the
    JSON, and neither are `faces`: the person, by number, whose lips each speaker's words were read
    from, under "" that of a speaker without a name; and `lags`, frames by which the sound of
    each comes after their lips. in_domain is false where most of its speech is not of the model's
    language."""

    file: str
    model: str
    duration_s: float
    segments: list[Segment]
    warnings: list[str] = field(default_factory=list)
    in_domain: bool | None = None
    faces: dict[str, int] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it on one line."""
        return join(word for segment in self.segments for word in segment.words)

    def _repr_html_(self) -> str:
        """What notebooks show: the segments as a table, and a player; a click plays a word."""
        from avsr.transcribing.explain.notebook import table

        return table(self.file, self.duration_s, self.segments, self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The JSON transcript, schema 1: seconds to the millisecond, fractions to four digits."""
        body: dict[str, Any] = {
            "file": self.file,
            "model": self.model,
            "duration_s": self.duration_s,
            "in_domain": self.in_domain,
        }
        body["segments"] = [asdict(segment) for segment in self.segments]
        for segment in body["segments"]:
            for word in segment["words"]:
                del word["glued"], word["letters"]
                if word["source"] is None:
                    del word["source"]
        return {"schema": SCHEMA, **_rounded(body)}


def _rounded(value: Any, digits: int = 4) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, 3 if key.endswith("_s") else 4) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, digits) if isinstance(value, float) else value


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
