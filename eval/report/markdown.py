"""The report of one run in Markdown: tables with intervals and counts."""

from __future__ import annotations

from avsr.eval.metrics.results import Check, Measured, Predicate, Results
from avsr.eval.metrics.text import Table, percent
from avsr.eval.report.tables import (
    Matrix,
    curve_table,
    matrices,
    speaker_counts,
    speaker_rates,
)
from avsr.eval.report.words import (
    INTERVALS,
    MEANINGS,
    MODALITIES,
    NON_INFERIORITY,
    SINGLE,
    VACUOUS,
    data_text,
    difference_text,
    gain_text,
    interval,
    label_text,
    mark,
    needed_text,
    seeds_text,
    snr_meaning,
    tally,
    unavailable,
    verdict_text,
    worst_text,
)

NAMED_CHECKS = 8  # that break a predicate, worst first
NAMED_LABELS = 3  # conditions named in one note about those that are not available


def to_markdown(results: Results) -> str:
    """The report of one run.

    Returns:
        Markdown that ends in a line break.
    """
    tables = [_matrix_tables(results, name, one) for name, one in results.comparisons.items()]
    parts = [
        f"# {results.title}: suite {results.suite}",
        _head(results),
        _clean(results),
        _verdicts(results),
        *tables,
        _curves(results),
        _speakers(results),
        "## Figures over all test conditions",
        _summary(results),
        "## Test conditions",
        _rows(results),
        _notes(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ---- head


def _head(results: Results) -> str:
    return (
        f"{results.clips} clips, {results.words} words of {data_text(results)}; "
        f"{seeds_text(results)}; text normaliser `{results.normalizer}`."
    )


def _clean(results: Results) -> str:
    """Word error rate on clean clips, one line for each modality."""
    lines = []
    for row in results.clean:
        told = f"- **WER clean, {MODALITIES[row.modality]}: {percent(row.wer)} %**"
        if row.wer is not None:
            counts = f"{row.errors} errors in {row.words} words"
            told += f" (95 %: {interval(row.wer_low, row.wer_high)}; {counts})"
        lines.append(told if row.available else f"{told}: {row.not_available}")
    return "\n".join(lines)


# ---- predicates


def _verdicts(results: Results) -> str:
    """One line for each predicate, and under it each condition that breaks it or is undecided; none
    where there was nothing to check."""
    if not any(found.checks for found in results.comparisons.values()):
        return ""
    lines = []
    for name, found in results.comparisons.items():
        meaning = MEANINGS.get(name, "")
        if found.verdict == "not checked":
            lines.append(f"- **{name}** not checked: no condition to compare. ({meaning})")
            continue
        void = f" {VACUOUS}" if found.vacuous else ""
        verdict = f"- **{name} {verdict_text(name, found)}** ({meaning}): "
        lines.append(f"{verdict}{tally(found)}. {worst_text(found)}.{void}")
        lines += _named_checks(found)
    return "\n".join(lines)


def _named_checks(found: Predicate) -> list[str]:
    lines = []
    for verdict in ("fail", "undecided"):
        checks = [check for check in found.checks if check.verdict == verdict]
        checks.sort(key=lambda check: -check.difference)
        lines += [f"  - {verdict}: {_told(check)}" for check in checks[:NAMED_CHECKS]]
        more = len(checks) - NAMED_CHECKS
        if more > 0:
            lines.append(f"  - {verdict}: and {more} more, in the tables below")
    return lines


def _told(check: Check) -> str:
    """A check with its figures, and where it is undecided how many clips would tell."""
    rates = f"{percent(check.wer)} % against {percent(check.against_wer)} %"
    told = f"{check.label}: {rates}, {difference_text(check)} points"
    needed = needed_text(check)
    return f"{told}; {needed}" if needed else told


def _matrix_tables(results: Results, name: str, found: Predicate) -> str:
    grids, rest = matrices(results, found)
    if not grids and not rest:
        return ""
    other = MODALITIES[SINGLE[name]]
    parts = [f"## {name}: points of WER above {other}"]
    parts += [_matrix(grid).to_markdown() for grid in grids]
    if rest:
        head = ["other conditions", "audio + video", other, "difference"]
        lines = []
        for check in rest:
            rates = percent(check.wer), percent(check.against_wer)
            lines.append([check.label, *rates, mark(check)])
        parts.append(Table(head, lines).to_markdown())
    return "\n\n".join(parts)


def _matrix(grid: Matrix) -> Table:
    lines = []
    for condition in grid.conditions:
        checks = [grid.cells.get((condition, level)) for level in grid.levels]
        lines.append([condition, *(mark(check) if check else "n/a" for check in checks)])
    return Table([grid.axis, *grid.levels], lines)


# ---- tables


def _curves(results: Results) -> str:
    parts = []
    for axis in dict.fromkeys(curve.axis for curve in results.curves):
        table = curve_table(results, axis)
        named = Table([axis, *table.head[1:]], table.lines, table.texts)
        parts.append(named.to_markdown())
    return "\n\n".join(["## WER in % against the level", *parts]) if parts else ""


def _speakers(results: Results) -> str:
    tables = [table for table in (speaker_counts(results), speaker_rates(results)) if table]
    parts = ["## WER in % by speaker", *(table.to_markdown() for table in tables)]
    return "\n\n".join(parts) if tables else ""


def _rows(results: Results) -> str:
    """Every condition; which seed only where there are several."""
    several = len(results.seeds) > 1
    head = ["condition", "uses", *(["seed"] if several else [])]
    head += ["WER % [95 %]", "CER %", "S", "D", "I", "N", "difference to full input [95 %]"]
    lines = []
    for row in results.rows:
        line = [label_text(row), MODALITIES[row.modality], *([str(row.seed)] if several else [])]
        lines.append([*line, *_figures(row)])
    return Table(head, lines, texts=2).to_markdown()


def _figures(row: Measured) -> list[str]:
    if not row.available:
        return ["n/a", *[""] * 6]
    counts = row.substitutions, row.deletions, row.insertions, row.words
    return [
        percent(row.wer, row.wer_low, row.wer_high),
        percent(row.cer),
        *map(str, counts),
        percent(row.delta_wer, row.delta_low, row.delta_high, sign=True),
    ]


# ---- figures and notes


def _summary(results: Results) -> str:
    summary = results.summary
    lines = []
    if summary.hallucination_rate is not None:
        lines.append(
            f"- Where nothing was there, {100 * summary.hallucination_rate:.1f} % of the clips got "
            f"words all the same ({summary.hallucinated_words} words, "
            f"{summary.hallucinated_words_per_minute or 0.0:.1f} a minute)."
        )
    for kind, gain in summary.effective_snr_gain_db.items():
        lines.append(f"- Effective SNR gain at 0 dB, {kind}: {gain_text(gain)}.")
    if reliance := summary.visual_reliance:
        lips, sound = percent(reliance.follows_lips), percent(reliance.follows_sound)
        lines.append(
            f"- Sound of one clip with the lips of another, {reliance.words} words: {lips} % "
            f"follow the lips, {sound} % the sound. {reliance.definition}"
        )
    points = []
    for place in summary.trust_curve:
        if place.words and place.audio_weight is not None:
            points.append(f"{place.audio_weight:.2f} at {100 * place.audio_present:.0f} %")
    if points:
        lines.append(
            "- Mean audio weight of the words against how much of the sound was there: "
            f"{', '.join(points)}."
        )
    if summary.real_time_factor is not None:
        factor = f"{summary.real_time_factor:.3f}"
        lines.append(f"- Real-time factor of recognising prepared clips: {factor}.")
    return "\n".join(lines) or "None: no condition to take them from."


def _notes(results: Results) -> str:
    lines = []
    if meaning := snr_meaning(results):
        lines.append(f"- {meaning}")
    if any(found.checks for found in results.comparisons.values()):
        lines.append(f"- Verdicts: {NON_INFERIORITY}.")
    if results.clean:
        lines.append(f"- {INTERVALS} Counts are pooled.")
    if results.clips_without_text:
        count = len(results.clips_without_text)
        lines.append(f"- {count} clips have no text and were not scored.")
    for reason, labels in unavailable(results).items():
        more = len(labels) - NAMED_LABELS
        named = ", ".join(labels[:NAMED_LABELS]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"- n/a: {named}: {reason}")
    return "\n".join(lines)
