"""Prepared clips with texts from a recogniser where none are known, and how far they can be
believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.eval.metrics.wer import ErrorRate, wer
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.recognisers.protocol import Recogniser
from avsr.training.data.labels import label
from avsr.training.data.spelling import respelt

BY = "labelled_by"  # in a clip's json and in the index: who gave it its text
TAKEN = ("split", "source", "note")  # of a clip's json, what goes on with it


@dataclass(frozen=True)
class Summary:
    """What became of the clips.

    Attributes:
        recogniser: its name.
        least: confidence from which on a text was kept.
        known: clips that had a text; they keep it.
        kept: clips, or pieces of long ones, whose text was sure enough.
        tried: all of those without a known text.
        believed: of the clips with a known text, those that would have been kept.
        error: word error rate of the recogniser on these; None where there are none.
    """

    recogniser: str
    least: float
    known: int
    kept: int
    tried: int
    believed: int
    error: ErrorRate | None

    def __str__(self) -> str:
        share = f" ({self.kept / self.tried:.0%})" if self.tried else ""
        text = f"{self.recogniser} is sure of {self.kept} of {self.tried} clips without text{share}"
        if self.error is None or self.error.rate is None:
            return f"{text}; no clip has a known text to tell how far to believe it"
        assert self.error.low is not None
        assert self.error.high is not None
        return (
            f"{text}; of {self.known} with a known text it would keep {self.believed}, at "
            f"{self.error.rate:.1%} word errors [{self.error.low:.1%}, {self.error.high:.1%}]"
        )


def relabel(
    source: ShardIndex,
    dst: Path,
    recogniser: Recogniser,
    least: float,
    spell: Callable[[str], str] = str,
    tell: Callable[[float, float], None] = lambda done, of: None,
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
        tell: told how many clips are done, and of how many.

    Raises:
        AvsrError: a clip cannot be read, or the folder holds shards already.
    """
    pairs: list[tuple[str, str]] = []  # a known text, and what the recogniser is sure of
    known = tried = kept = 0
    skipped: list[dict[str, str]] = list(source.info.get("skipped", []))
    writer = ShardWriter(dst)
    for i in range(len(source)):
        clip, meta = source.load(i), source.meta(i)
        taken = {name: meta[name] for name in TAKEN if name in meta}
        labels = [
            replace(found, clip=respelt(found.clip, spell))
            for found in label([clip], recogniser, least)
        ]
        if clip.text is not None:
            writer.add(clip, taken)
            known += 1
            if labels and all(found.kept for found in labels):
                pairs.append((clip.text, " ".join(found.clip.text or "" for found in labels)))
        for found in labels if clip.text is None else ():
            tried, kept = tried + 1, kept + found.kept
            if found.kept:
                by = {BY: recogniser.name, "confidence": round(found.confidence, 3)}
                writer.add(replace(found.clip, start_s=clip.start_s), {**taken, **by})
            else:
                why = f"{recogniser.name} is not sure of its text ({found.confidence:.2f})"
                skipped.append({"source": found.clip.id, "reason": why})
        tell(i + 1, len(source))
    error = wer(*map(list, zip(*pairs, strict=True))) if pairs else None
    summary = Summary(recogniser.name, least, known, kept, tried, len(pairs), error)
    told = {"recogniser": recogniser.name, "sha256": recogniser.sha256, "summary": str(summary)}
    crops = {"crops": source.crops, "made_from": source.info.get("made_from")}
    writer.close(skipped, **crops, **{BY: told})
    return summary
