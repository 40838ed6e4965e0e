"""Subtitle files: SubRip, WebVTT and Advanced SubStation Alpha, with the words in colour where that
is wanted and the format can."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.transcribing.captions.colours import COLOURS, Colour, colour
from avsr.transcribing.captions.layout import Cue, Layout, Piece, cues

if TYPE_CHECKING:
    from avsr.transcribing.transcript import Transcript


@dataclass(frozen=True)
class Style:
    """How subtitles look: how large cues may be, and whether words are coloured."""

    layout: Layout = field(default_factory=Layout)
    highlight: bool = False


PLAIN = Style()


def srt(transcript: Transcript, style: Style = PLAIN) -> str:
    """SubRip: numbered cues, hours always, a comma before the milliseconds, UTF-8. It knows no
    colours that all players show."""
    blocks = []
    for number, cue in enumerate(cues_of(transcript, style, named=True), 1):
        text = "\n".join(cue.lines).replace("-->", "->")
        blocks.append(
            f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{text}\n"
        )
    return "\n".join(blocks)


def vtt(transcript: Transcript, style: Style = PLAIN) -> str:
    """WebVTT: header, a dot before the milliseconds; &, < and > are escaped as the format asks, and
    --> with them. Colours are classes that a style block explains, and who speaks is a voice."""
    blocks = ["WEBVTT\n"]
    if style.highlight:
        rules = [f"::cue(.{kind.name}) {{ {_css(kind)} }}\n" for kind in COLOURS.values()]
        blocks.append("STYLE\n" + "".join(rules))
    mark = _vtt_word if style.highlight else _vtt_text
    for cue in cues_of(transcript, style):
        text = "\n".join(_row(row, mark) for row in cue.rows)
        voice = f"<v {_vtt_name(cue.speaker)}>" if cue.speaker else ""
        blocks.append(f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def ass(transcript: Transcript, style: Style = PLAIN) -> str:
    """Advanced SubStation Alpha, version 4.00+: colours are kept by all players that show it."""
    mark = _ass_word if style.highlight else _ass_text
    lines = []
    for cue in cues_of(transcript, style, named=True):
        text = "\\N".join(_row(row, mark) for row in cue.rows)
        who = _ass_text(cue.speaker or "").replace(",", " ")  # a comma would end the field
        start, end = _ass_clock(cue.start_s), _ass_clock(cue.end_s)
        lines.append(f"Dialogue: 0,{start},{end},Default,{who},0,0,0,,{text}\n")
    title = _ass_text(" ".join(Path(transcript.file).name.split()))
    return ASS_HEAD.format(title=title) + "".join(lines)


def cues_of(transcript: Transcript, style: Style = PLAIN, *, named: bool = False) -> list[Cue]:
    """What is shown of a transcript, and when; named: with who speaks in the text."""
    return cues(transcript.segments, transcript.duration_s, style.layout, named=named)


ASS_HEAD = """[Script Info]
Title: {title}
ScriptType: v4.00+
WrapStyle: 0
PlayResX: 1280
PlayResY: 720
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,44,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,\
0,0,0,0,100,100,0,0,1,2.5,0,2,40,40,40,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _row(row: list[Piece], mark: Callable[[Piece], str]) -> str:
    """A line, each of its pieces as a format writes it; no space at its beginning."""
    return "".join((" " if piece.spaced else "") + mark(piece) for piece in row).lstrip(" ")


def _vtt_text(piece: Piece) -> str:
    return html.escape(piece.text, quote=False)


def _vtt_name(name: str) -> str:
    """A name as a voice span takes it: on one line, and no sign ends it early."""
    return html.escape(" ".join(name.split()), quote=False)


def _vtt_word(piece: Piece) -> str:
    if piece.word is None:
        return _vtt_text(piece)
    return f"<c.{colour(piece.word).name}>{_vtt_text(piece)}</c>"


def _css(kind: Colour) -> str:
    return f"color: {kind.rgb};" + (" text-decoration: underline;" if kind.underlined else "")


def _ass_text(piece: Piece | str) -> str:
    """A text in which nothing is taken for a command: braces are full-width ones, and a backslash
    is kept apart from what follows it by a word joiner."""
    text = piece if isinstance(piece, str) else piece.text
    apart = text.replace("\\", "\\\u2060")
    return apart.replace("{", "\uff5b").replace("}", "\uff5d")


def _ass_word(piece: Piece) -> str:
    if piece.word is None:
        return _ass_text(piece)
    kind = colour(piece.word)
    red, green, blue = kind.rgb[1:3], kind.rgb[3:5], kind.rgb[5:7]
    line = f"\\u{int(kind.underlined)}"
    return f"{{\\c&H{blue}{green}{red}&{line}}}{_ass_text(piece)}"


def _ass_clock(seconds: float) -> str:
    """H:MM:SS and hundredths; hours may grow."""
    rest, hundredths = divmod(round(seconds * 100), 100)
    return f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}.{hundredths:02d}"


def _clock(seconds: float, point: str) -> str:
    """HH:MM:SS and milliseconds after `point`; hours are always there and may grow past 99."""
    rest, ms = divmod(round(seconds * 1000), 1000)
    return f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}{point}{ms:03d}"
