"""A copy of a film whose sound and picture are synchronised, made only where that is certain.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.preprocessing.clip import FPS
from avsr.preprocessing.media.copies import shifted
from avsr.preprocessing.reader import stream_clips
from avsr.sync import (
    FAR_FRAMES,
    HARMLESS_FRAMES,
    Embedding,
    Offset,
    Recogniser,
    best_of,
    embedded,
    is_certain,
    lag_scores,
    pooled,
)

WINDOW_S = 20.0  # of a recording that is embedded at once
# Of speaking lips with sound. Of 60 GRID clips that are synchronised, with half as much speech, 2
# would have been moved; of 60 films of three such clips none.
FEWEST_FRAMES = 75
SAME_FRAMES = 2  # parts of a file whose offsets differ by no more have the same


@dataclass(frozen=True)
class Judgement:
    """Whether a film can be put right.

    Attributes:
        offset_s: by how much the sound comes after the lips, where that is certain throughout and
            does harm; None where nothing must be done.
        told: what was found, or why nothing is done, for people.
    """

    offset_s: float | None
    told: str


def synchronise(recogniser: Recogniser, source: Path, target: Path, **options: Any) -> Judgement:
    """Writes a synchronised copy of a film, or says why not.

    Args:
        recogniser: a network of ours with a trained embedding.
        source: the film; what is wrong with it was said before.
        target: the copy; see copies.shifted.
        options: face, audio_track and partial, as in ClipReader.

    Raises:
        AvsrError: the model has no embedding, or the film cannot be read or copied.
    """
    clips = stream_clips(source, window_s=WINDOW_S, again=True, **options)
    found = judge(embedded(recogniser, clips))
    if found.offset_s is not None:
        shifted(source, target, -found.offset_s)
    return found


def judge(parts: Iterable[Embedding]) -> Judgement:
    """Decides by the parts of a film that follow each other: all of them together, and each of
    those that are certain by themselves. Only their scores are kept."""
    scores = [lag_scores(part, FAR_FRAMES) for part in parts]
    sums = pooled(scores)
    whole = best_of(sums) if scores else None
    if whole is None:
        return Judgement(None, "sound and speaking lips are hardly ever there together")
    if not is_certain(whole):
        return Judgement(None, "whether sound and lips are synchronised is not certain")
    if abs(whole.frames) <= HARMLESS_FRAMES:
        return Judgement(None, f"sound and lips are synchronised to within {_s(HARMLESS_FRAMES)}")
    if (met := sums[0][1]) < FEWEST_FRAMES:
        return Judgement(None, f"{_s(met)} of speech are too little to be certain of an offset")
    alone = [found for part in scores if (found := best_of(part)) is not None]
    others = [found.frames for found in alone if is_certain(found) and not _same(found, whole)]
    if others:
        return Judgement(
            None,
            f"the offset changes: it is {_s(whole.frames)} mostly and {_s(others[0])} in a part",
        )
    way = "after" if whole.frames > 0 else "before"
    return Judgement(whole.seconds, f"the sound came {_s(abs(whole.frames))} {way} the lips")


def _same(one: Offset, other: Offset) -> bool:
    return abs(one.frames - other.frames) <= SAME_FRAMES


def _s(frames: int) -> str:
    return f"{frames / FPS:.2f} s"
