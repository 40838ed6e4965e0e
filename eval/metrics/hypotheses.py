"""What was recognised of one clip under one test condition: a line of hypotheses.jsonl."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError, field_validator

from avsr.eval.conditions.former import current
from avsr.eval.metrics.results import Frozen

FILE = "hypotheses.jsonl"


class Heard(Frozen):
    """One hypothesis, with all that scoring needs to know of it.

    Attributes:
        row: key of the line of the table that it counts for.
        id: of the clip.
        reference, hypothesis: what was said and what was recognised.
        frames: of the clip as it was given.
        audio_present, video_present: shares of the frames that the masks call present.
        audio_weight: mean over the words that have one; `weighed_words` is their number.
        seconds: that recognising took, had no work been shared with other conditions.
        seconds_network, seconds_other: what was really spent in the network and on all else.
        clip_sha256: of the clip as it was given.
        missing_ms: stretches without sound or picture, by stream.
        lips_reference: what the lips say, where they are those of another clip.
        run: see `provenance.run_key`.
    """

    run: str | None = None
    row: str
    id: str
    reference: str
    hypothesis: str
    frames: int = 0
    audio_present: float = 1.0
    video_present: float = 1.0
    audio_weight: float | None = None
    weighed_words: int = 0
    seconds: float = 0.0
    seconds_network: float = 0.0
    seconds_other: float = 0.0
    clip_sha256: str | None = None
    missing_ms: dict[str, Any] | None = None
    lips_reference: str | None = None

    @field_validator("row")
    @classmethod
    def _in_words_of_today(cls, row: str) -> str:
        return current(row)

    def to_json(self) -> str:
        """The line, without a line break."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)


def heard(value: Any) -> Heard | None:
    """A line from what JSON made of it; None where it is none: cut short, or edited."""
    try:
        return Heard.model_validate(value)
    except ValidationError:
        return None
