"""What a JSON transcript holds. The JSON Schema beside this file, transcript.schema.json, is made
of it: `make schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

SCHEMA_FILE = Path(__file__).with_name("transcript.schema.json")

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
DESCRIBED = ConfigDict(use_attribute_docstrings=True)


class WordJson(TypedDict):
    """A word of a segment."""

    __pydantic_config__ = DESCRIBED  # type: ignore[misc]

    word: str
    """As it is written."""
    start_s: Seconds
    """When it begins, in seconds from the beginning of the file."""
    end_s: Seconds
    """When it ends."""
    confidence: Share
    """How sure the recogniser is; of a calibrated model the share of such words that are right."""
    audio_weight: Share
    """How much of the word was heard (1) rather than read from the lips (0)."""
    source: NotRequired[str]
    """The recogniser that found it, where several worked together."""


class SegmentJson(TypedDict):
    """Words without a long pause between them."""

    __pydantic_config__ = DESCRIBED  # type: ignore[misc]

    start_s: Seconds
    """When its first word begins, in seconds from the beginning of the file."""
    end_s: Seconds
    """When its last word ends."""
    text: str
    """Its words as one text."""
    confidence: Share
    """The mean over its words."""
    speaker: str | None
    """Who speaks, "off-screen" for a voice that no lips fit; null where nobody asked or knows."""
    audio_present: Share
    """The fraction of its frames in which there is sound."""
    video_present: Share
    """The fraction of its frames in which there are lips."""
    words: list[WordJson]
    """In order."""
    in_domain: bool | None
    """Whether it is of the model's language; null where the model cannot tell."""
    together: Share | None
    """The fraction of its frames in which somebody else speaks too; null where nobody asked."""


class TranscriptJson(TypedDict):
    """What one file says, as `avsr transcribe -f json` writes it."""

    __pydantic_config__ = DESCRIBED  # type: ignore[misc]

    schema: Literal[1]
    """The version of this format. Keys may be added within a version."""
    file: str
    """The path of the recording, as it was given."""
    model: str
    """The recogniser."""
    duration_s: Seconds
    """Of the recording, in seconds."""
    in_domain: bool | None
    """False where most of the speech is not of the model's language; null where it cannot tell."""
    segments: list[SegmentJson]
    """In order."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a transcript, draft 2020-12."""
    body = TypeAdapter(TranscriptJson).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


def rendered() -> str:
    """The same as a file holds it."""
    return json.dumps(json_schema(), indent=2) + "\n"
