"""What an index of shards says, checked before anything relies on it.

An index comes from a disk or an URL and may be damaged, or made by somebody else: whatever it
claims is compared with what can be, so that a wrong number ends in one line and not in a full
memory.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.faces.crop_styles import OWN

SCHEMA = 1
MEMBERS = ("lips.mp4", "flac", "json")
# What an index may claim: far more than any corpus has, and too little to exhaust memory before a
# file is opened.
MAX_FRAMES = 24 * 3600 * FPS  # a day
MAX_FRAME_BYTES = 64 * 1024  # a frame's sound, uncompressed, takes 1.3 KB and its lips 9 KB
MAX_HEADER_BYTES = 1 << 20
MAX_OFFSET = 1 << 53  # beyond that JSON's numbers are no longer exact

_Text = Annotated[str, Field(max_length=1_000_000)]
_Share = Annotated[float, Field(ge=0, le=1, strict=False)]
_Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
_Size = Annotated[int, Field(ge=1, le=MAX_OFFSET)]
_ShardName = Annotated[str, Field(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$", max_length=255)]


class ShardEntry(BaseModel):
    """One clip of an index, enough to sort and batch it without reading it.

    Attributes:
        id, text, speaker, split: as the corpus has them.
        shard: name of its tar.
        frames: T.
        audio_present, video_present: fraction of the frames, 0 to 1.
        members: extension -> (first byte, bytes) in the tar.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    id: Annotated[str, Field(min_length=1, max_length=10_000)]
    shard: _ShardName
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    text: _Text | None = None
    speaker: _Text | None = None
    split: _Text | None = None
    audio_present: _Share
    video_present: _Share
    members: dict[
        Literal["lips.mp4", "flac", "json"], Annotated[tuple[_Offset, _Size], Field(strict=False)]
    ]

    @model_validator(mode="after")
    def _fits(self) -> ShardEntry:
        if len(self.members) < len(MEMBERS):
            raise ValueError(f"members: must be {', '.join(MEMBERS)}")
        largest = MAX_HEADER_BYTES + self.frames * MAX_FRAME_BYTES
        if self.span[1] > largest:
            raise ValueError(f"members: {self.span[1]} bytes are too many for {self.frames} frames")
        return self

    @property
    def span(self) -> tuple[int, int]:
        """First byte of the clip in its tar, and how many there are."""
        first = min(offset for offset, _ in self.members.values())
        return first, max(offset + size for offset, size in self.members.values()) - first

    @property
    def duration_s(self) -> float:
        return self.frames / FPS


class _Counts(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    clips: NonNegativeInt
    skipped: NonNegativeInt
    without_video: NonNegativeInt
    without_audio: NonNegativeInt


class _Skipped(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    source: str
    reason: str


class _Index(BaseModel):
    """What must be in index.json for the rest of the program to rely on it; further keys are kept
    unread."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    hours: Annotated[float, Field(ge=0, strict=False)] = 0.0
    crops: Annotated[str, Field(max_length=100)] = OWN.name  # earlier versions knew no others
    counts: _Counts | None = None
    skipped: list[_Skipped] = []
    clips: list[ShardEntry]

    @model_validator(mode="after")
    def _distinct(self) -> _Index:
        seen: set[str] = set()
        for number, clip in enumerate(self.clips):
            if clip.id in seen:
                raise ValueError(f"clips.{number}.id: {clip.id!r} comes twice")
            seen.add(clip.id)
        return self


AGAIN = "run `avsr prepare` again, or copy the shards again"


def parse_index(content: bytes, name: str) -> tuple[dict[str, Any], list[ShardEntry]]:
    """An index.json, checked before anything relies on it.

    Args:
        content: of the file.
        name: of the file, for the message.

    Returns:
        All that it holds, and its clips.

    Raises:
        AvsrError: it is not an index of this version; names the field.
    """
    again = AGAIN
    try:
        info = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise AvsrError(f"{name}: not JSON ({in_one_line(reason)}); {again}") from error
    if not isinstance(info, dict):
        raise AvsrError(f"{name}: holds {type(info).__name__} and not an index of shards; {again}")
    if info.get("schema") != SCHEMA or isinstance(info["schema"], bool):
        raise AvsrError(
            f"{name}: schema {_short(info.get('schema'))}; this version reads {SCHEMA}: {again}"
        )
    try:
        return info, _Index.model_validate(info).clips
    except (ValidationError, RecursionError) as error:
        raise AvsrError(f"{name}: {_first_problem(error)}; {again}") from error


def parse_lines(lines: Iterable[bytes], name: str) -> tuple[dict[str, Any], Iterator[ShardEntry]]:
    """The same line by line, as `shards.write_index` lays it out, so that memory does not grow
    with the corpus; an index laid out otherwise is read whole.

    Args:
        lines: of the file.
        name: of the file, for the message.

    Returns:
        All that it holds but the skipped and the clips, and its clips, each checked as it comes.

    Raises:
        AvsrError: it is not an index of this version; names the field.
    """
    lines, head, in_list = iter(lines), list[bytes](), False
    for line in lines:
        if line.strip() == b'"clips": [':
            info, _ = parse_index(b"".join(head) + b'"clips": []}', name)
            return info, _entries(lines, name)
        in_list = line.strip() == b'"skipped": [' or (in_list and not line.startswith(b"]"))
        if not (in_list and line.startswith(b"{")):
            head.append(line)
    info, entries = parse_index(b"".join(head), name)
    return info, iter(entries)


def _entries(lines: Iterator[bytes], name: str) -> Iterator[ShardEntry]:
    """The clips of an index whose head is read.

    Raises:
        AvsrError: one of them is not valid, an id comes twice, or the end is missing.
    """
    ids = array("q")  # hashes of 8 bytes, where the ids themselves would fill the memory
    for line in lines:
        text = line.strip().removesuffix(b",")
        if text == b"]":
            if len(set(ids)) < len(ids):
                raise AvsrError(f"{name}: an id comes twice in its clips; {AGAIN}")
            return
        if not text:
            break
        try:
            entry = ShardEntry.model_validate_json(text)
        except ValidationError as error:
            where = f"clips.{len(ids)}: {_first_problem(error)}"
            raise AvsrError(f"{name}: {where}; {AGAIN}") from error
        ids.append(hash(entry.id))
        yield entry
    raise AvsrError(f"{name}: cut short; {AGAIN}")


def _first_problem(error: ValidationError | RecursionError) -> str:
    """The first thing that is wrong, in one line: which field, its value, what it must be."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return in_one_line(f"{field}: {reason}".removeprefix(": "))
    if problem["type"] == "missing":
        return f"{field} is missing"
    return in_one_line(f"{field} is {_short(problem['input'])}: {reason}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def in_one_line(text: str) -> str:
    """White space, line breaks among it, as single blanks."""
    return " ".join(text.split())
