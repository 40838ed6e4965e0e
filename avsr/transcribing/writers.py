"""Transcript files: txt, srt, vtt, ass, tsv, json. Each renderer is a pure function from Transcript
and style to text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of
from avsr.transcribing.captions.formats import PLAIN, Style, ass, srt, vtt

if TYPE_CHECKING:
    from avsr.transcribing.transcript import Transcript


def txt(transcript: Transcript, style: Style = PLAIN) -> str:
    """One line per segment, after who speaks where that is known."""
    lines = []
    for segment in transcript.segments:
        who = f"{segment.speaker}: " if segment.speaker else ""
        lines.append(f"{_line(who + segment.text)}\n")
    return "".join(lines)


def tsv(transcript: Transcript, style: Style = PLAIN) -> str:
    """Tab-separated start, end and text; times in integer milliseconds. Where speakers are known
    they are a fourth column."""
    named = any(segment.speaker for segment in transcript.segments)
    rows = [["start", "end", "text", *(["speaker"] if named else [])]]
    for s in transcript.segments:
        who = [_line(s.speaker or "")] if named else []
        rows.append([str(_ms(s.start_s)), str(_ms(s.end_s)), _line(s.text), *who])
    return "".join("\t".join(row) + "\n" for row in rows)


def json_(transcript: Transcript, style: Style = PLAIN) -> str:
    """Everything that is known, schema 1: see Transcript.to_dict."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


Renderer = Callable[["Transcript", Style], str]

RENDERERS: dict[str, Renderer] = {
    "txt": txt,
    "srt": srt,
    "vtt": vtt,
    "ass": ass,
    "tsv": tsv,
    "json": json_,
}


def formats(name: str) -> list[str]:
    """The formats that a name given by the user stands for; "all" is every one.

    Raises:
        AvsrError: no such format.
    """
    if isinstance(name, str) and name == "all":
        return list(RENDERERS)
    if not isinstance(name, str) or name not in RENDERERS:
        raise AvsrError(f"format {name!r} is unknown: use one of {', '.join(RENDERERS)} or all")
    return [name]


def write(
    transcript: Transcript, path: str | Path, format: str | None = None, style: Style = PLAIN
) -> Path:
    """Renders a transcript into a file, whole or not at all.

    Args:
        transcript: what was recognised.
        path: the file to write; its folder must exist.
        format: one of RENDERERS; None takes the file's extension.
        style: how subtitles look.

    Raises:
        AvsrError: unknown format, no transcript, the recording itself, or the file cannot be
            written.
    """
    path = path_of(path)
    chosen = path.suffix.lstrip(".") if format is None else format
    if isinstance(chosen, str) and chosen == "all":
        raise AvsrError(
            f"{path}: format 'all' is {len(RENDERERS)} files: write each of {', '.join(RENDERERS)}"
        )
    (chosen,) = formats(chosen)
    source = getattr(transcript, "file", None)
    if source is None:
        raise AvsrError(
            f"{path}: not a transcript but {type(transcript).__name__}: give what transcribe "
            "returns"
        )
    if (found := outputs.identity(path)) is not None and found == outputs.identity(Path(source)):
        raise AvsrError(f"{path}: is the recording itself: write the transcript to another place")
    write_text(path, RENDERERS[chosen](transcript, style))
    return path


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 with plain newlines beside the target and renames: readers never see half a
    file.

    The bytes of a file name that is no UTF-8 come as \\udcxx, which in JSON is an escape that gives
    the name back.

    Raises:
        AvsrError: the file cannot be written (no such folder, no permission, disk full).
    """
    try:
        outputs.write(path, [text.encode("utf-8", "backslashreplace")])
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be written ({error.strerror}): choose another folder or free space"
        ) from error


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _line(text: str) -> str:
    """Text on one line: an empty line would end a cue, a tab would end a column."""
    return " ".join(text.split())
