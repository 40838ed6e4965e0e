"""Results laid out as tables, as plain text; Markdown and the page show the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avsr.eval.metrics.results import CROSSED, Check, Curve, Predicate, Results
from avsr.eval.metrics.text import Table, percent
from avsr.eval.report.words import (
    MODALITIES,
    condition_text,
    is_level,
    level_text,
    ordered_levels,
)

# ---- checks


@dataclass(frozen=True)
class Matrix:
    """The checks of one predicate on one axis, conditions by levels.

    Attributes:
        axis: "video missing", "noise" and so on.
        conditions: lines, as text.
        levels: columns, as text, from little to much.
        cells: (condition, level) -> check; the worst of them where seeds were checked one by one;
            absent where the results have no such line.
    """

    axis: str
    conditions: tuple[str, ...]
    levels: tuple[str, ...]
    cells: Mapping[tuple[str, str], Check]


def matrices(results: Results, found: Predicate) -> tuple[list[Matrix], list[Check]]:
    """The checks of a predicate, laid out.

    Args:
        results: what the predicate is of.
        found: one of its `comparisons`.

    Returns:
        A matrix for each axis that has levels, and the checks that fit into none: clean, crossed
        conditions.
    """
    placed: dict[str, list[tuple[str, Any, Check | None]]] = {}
    rest: dict[str, Check] = {}
    for check in found.checks:
        if check.axis == CROSSED or not is_level(check.level):
            rest[check.label] = _worse(rest.get(check.label), check)
        else:
            place = condition_text(check), check.level, check
            placed.setdefault(check.axis, []).append(place)
    for row in results.rows:  # so that a line without a check leaves a hole that can be seen
        if row.axis in placed and row.modality == "av" and is_level(row.level):
            placed[row.axis].append((condition_text(row), row.level, None))
    return [_matrix(axis, places) for axis, places in placed.items()], list(rest.values())


def _matrix(axis: str, places: Sequence[tuple[str, Any, Check | None]]) -> Matrix:
    cells: dict[tuple[str, str], Check] = {}
    for condition, level, check in places:
        if check is not None:
            cell = condition, level_text(axis, level)
            cells[cell] = _worse(cells.get(cell), check)
    levels = ordered_levels(level for _, level, _ in places)
    conditions = tuple(dict.fromkeys(condition for condition, _, _ in places))
    return Matrix(axis, conditions, tuple(level_text(axis, level) for level in levels), cells)


def _worse(one: Check | None, other: Check) -> Check:
    return other if one is None or _badness(other) > _badness(one) else one


def _badness(check: Check) -> tuple[int, float]:
    return ("pass", "undecided", "fail").index(check.verdict), check.difference


# ---- curves


def curve_table(results: Results, axis: str) -> Table:
    """The curves of one axis: WER in % at each level, and the area under the curve where it has
    one."""
    curves = [curve for curve in results.curves if curve.axis == axis]
    levels = ordered_levels(level for curve in curves for level in curve.levels)
    areas = any(curve.area is not None for curve in curves)
    head = ["condition", "uses", *(level_text(axis, level) for level in levels)]
    lines = [_curve_line(curve, levels, areas) for curve in curves]
    return Table([*head, "area"] if areas else head, lines, texts=2)


def _curve_line(curve: Curve, levels: Sequence[Any], areas: bool) -> list[str]:
    rates = {str(level): rate for level, rate in zip(curve.levels, curve.wer, strict=True)}
    line = [condition_text(curve), MODALITIES[curve.modality]]
    for level in levels:
        line.append(percent(rates[str(level)]) if str(level) in rates else "")
    if areas:
        line.append("" if curve.area is None else percent(curve.area))
    return line


# ---- speakers

SPEAKER_CONDITIONS = 16  # shown beside each other; results.json has all


def speaker_counts(results: Results) -> Table | None:
    """The errors of each speaker on clean clips, a line for each modality; None where there are no
    two speakers, or no clean clips."""
    rows = [row for row in results.clean if row.available]
    lines = []
    for speaker in results.summary.speakers:
        for row in rows:
            found = speaker.rows.get(row.key)
            if found is not None:
                rate = percent(found.wer, found.wer_low, found.wer_high)
                counts = found.substitutions, found.deletions, found.insertions, found.words
                line = [speaker.speaker, MODALITIES[row.modality], str(found.utterances), rate]
                lines.append([*line, *map(str, counts)])
    head = ["speaker", "uses", "clips", "WER % [95 %]", "S", "D", "I", "N"]
    return Table(head, lines, texts=2) if lines else None


def speaker_rates(results: Results) -> Table | None:
    """WER of each speaker, a column for each of the first test conditions; None where there are no
    two speakers, or nothing but clean clips."""
    speakers = results.summary.speakers
    keys: dict[str, str] = {}
    for row in results.rows:
        if row.wer is not None:
            keys.setdefault(f"{row.label}, {MODALITIES[row.modality]}", row.key)
    if not speakers or len(keys) <= len(results.clean):
        return None
    shown = list(keys.items())[:SPEAKER_CONDITIONS]
    lines = []
    for speaker in speakers:
        found = [speaker.rows.get(key) for _, key in shown]
        rates = [percent(one.wer if one else None) for one in found]
        lines.append([speaker.speaker, str(speaker.utterances), *rates])
    return Table(["speaker", "clips", *(name for name, _ in shown)], lines)
