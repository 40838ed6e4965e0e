"""The clips that came out worst, as the recogniser got them: the page shows them to whoever wants
to look."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from avsr.eval.conditions.suites import Row
from avsr.eval.metrics.scoring import Scores, errors_of
from avsr.eval.run.jobs import Bench

if TYPE_CHECKING:
    from avsr.eval.report.page import Example

CLIPS = 8
CLIPS_OF_AN_AXIS = 2


def worst_clips(scores: Scores) -> list[tuple[int, Row, int, str]]:
    """Picks the audio-visual results with the most errors: each clip once, at most two of an axis.

    Returns:
        (errors, row, seed, clip id), worst first; results without errors are none.
    """
    found = [
        (int(errors), place, row, seed, scores.entries[clip].id)
        for place, ((row, seed), counts) in enumerate(scores.counts.items())
        if row.modality == "av"
        for clip, errors in enumerate(errors_of(counts))
        if errors
    ]
    chosen: list[tuple[int, Row, int, str]] = []
    axes: Counter[str] = Counter()
    seen: set[str] = set()
    for errors, _, row, seed, id in sorted(found, key=lambda one: (-one[0], one[1], one[4])):
        axis = row.condition.axis
        if len(chosen) < CLIPS and id not in seen and axes[axis] < CLIPS_OF_AN_AXIS:
            chosen.append((errors, row, seed, id))
            axes[axis] += 1
            seen.add(id)
    return chosen


def worst_examples(scores: Scores, bench: Bench) -> list[Example]:
    """The worst clips for the page, altered again as they were."""
    from avsr.eval.report.page import Example

    found = []
    for errors, row, seed, id in worst_clips(scores):
        line = scores.lines[row.key(seed), id]
        clip = bench.altered(id, row, seed)
        found.append(
            Example(row.condition.label, id, line["reference"], line["hypothesis"], errors, clip)
        )
    return found
