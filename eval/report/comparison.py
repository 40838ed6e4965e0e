"""Two evaluations compared, as Markdown, JSON and a picture."""

from __future__ import annotations

from pathlib import Path

from avsr.base import outputs
from avsr.base.errors import AvsrError
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
    better = {side: [row for row in rows if row.better == side] for side in "ab"}
    firm = {side: sum(row.real_after_holm for row in better[side]) for side in "ab"}
    shown = len(better["a"]) + len(better["b"])
    return (
        f"{len(rows)} conditions compared. By the 95 % interval of each alone, B is better in "
        f"{len(better['b'])} and A in {len(better['a'])}; after Holm's adjustment for "
        f"{len(rows)} comparisons, {firm['b']} and {firm['a']} of these stand. In the other "
        f"{len(rows) - shown} no difference is shown."
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


def save(comparison: Comparison, folder: str | Path, overwrite: bool = False) -> list[Path]:
    """Writes compare.json, compare.md and compare.svg.

    Args:
        comparison: what to write.
        folder: made where it is not there.
        overwrite: replace files of these names that were not written here.

    Returns:
        The files. A comparison without any rate has no picture.

    Raises:
        AvsrError: the folder cannot be written, or holds other people's files of these names.
    """
    folder = Path(folder)
    files = {"compare.json": comparison.to_json(), "compare.md": to_markdown(comparison)}
    if comparison.rated:
        from avsr.eval.report.forest import draw

        files["compare.svg"] = draw(comparison)
    outputs.refuse([folder / name for name in files], overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            outputs.write(folder / name, [text.encode()])
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written ({error.strerror}); free space or name another folder"
        ) from error
    return [folder / name for name in files]
