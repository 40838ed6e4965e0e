"""Results as something to read: a Markdown table with intervals and counts, and the two predicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MODALITIES = {"av": "audio + video", "audio": "audio only", "video": "video only"}
PREDICATES = {
    "R_V": "with lips missing in part or whole, never worse than hearing alone",
    "R_A": "with sound missing in part or whole, never worse than lip-reading alone",
}


def to_markdown(results: Mapping[str, Any]) -> str:
    """The report of one run.

    Args:
        results: content of results.json.

    Returns:
        Markdown that ends in a line break.
    """
    rows = results["rows"]
    parts = [
        f"# {results['model']}: suite {results['suite']}",
        _head(results),
        _predicates(results["predicates"]),
        "## Rows",
        table(
            ["condition", "uses", "WER % [95 %]", "CER %", "S", "D", "I", "N", "difference to full input [95 %]"],
            [_row(row) for row in rows],
            text_columns=2,
        ),
        _notes(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; the first columns are text, the others figures, which stand to the right."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [head, *rows]]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(head))]

    def aligned(line: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if column < text_columns else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([aligned(cells[0]), aligned(rule), *map(aligned, cells[1:])])


def percent(fraction: float | None, low: float | None = None, high: float | None = None, *, sign: bool = False) -> str:
    """ "12.3 [10.1, 14.8]"; "n/a" where there is no rate."""
    if fraction is None:
        return "n/a"
    form = "+.1f" if sign else ".1f"
    interval = "" if low is None or high is None else f" [{100 * low:{form}}, {100 * high:{form}}]"
    return f"{100 * fraction:{form}}{interval}"


def _head(results: Mapping[str, Any]) -> str:
    first = results["rows"][0]
    split = f", split {results['split']}" if results.get("split") else ""
    clips = f"{first.get('utterances', 0)} clips, {first.get('words', 0)} words"
    return f"{clips} of {results['data']}{split}; seed {results['seed']}; text normaliser `{results['normalizer']}`."


def _row(row: Mapping[str, Any]) -> list[str]:
    label = row["label"] + (" (comparison)" if row["role"] == "comparison" else "")
    if "not_available" in row:
        return [label, MODALITIES[row["modality"]], "n/a", *["" for _ in range(6)]]
    return [
        label,
        MODALITIES[row["modality"]],
        percent(row["wer"], row["wer_low"], row["wer_high"]),
        percent(row["cer"]),
        *(str(row[name]) for name in ("substitutions", "deletions", "insertions", "words")),
        percent(row["delta_wer"], row["delta_low"], row["delta_high"], sign=True),
    ]


def _predicates(predicates: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for each predicate, and under it each row that breaks it."""
    lines = []
    for name, result in predicates.items():
        if result["pass"] is None:
            lines.append(f"- **{name}** not checked: no row to compare. ({PREDICATES[name]})")
            continue
        verdict = "pass" if result["pass"] else "FAIL"
        worst, allowed = 100 * result["worst"], 100 * result["tolerance"]
        where = next(check["label"] for check in result["checks"] if check["row"] == result["worst_row"])
        lines.append(
            f"- **{name} {verdict}** ({PREDICATES[name]}): worst {worst:+.1f} points, at {where}; {allowed:g} allowed."
        )
        lines += [
            f"  - {check['label']}: {percent(check['wer'])} % against {percent(check['against_wer'])} %, "
            f"{percent(check['difference'], check['low'], check['high'], sign=True)} points"
            for check in result["checks"]
            if not check["pass"]
        ]
    return "\n".join(lines)


def _notes(results: Mapping[str, Any]) -> str:
    rows, summary = results["rows"], results["summary"]
    lines = []
    if summary["hallucination_rate"] is not None:
        lines.append(
            f"- Where nothing was there, {100 * summary['hallucination_rate']:.1f} % of the clips got words all the "
            f"same ({summary['hallucinated_words']} words, {summary['hallucinated_words_per_minute']:.1f} a minute)."
        )
    if summary["real_time_factor"] is not None:
        lines.append(f"- Real-time factor of recognising prepared clips: {summary['real_time_factor']:.3f}.")
    if any("snr" in row for row in rows):
        lines.append("- SNR is over the whole clip, pauses included; while somebody speaks it is better than it says.")
    if any(row["axis"] == "clean" for row in rows):
        lines.append("- Intervals: bootstrap over utterances; differences: paired bootstrap. Counts are pooled.")
    if results.get("clips_without_text"):
        lines.append(f"- {len(results['clips_without_text'])} clips have no text and were not scored.")
    lines += [f"- n/a: {row['label']}: {row['not_available']}" for row in rows if "not_available" in row]
    return "\n".join(lines)
