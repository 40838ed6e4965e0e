"""Transcripts as cues that can be read: short enough for a screen, long enough for the eye, none
over another.

Limits as broadcasters have them: at most two lines of 42 characters, 1 to 7 seconds (BBC Subtitle
Guidelines 1.2.3; Netflix Timed Text Style Guide).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from avsr.transcribing.transcript import Segment

LINE = 42  # characters
LONGEST_S, SHORTEST_S = 7.0, 1.0
STOPS = ".,;:!?…。，、；：！？؟،।"  # noqa: RUF001 (after these a cut is good)


@dataclass(frozen=True)
class Piece:
    """What is not cut any further, and whether a space goes before it."""

    text: str
    start_s: float
    end_s: float
    spaced: bool


@dataclass(frozen=True)
class Cue:
    """One or two lines and when they are shown, in seconds."""

    start_s: float
    end_s: float
    lines: list[str]


def cues(segments: Sequence[Segment], duration_s: float) -> list[Cue]:
    """The cues of a transcript, in order, nothing left out.

    Args:
        segments: of the transcript; a cue never holds words of two.
        duration_s: of the recording, which no cue outlasts to be long enough.
    """
    found = []
    for segment in segments:
        text = " ".join(segment.text.split())
        if not segment.words and text and (lines := _lines([Piece(text, 0.0, 0.0, False)])):
            # nobody knows when in it what is said
            found.append(Cue(segment.start_s, segment.end_s, lines))
            continue
        for group in _groups(_pieces(segment)):
            lines = _lines(group)
            assert lines is not None
            found.append(
                Cue(group[0].start_s, min(group[-1].end_s, group[0].start_s + LONGEST_S), lines)
            )
    return _shown_long_enough(found, duration_s)


def _pieces(segment: Segment) -> list[Piece]:
    """The words of a segment with their times, those too long for a line in parts."""
    words = [
        Piece(" ".join(w.word.split()), w.start_s, w.end_s, not getattr(w, "glued", False))
        for w in segment.words
    ]
    # a text of its own: spread evenly over the segment
    if _text(words).split() != segment.text.split():
        share = (segment.end_s - segment.start_s) / max(1, len(segment.text))
        words, at = [], 0
        for word in segment.text.split():
            at = segment.text.index(word, at)
            begin_s = segment.start_s + at * share
            at += len(word)
            words.append(Piece(word, begin_s, segment.start_s + at * share, True))
    return [part for word in words if word.text for part in _parts(word)]


def _parts(word: Piece) -> Iterable[Piece]:
    """A word in parts that fit on a line; a letter and the marks on it stay together where they
    can."""
    text, start_s = word.text, word.start_s
    second = (word.end_s - word.start_s) / len(text)
    spaced = word.spaced
    while len(text) > LINE:
        cut = next((at for at in range(LINE, 1, -1) if not unicodedata.combining(text[at])), LINE)
        yield Piece(text[:cut], start_s, start_s + cut * second, spaced)
        text, start_s, spaced = text[cut:], start_s + cut * second, False
    yield Piece(text, start_s, word.end_s, spaced)


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces that are shown together: halved, at the best place, until each group fits."""
    found, waiting = [], [pieces] if pieces else []
    while waiting:
        group = waiting.pop()
        if len(group) == 1 or (
            group[-1].end_s - group[0].start_s <= LONGEST_S and _lines(group) is not None
        ):
            found.append(group)
            continue
        cut = _best_cut(group)
        waiting += [group[cut:], group[:cut]]
    return found


def _best_cut(group: list[Piece]) -> int:
    """Where to part a group: near its middle, in a pause, behind a stop, and between words rather
    than in one."""
    total = sum(len(piece.text) for piece in group)
    best, best_score, before = 1, float("-inf"), 0
    for i in range(1, len(group)):
        before += len(group[i - 1].text)
        balance = min(before, total - before) / total  # 0 to 0.5
        pause = min(max(group[i].start_s - group[i - 1].end_s, 0.0), 0.5)
        score = balance + pause + 0.2 * (group[i - 1].text[-1] in STOPS) + 0.2 * group[i].spaced
        if score > best_score:
            best, best_score = i, score
    return best


def _lines(group: list[Piece]) -> list[str] | None:
    """The text on one line, or on two of like length; None where it needs more."""
    text = _text(group)
    if len(text) <= LINE:
        return [text]
    splits = (
        [[_text(group[:i]), _text(group[i:])] for i in range(1, len(group))]
        if len(text) <= 2 * LINE + 1
        else []
    )
    if len(group) == 1:  # a text without times
        splits = [[text[:i], text[i + 1 :]] for i, letter in enumerate(text) if letter == " "]
    fitting = [lines for lines in splits if max(map(len, lines)) <= LINE]
    return min(fitting, key=lambda lines: abs(len(lines[0]) - len(lines[1])), default=None)


def _text(group: Sequence[Piece]) -> str:
    return "".join((" " if piece.spaced else "") + piece.text for piece in group).lstrip(" ")


def _shown_long_enough(cues: list[Cue], duration_s: float) -> list[Cue]:
    """Each at least SHORTEST_S where there is room, behind it first and then before it; none begins
    under another."""
    found: list[Cue] = []
    for i, cue in enumerate(cues):
        free_from = found[-1].end_s if found else 0.0
        free_to = cues[i + 1].start_s if i + 1 < len(cues) else max(cue.end_s, duration_s)
        start_s = max(cue.start_s, free_from)
        end_s = max(min(max(cue.end_s, start_s + SHORTEST_S), free_to), start_s)
        if cue.end_s <= free_to:
            end_s = max(end_s, cue.end_s)
        start_s = max(min(start_s, end_s - SHORTEST_S), free_from)
        found.append(replace(cue, start_s=start_s, end_s=end_s))
    return found
