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

import numpy as np
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


class Texts:
    """Texts in one block, 8 bytes more for each. As objects they would take 50, and loader
    processes would copy them all by and by, as Python counts who refers to each."""

    def __init__(self) -> None:
        self._block, self._ends = bytearray(), array("q", [0])

    def append(self, text: str) -> None:
        self._block += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._block))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, i: int) -> str:
        place = range(len(self))[i]  # raises IndexError
        stretch = self._block[self._ends[place] : self._ends[place + 1]]
        return stretch.decode("utf-8", "surrogatepass")


class Entries:
    """The clips of an index in columns: about 100 bytes for each, its id and its text. As objects
    they would take 3 KB. An entry is made anew each time that it is asked for.

    Args:
        entries: of the index.
    """

    def __init__(self, entries: Iterable[ShardEntry] = ()) -> None:
        self._ids, self._texts, self._has_text = Texts(), Texts(), array("b")
        self._names: list[str | None] = []  # of shards, speakers and splits, each once
        self._codes = array("i")  # frames; which of the names are its shard, speaker and split
        self._shares = array("d")  # audio_present, video_present
        self._places = array("q")  # first byte and bytes of each member
        numbers: dict[str | None, int] = {}
        for entry in entries:
            self._append(entry, numbers)
        self._names += numbers

    def _append(self, entry: ShardEntry, numbers: dict[str | None, int]) -> None:
        self._ids.append(entry.id)
        self._texts.append(entry.text or "")
        self._has_text.append(entry.text is not None)
        self._codes.append(entry.frames)
        for name in (entry.shard, entry.speaker, entry.split):
            self._codes.append(numbers.setdefault(name, len(numbers)))
        self._shares.extend((entry.audio_present, entry.video_present))
        for member in MEMBERS:
            self._places.extend(entry.members[member])  # type: ignore[index]

    def text(self, i: int) -> str | None:
        """The text of entry i alone."""
        return self._texts[i] if self._has_text[i] else None

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[ShardEntry]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, i: int) -> ShardEntry:
        place = range(len(self))[i]  # raises IndexError
        frames, shard, speaker, split = self._codes[4 * place : 4 * place + 4]
        audio_present, video_present = self._shares[2 * place : 2 * place + 2]
        places = iter(self._places[6 * place : 6 * place + 6])
        made: dict[str, Any] = dict(
            id=self._ids[place],
            shard=self._names[shard],
            frames=frames,
            text=self.text(place),
            speaker=self._names[speaker],
            split=self._names[split],
            audio_present=audio_present,
            video_present=video_present,
            members=dict(zip(MEMBERS, zip(places, places, strict=True), strict=True)),
        )
        return ShardEntry.model_construct(**made)  # it was checked before


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


def parse_lines(
    lines: Iterable[bytes], name: str, *, skipped: bool = False
) -> tuple[dict[str, Any], Iterator[ShardEntry]]:
    """The same line by line, as `shards.write_index` lays it out, so that memory does not grow
    with the corpus; an index laid out otherwise is read whole.

    Args:
        lines: of the file.
        name: of the file, for the message.
        skipped: whether the clips left out are told, too.

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
        if skipped or not (in_list and line.startswith(b"{")):
            head.append(line)
    info, entries = parse_index(b"".join(head), name)
    info["clips"] = []
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
            if len(np.unique(ids)) < len(ids):
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
