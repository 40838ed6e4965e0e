"""Transcripts as cues that can be read: short enough for a screen, long enough for the eye, none
over another.

Limits as broadcasters have them: at most two lines of 42 characters, 1 to 7 seconds, 20 characters
a second (BBC Subtitle Guidelines 1.2.3; Netflix Timed Text Style Guide).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, combinations, pairwise

from avsr.base.errors import UsageError
from avsr.decoding.words import Word
from avsr.transcribing.transcript import Segment

STOPS = ".,;:!?…。，、；：！？؟،।"  # noqa: RUF001 (after these a cut is good)
SHORT_WORD = 3  # letters; articles and prepositions mostly, which belong to what follows
LIMITS = {
    "chars": (10, 100),
    "lines": (1, 3),
    "shortest": (0, 10),
    "longest": (1, 60),
    "speed": (5, 100),
}


@dataclass(frozen=True)
class Layout:
    """How large a cue may be, and how long it is shown.

    Attributes:
        chars: on a line, at most.
        lines: of a cue, at most.
        shortest: seconds that a cue is shown where there is room.
        longest: seconds, at most.
        speed: characters a second that are read; a cue stays longer for it where there is room.

    Raises:
        UsageError: a value out of LIMITS, or a shortest that is more than the longest.
    """

    chars: int = 42
    lines: int = 2
    shortest: float = 1.0
    longest: float = 7.0
    speed: float = 20.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"layout {name}={getattr(self, name):g}: must be {low} to {high}")
        if self.shortest > self.longest:
            raise UsageError(
                f"layout shortest={self.shortest:g}: is more than longest={self.longest:g}"
            )

    @classmethod
    def read(cls, text: str) -> Layout:
        """A layout as it is written on the command line, such as "chars=32,lines=1".

        Raises:
            UsageError: no such key, one that is there twice, or no such value.
        """
        kinds = {field.name: int if field.type == "int" else float for field in fields(cls)}
        values: dict[str, float] = {}
        for part in filter(None, text.replace(" ", "").split(",")):
            name, _, value = part.partition("=")
            if name not in kinds:
                known = ", ".join(f"{key}={value:g}" for key, value in vars(cls()).items())
                raise UsageError(f"layout {part!r}: give some of {known}")
            if name in values:
                raise UsageError(f"layout {part!r}: {name} is there twice: give it once")
            try:
                values[name] = kinds[name](value)
            except ValueError as error:
                number = "a whole number" if kinds[name] is int else "a number"
                raise UsageError(f"layout {part!r}: {name} must be {number}") from error
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Piece:
    """What is not cut any further, whether a space goes before it, and the word that it is of."""

    text: str
    start_s: float
    end_s: float
    spaced: bool
    word: Word | None = None


@dataclass(frozen=True)
class Cue:
    """A few lines, when they are shown, in seconds, and who says them where that is known."""

    start_s: float
    end_s: float
    rows: list[list[Piece]]
    speaker: str | None = None

    @property
    def lines(self) -> list[str]:
        return [_text(row) for row in self.rows]


def cues(
    segments: Sequence[Segment],
    duration_s: float,
    layout: Layout | None = None,
    *,
    named: bool = False,
) -> list[Cue]:
    """The cues of a transcript, in order, nothing left out. Where two speak at the same time, each
    has cues.

    Args:
        segments: of the transcript; a cue never holds words of two.
        duration_s: of the recording, which no cue outlasts to be long enough.
        layout: how large they may be.
        named: begin with who speaks, where that is known and another one than before.
    """
    layout = layout or Layout()
    found: list[Cue] = []
    for segment in segments:
        changed = not found or found[-1].speaker != segment.speaker
        name = _name(segment, layout) if named and changed else []
        if not segment.words and (rows := _rows([*name, *_untimed(segment)], layout)):
            # nobody knows when in it what is said
            found.append(Cue(segment.start_s, segment.end_s, rows, segment.speaker))
            continue
        for group in _groups([*name, *_pieces(segment, layout)], layout):
            rows = _rows(group, layout)
            assert rows is not None
            start_s = group[0].start_s
            end_s = min(group[-1].end_s, start_s + layout.longest)
            found.append(Cue(start_s, end_s, rows, segment.speaker))
    return _shown_long_enough(found, duration_s, layout)


def _name(segment: Segment, layout: Layout) -> list[Piece]:
    """Who speaks, as it stands before what is said."""
    if segment.speaker is None:
        return []
    words = f"{' '.join(segment.speaker.split())}:".split()
    pieces = [Piece(word, segment.start_s, segment.start_s, True) for word in words]
    return [part for piece in pieces for part in _parts(piece, layout.chars)]


def _untimed(segment: Segment) -> list[Piece]:
    """A text without times, word by word."""
    return [Piece(word, segment.start_s, segment.end_s, True) for word in segment.text.split()]


def _pieces(segment: Segment, layout: Layout) -> list[Piece]:
    """The words of a segment with their times, those too long for a line in parts."""
    words = [
        Piece(" ".join(w.word.split()), w.start_s, w.end_s, not getattr(w, "glued", False), w)
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
    return [part for word in words if word.text for part in _parts(word, layout.chars)]


def _parts(whole: Piece, chars: int) -> Iterable[Piece]:
    """A word in parts that fit on a line; a letter and the marks on it stay together where they
    can."""
    text, start_s = whole.text, whole.start_s
    second = (whole.end_s - whole.start_s) / len(text)
    spaced = whole.spaced
    while len(text) > chars:
        cut = next((at for at in range(chars, 1, -1) if not unicodedata.combining(text[at])), chars)
        end_s = start_s + cut * second
        yield Piece(text[:cut], start_s, end_s, spaced, whole.word)
        text, start_s, spaced = text[cut:], end_s, False
    yield Piece(text, start_s, whole.end_s, spaced, whole.word)


def _groups(pieces: list[Piece], layout: Layout) -> list[list[Piece]]:
    """Pieces that are shown together: halved, at the best place, until each group fits."""
    found, waiting = [], [pieces] if pieces else []
    while waiting:
        group = waiting.pop()
        spoken_s = group[-1].end_s - group[0].start_s
        fits = spoken_s <= layout.longest and _rows(group, layout) is not None
        if len(group) == 1 or fits:
            found.append(group)
            continue
        cut = _best_cut(group)
        waiting += [group[cut:], group[:cut]]
    return found


def _best_cut(group: list[Piece]) -> int:
    """Where to part a group: near its middle, in a pause, and where a line may end well."""
    total = sum(len(piece.text) for piece in group)
    best, best_score, before = 1, float("-inf"), 0
    for i in range(1, len(group)):
        before += len(group[i - 1].text)
        balance = min(before, total - before) / total  # 0 to 0.5
        pause = min(max(group[i].start_s - group[i - 1].end_s, 0.0), 0.5)
        score = balance + pause + 0.2 * _goodness(group, i)
        if score > best_score:
            best, best_score = i, score
    return best


def _goodness(group: Sequence[Piece], i: int) -> float:
    """How well a line ends before piece i, -0.5 to 2: behind a stop is best, inside a word worst,
    and behind a short word bad, which mostly belongs to what follows it."""
    before, after = group[i - 1], group[i]
    if not after.spaced:
        return float(before.text[-1] in STOPS)
    if before.text[-1] in STOPS:
        return 2.0
    return 0.5 if before.spaced and len(before.text) <= SHORT_WORD else 1.0


def _rows(group: list[Piece], layout: Layout) -> list[list[Piece]] | None:
    """The pieces on as few lines as hold them, of like length and broken at good places; None where
    they need more lines than there may be."""
    if not group or len(_text(group)) > layout.lines * (layout.chars + 1):
        return None
    ends = list(accumulate((len(p.text) + p.spaced for p in group), initial=0))
    for count in range(1, layout.lines + 1):
        best, best_cost = None, float("inf")
        for breaks in combinations(range(1, len(group)), count - 1):
            edges = [0, *breaks, len(group)]
            lengths = [ends[b] - ends[a] - group[a].spaced for a, b in pairwise(edges)]
            if max(lengths) > layout.chars:
                continue
            unequal = (max(lengths) - min(lengths)) / layout.chars
            cost = unequal - 0.3 * sum(_goodness(group, i) for i in breaks)
            if cost < best_cost:
                best, best_cost = edges, cost
        if best is not None:
            return [group[a:b] for a, b in pairwise(best)]
    return None


def _text(group: Sequence[Piece]) -> str:
    return "".join((" " if piece.spaced else "") + piece.text for piece in group).lstrip(" ")


def _shown_long_enough(cues: list[Cue], duration_s: float, layout: Layout) -> list[Cue]:
    """Each as long as it takes to read where there is room behind it, for the shortest also before
    it; none begins under another, but where two speak at the same time."""
    found: list[Cue] = []
    for i, cue in enumerate(cues):
        free_from = found[-1].end_s if found else 0.0
        free_to = cues[i + 1].start_s if i + 1 < len(cues) else max(cue.end_s, duration_s)
        if i > 0 and _beside(cues[i - 1], cue):
            free_from = cue.start_s
        if i + 1 < len(cues) and _beside(cue, cues[i + 1]):
            free_to = cue.end_s
        start_s = max(cue.start_s, free_from)
        reading_s = sum(map(len, cue.lines)) / layout.speed
        wanted_s = min(max(layout.shortest, reading_s), layout.longest)
        end_s = max(min(max(cue.end_s, start_s + wanted_s), free_to), start_s)
        if cue.end_s <= free_to:
            end_s = max(end_s, cue.end_s)
        # a word is not shown long before it is said, only to be read
        earliest_s = max(min(start_s, end_s - layout.shortest), free_from)
        found.append(replace(cue, start_s=earliest_s, end_s=end_s))
    return found


def _beside(cue: Cue, after: Cue) -> bool:
    """Whether somebody else begins to speak while one does."""
    return cue.speaker != after.speaker and after.start_s < cue.end_s
