"""Prepared clips with texts from a recogniser where none are known, and how far they can be
believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.eval.metrics.wer import ErrorRate, wer
from avsr.preprocessing.clip import FPS, Clip, WordTimes
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.recognisers.protocol import Recogniser
from avsr.training.data.labels import is_sure, label, limit_of
from avsr.training.data.spelling import respelt

BY = "labelled_by"  # in a clip's json and in the index: who gave it its text
TAKEN = ("split", "source", "note")  # of a clip's json, what goes on with it
LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the confidence, for comparison


@dataclass(frozen=True)
class Heard:
    """What a recogniser made of a clip whose text is known.

    Attributes:
        confidence: of its least sure piece; 0 where nothing was heard.
        text: what is said.
        said: what the recogniser made of it.
    """

    confidence: float
    text: str
    said: str


@dataclass(frozen=True)
class Summary:
    """What became of the clips, and what would have with another limit.

    Attributes:
        recogniser: its name.
        least: confidence from which on a text was kept.
        tried: confidence of each clip, or piece of a long one, that had no text; 0 where nothing
            was heard.
        known: the clips that had a text; they keep it.
    """

    recogniser: str
    least: float
    tried: Sequence[float]
    known: Sequence[Heard]

    def __str__(self) -> str:
        text = f"{self.recogniser} is sure of {self._kept(self.least, ' clips without text')}"
        if not self.known:
            return f"{text}; no clip has a known text to tell how far to believe it"
        believed = self._believed(self.least)
        return f"{text}; of {len(self.known)} with a known text it would keep {believed}"

    def comparison(self) -> list[str]:
        """What other limits would keep, a line each."""
        lines = []
        for least in LIMITS:
            line = f"--min-confidence {least:g}: {self._kept(least)}"
            if self.known:
                line += f"; of {len(self.known)} with a known text {self._believed(least)}"
            lines.append(line)
        return lines

    def _kept(self, least: float, what: str = "") -> str:
        """How many of the clips without a known text are kept from a confidence on."""
        kept = sum(is_sure(confidence, least) for confidence in self.tried)
        share = f" ({kept / len(self.tried):.0%})" if self.tried else ""
        return f"{kept} of {len(self.tried)}{what}{share}"

    def _believed(self, least: float) -> str:
        """The same of the clips with a known text, and the word error rate on these."""
        sure = [heard for heard in self.known if is_sure(heard.confidence, least)]
        if not sure:
            return "0"
        error = wer([heard.text for heard in sure], [heard.said for heard in sure])
        return f"{len(sure)}{_told(error)}"


@dataclass(frozen=True)
class _Found:
    """A label without its sound and lips, so that those of a whole corpus fit into memory."""

    id: str
    start_s: float
    frames: int
    confidence: float
    text: str
    words: WordTimes | None

    @classmethod
    def of(cls, clip: Clip, confidence: float, spell: Callable[[str], str]) -> _Found:
        written = respelt(clip, spell)
        text = written.text or ""
        return cls(clip.id, clip.start_s, clip.frames, confidence, text, written.words)

    def cut(self, clip: Clip) -> Clip:
        """Its part of the clip that it was found in, with its text."""
        first = round((self.start_s - clip.start_s) * FPS)
        piece = clip.window(first, first + self.frames)
        piece = replace(piece, start_s=clip.start_s)
        return replace(piece, id=self.id, text=self.text, words=self.words)


def _told(error: ErrorRate) -> str:
    if error.rate is None:
        return ""
    return f", at {error.rate:.1%} word errors [{error.low:.1%}, {error.high:.1%}]"


def relabel(
    source: ShardIndex,
    dst: Path,
    recogniser: Recogniser,
    least: float,
    spell: Callable[[str], str] = str,
    tell: Callable[[float, float], None] = lambda done, of: None,
    share: float | None = None,
) -> Summary:
    """Writes prepared clips anew, with texts where they had none.

    A clip with a known text keeps it, and serves to tell how well the recogniser does. Who gave a
    text stands in the clip's json and in the index.

    Args:
        source: the clips.
        dst: a folder without shards.
        recogniser: of any family.
        least: confidence in [0, 1] from which on its text is kept.
        spell: how its texts are written; as it writes them by default.
        tell: told how much is done, and of how much.
        share: of the clips without a text, what is kept in place of what ``least`` says.

    Raises:
        AvsrError: a clip cannot be read, or the folder holds shards already.
    """
    writer = ShardWriter(dst)
    found, total = [], 2 * len(source)
    for i in range(len(source)):
        labels = label([source.load(i)], recogniser)
        found.append([_Found.of(one.clip, one.confidence, spell) for one in labels])
        tell(i + 1, total)
    told = [entry.text is not None for entry in source.entries]
    tried = [one.confidence for i, pieces in enumerate(found) if not told[i] for one in pieces]
    least = limit_of(tried, least, share)
    known: list[Heard] = []
    skipped: list[dict[str, str]] = list(source.info.get("skipped", []))
    for i, pieces in enumerate(found):
        clip, meta = source.load(i), source.meta(i)
        taken = {name: meta[name] for name in TAKEN if name in meta}
        if clip.text is not None:
            writer.add(clip, taken)
            sure = min((one.confidence for one in pieces), default=0.0)
            known.append(Heard(sure, clip.text, " ".join(one.text for one in pieces)))
        for one in pieces if clip.text is None else ():
            if is_sure(one.confidence, least):
                by = {BY: recogniser.name, "confidence": round(one.confidence, 3)}
                writer.add(one.cut(clip), {**taken, **by})
            else:
                why = f"{recogniser.name} is not sure of its text ({one.confidence:.2f})"
                skipped.append({"source": one.id, "reason": why})
        tell(len(source) + i + 1, total)
    summary = Summary(recogniser.name, least, tried, known)
    by_whom = {"recogniser": recogniser.name, "sha256": recogniser.sha256, "summary": str(summary)}
    crops = {"crops": source.crops, "made_from": source.info.get("made_from")}
    writer.close(skipped, **crops, **{BY: by_whom})
    return summary
