"""The clips that came out worst, as the recogniser got them: the page shows them to whoever wants
to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from avsr.eval.conditions.suites import Row
from avsr.eval.metrics.scoring import Scores, errors_of
from avsr.preprocessing.clip import Clip

CLIPS = 8
CLIPS_OF_AN_AXIS = 2


@dataclass(frozen=True)
class Example:
    """A clip of which much went wrong.

    Attributes:
        label: of the test condition.
        id: of the clip.
        reference, hypothesis: what was said and what was recognised.
        errors: how many words are wrong.
        clip: as the recogniser got it.
    """

    label: str
    id: str
    reference: str
    hypothesis: str
    errors: int
    clip: Clip


def worst_clips(scores: Scores) -> list[tuple[int, Row, int, str]]:
    """Picks the audio-visual results with the most errors: each clip once, at most two of an axis.

    Returns:
        (errors, row, seed, clip id), worst first; results without errors are none.
    """
    found = []
    for place, ((row, seed), counts) in enumerate(scores.counts.items()):
        if row.modality != "av":
            continue
        for clip, errors in enumerate(errors_of(counts)):
            if errors:
                found.append((int(errors), place, row, seed, scores.entries[clip].id))
    found.sort(key=lambda one: (-one[0], one[1], one[4]))
    chosen: list[tuple[int, Row, int, str]] = []
    axes: Counter[str] = Counter()
    seen: set[str] = set()
    for errors, _, row, seed, id in found:
        axis = row.condition.axis
        if len(chosen) < CLIPS and id not in seen and axes[axis] < CLIPS_OF_AN_AXIS:
            chosen.append((errors, row, seed, id))
            axes[axis] += 1
            seen.add(id)
    return chosen


def worst_examples(scores: Scores, altered: Callable[[str, Row, int], Clip]) -> list[Example]:
    """The worst clips for the page.

    Args:
        scores: errors by row and clip.
        altered: gives a clip as the recogniser got it, from its id, the row and the seed.
    """
    found = []
    for errors, row, seed, id in worst_clips(scores):
        line = scores.lines[row.key(seed), id]
        texts = line.reference, line.hypothesis
        clip = altered(id, row, seed)
        found.append(Example(row.condition.label, id, *texts, errors, clip))
    return found
