"""What a recogniser gives back: words with their times, and the transcript of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from avsr.preprocessing.clip import FPS, Clip

PAUSE_S = 1.0  # silence between two words that ends a segment
SCHEMA = 1


@dataclass(frozen=True)
class Word:
    """A word and when it was said, in seconds of its source; audio_weight 1 is heard, 0 is lip-read."""

    word: str
    start_s: float
    end_s: float
    confidence: float
    audio_weight: float


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
    """What one file says. `warnings` tell what was missing, for people; they are not part of the JSON."""

    file: str
    model: str
    duration_s: float
    segments: list[Segment]
    warnings: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """The JSON transcript, schema 1: seconds to the millisecond, fractions to four digits."""
        body = {"file": self.file, "model": self.model, "duration_s": self.duration_s}
        return {"schema": SCHEMA, **_rounded(body | {"segments": [asdict(segment) for segment in self.segments]})}


def _rounded(value: Any, digits: int = 4) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, 3 if key.endswith("_s") else 4) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def segments(words: Sequence[Word], clip: Clip) -> list[Segment]:
    """Words grouped where no pause is longer than PAUSE_S."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or word.start_s - groups[-1][-1].end_s > PAUSE_S:
            groups.append([])
        groups[-1].append(word)
    found = []
    for group in groups:
        start_s, end_s = group[0].start_s, group[-1].end_s
        frames = slice(round((start_s - clip.start_s) * FPS), round((end_s - clip.start_s) * FPS))
        found.append(
            Segment(
                start_s,
                end_s,
                " ".join(word.word for word in group),
                mean([word.confidence for word in group]),
                clip.speaker,
                float(clip.audio_present[frames].mean()),
                float(clip.video_present[frames].mean()),
                group,
            )
        )
    return found


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
