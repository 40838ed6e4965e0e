"""Two evaluations compared, in Markdown."""

from __future__ import annotations

from avsr.eval.metrics.compare import ALPHA, ComparedRow, Comparison
from avsr.eval.metrics.text import Table, percent
from avsr.eval.report.words import MODALITIES


def to_markdown(comparison: Comparison) -> str:
    """The comparison as a table.

    Returns:
        Markdown that ends in a line break.
    """
    parts = [
        f"# {comparison.a.title} (A) and {comparison.b.title} (B)",
        _verdict(comparison.rated),
        _table(comparison),
        _remarks(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(rows: list[ComparedRow]) -> str:
    if not rows:
        return "No condition with words in its references is in both."
    a = [row for row in rows if row.better == "a"]
    b = [row for row in rows if row.better == "b"]
    firm_a, firm_b = (sum(row.real_after_holm for row in side) for side in (a, b))
    return (
        f"{len(rows)} conditions compared. By the 95 % interval of each alone, B is better in "
        f"{len(b)} and A in {len(a)}; after Holm's adjustment for {len(rows)} comparisons, "
        f"{firm_b} and {firm_a} of these stand. In the other {len(rows) - len(a) - len(b)} no "
        "difference is shown."
    )


def _table(comparison: Comparison) -> str:
    if not comparison.rated:
        return ""
    head = ["condition", "uses", "N", "A WER %", "B WER %", "B - A, points [95 %]"]
    head += ["better", "after Holm"]
    lines = [_cells(row, comparison.several_seeds) for row in comparison.rated]
    return Table(head, lines, texts=2).to_markdown()


def _cells(row: ComparedRow, several_seeds: bool) -> list[str]:
    firm = "-"
    if row.real:
        firm = "yes" if row.real_after_holm else "no"
    return [
        f"{row.label}, seed {row.seed}" if several_seeds else row.label,
        MODALITIES[row.modality],
        str(row.words),
        percent(row.wer_a),
        percent(row.wer_b),
        percent(row.difference, row.low, row.high, sign=True),
        (row.better or "-").upper(),
        firm,
    ]


def _remarks(comparison: Comparison) -> str:
    lines = [
        "- Difference: WER of B minus WER of A in points; below zero B makes fewer errors. "
        "Intervals: paired bootstrap over utterances.",
        "- After Holm: exact paired randomisation test, p adjusted for all conditions compared, at "
        f"{ALPHA:.2f}. Text normaliser `{comparison.normalizer}`.",
    ]
    for row in comparison.rows:
        if row.p is None:
            lines.append(
                f"- {row.label}, {MODALITIES[row.modality]}: nothing is said; A put out "
                f"{row.insertions_a} words and B {row.insertions_b}."
            )
    for side, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if only:
            lines.append(f"- Only in {side}, {len(only)} conditions: {'; '.join(only)}.")
    return "\n".join([*lines, *(f"- {note}" for note in comparison.notes)])
