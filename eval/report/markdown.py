"""Results as something to read: Markdown tables with intervals and counts, and what they share with
the HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MODALITIES = {"av": "audio + video", "audio": "audio only", "video": "video only"}
PREDICATES = {
    "R_V": "with lips missing in part or whole, never worse than hearing alone",
    "R_A": "with sound missing in part or whole, never worse than lip-reading alone",
}
HARM = {
    "bad picture": "with lips that are there and bad, never worse than hearing alone",
    "bad sound": "with sound that is there and bad, never worse than lip-reading alone",
}
"""Told beside the predicates and not part of them."""
VACUOUS = "What it is compared with is no better than words without the clip, so no worse than that is no merit."
VERDICTS = {"pass": "✓", "undecided": "?", "fail": "✗"}
NON_INFERIORITY = (
    "✓ the 95 % interval of the difference ends within what is allowed, ✗ it begins above, ? "
    "undecided: too few clips"
)
INTERVALS = (
    "Intervals: 95 %, bootstrap over utterances; differences: paired bootstrap; where fewer than "
    "10 utterances differ "
    "from the rest, at least the interval of Wilson or Newcombe."
)
SINGLE = {"R_V": "audio", "R_A": "video", "bad picture": "audio", "bad sound": "video"}
"""The one modality that each of these compares with."""
# of the levels of an axis; those of missing ones are rates
UNITS = {"noise": " dB", "out of step": " ms"}
STRENGTHS = ("none", "light", "medium", "heavy")
NAMED_CHECKS = 8  # that break a predicate, worst first
SPEAKER_COLUMNS = 16  # rows shown for each speaker; results.json has all
NAMED_LABELS = 3  # rows named in one note about rows that are not available

Results = Mapping[str, Any]


# ---- what the results say


@dataclass(frozen=True)
class Matrix:
    """The checks of one predicate on one axis, conditions by levels.

    Attributes:
        axis: "video missing", "noise" and so on.
        conditions: lines, as text.
        levels: columns, as text, from little to much.
        cells: (condition, level) -> check; the worst of them where seeds were checked one by one;
            absent where the results have no such row.
    """

    axis: str
    conditions: tuple[str, ...]
    levels: tuple[str, ...]
    cells: Mapping[tuple[str, str], Mapping[str, Any]]


def comparisons(results: Results) -> dict[str, Mapping[str, Any]]:
    """The predicates, and after them what is told beside them, where any row could be compared."""
    harm = {
        name: found
        for name, found in (results["summary"].get("harm") or {}).items()
        if found["checks"]
    }
    return {**results["predicates"], **harm}


def matrices(
    results: Results, found: Mapping[str, Any]
) -> tuple[list[Matrix], list[Mapping[str, Any]]]:
    """The checks of a predicate, laid out.

    Args:
        results: content of results.json.
        found: one of its `comparisons`.

    Returns:
        A matrix for each axis that has levels, and the checks that fit into none: clean, crossed
        conditions.
    """
    rows = {row["key"]: row for row in results["rows"]}
    placed: dict[str, list[tuple[str, Any, Mapping[str, Any] | None]]] = {}
    rest: dict[str, Mapping[str, Any]] = {}
    for check in found["checks"]:
        what = {**rows.get(check["row"], {}), **check}
        if what.get("axis", "crossed") == "crossed" or not _scalar(what.get("level")):
            rest[check["label"]] = _worse(rest.get(check["label"]), check)
        else:
            placed.setdefault(what["axis"], []).append((condition_text(what), what["level"], check))
    for row in results["rows"]:  # so that a row without a check leaves a hole that can be seen
        if row["axis"] in placed and row["modality"] == "av" and _scalar(row["level"]):
            placed[row["axis"]].append((condition_text(row), row["level"], None))
    return [_matrix(axis, found) for axis, found in placed.items()], list(rest.values())


def _matrix(axis: str, found: Sequence[tuple[str, Any, Mapping[str, Any] | None]]) -> Matrix:
    cells: dict[tuple[str, str], Mapping[str, Any]] = {}
    for condition, level, check in found:
        if check is not None:
            place = condition, level_text(axis, level)
            cells[place] = _worse(cells.get(place), check)
    levels = ordered_levels([level for _, level, _ in found])
    conditions = tuple(dict.fromkeys(condition for condition, _, _ in found))
    return Matrix(axis, conditions, tuple(level_text(axis, level) for level in levels), cells)


def _worse(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> Mapping[str, Any]:
    return other if one is None or _badness(other) > _badness(one) else one


def _badness(check: Mapping[str, Any]) -> tuple[int, float]:
    return ("pass", "undecided", "fail").index(outcome(check)), check["difference"]


def outcome(found: Mapping[str, Any]) -> str:
    """ "pass", "fail" or "undecided" of a check; of a predicate also "not checked"."""
    if found["pass"] is None and not found.get("checks", True):
        return "not checked"
    return {True: "pass", False: "fail", None: "undecided"}[found["pass"]]


def _scalar(level: Any) -> bool:
    return level is not None and not isinstance(level, (list, dict))


def ordered_levels(levels: Iterable[Any]) -> list[Any]:
    """Each level once: figures in order and then clean (None); or clean, then names from light to
    heavy."""
    unique = list({str(level): level for level in levels}.values())
    clean = [level for level in unique if level is None]
    figures = sorted(level for level in unique if isinstance(level, (int, float)))
    names = [level for level in unique if level is not None and not isinstance(level, (int, float))]
    names.sort(key=lambda name: STRENGTHS.index(name) if name in STRENGTHS else len(STRENGTHS))
    return [*clean, *names] if names and not figures else [*figures, *names, *clean]


def level_text(axis: str, level: Any) -> str:
    """ "50 %", "-2.5 dB", "80 ms", "heavy"; "clean" for None."""
    if level is None:
        return "clean"
    if isinstance(level, list):
        return " / ".join(level_text("", part) for part in level)
    if not isinstance(level, (int, float)):
        return str(level)
    return f"{100 * level:g} %" if axis.endswith("missing") else f"{level:g}{UNITS.get(axis, '')}"


def condition_text(row: Mapping[str, Any]) -> str:
    """A row's or curve's condition without its level: "bursts", "bursts, silent"."""
    return row["condition"] + ("" if row.get("signalled", True) else ", silent")


def recogniser_name(results: Results) -> str:
    """What was scored, for titles: "default", "default, beam 8"; greedy decoding goes without
    saying.

    Args:
        results: content of results.json, or of a comparison's "a" or "b". Those of other systems,
            and of releases before this one, do not tell their decoding.
    """
    decoding = results.get("decoding")
    return str(results["model"]) + (f", {decoding}" if decoding not in (None, "greedy") else "")


def seeds_of(results: Results) -> list[int]:
    return list(results["seeds"]) if "seeds" in results else [results["seed"]]


def clips_of(results: Results) -> int:
    return results.get(
        "clips", max((row.get("utterances", 0) for row in results["rows"]), default=0)
    )


def words_of(results: Results) -> int:
    return max((row.get("words", 0) for row in results["rows"]), default=0)


def snr_meaning(results: Results) -> str | None:
    """What an SNR of these results is, as a sentence; None where there is no noise."""
    over = next((row["snr"] for row in results["rows"] if "snr" in row), None)
    if over == "whole clip":
        return "SNR is over the whole clip, pauses included; while somebody speaks it is better than it says."
    return over and f"SNR is over: {over}."


def unavailable(results: Results) -> dict[str, list[str]]:
    """Why rows have no figures -> labels of those rows."""
    reasons: dict[str, dict[str, None]] = {}
    for row in results["rows"]:
        if "not_available" in row:
            reasons.setdefault(row["not_available"], {})[row["label"]] = None
    return {reason: list(labels) for reason, labels in reasons.items()}


def curve_table(results: Results, axis: str) -> tuple[list[str], list[list[str]]]:
    """The curves of one axis as a table: WER in % at each level, and the area under the curve where
    it has one.

    Returns:
        Head and lines; the first two columns are text.
    """
    curves = [curve for curve in results["curves"] if curve["axis"] == axis]
    levels = ordered_levels(level for curve in curves for level in curve["levels"])
    areas = any(curve.get("area") is not None for curve in curves)
    lines = []
    for curve in curves:
        at = {str(level): rate for level, rate in zip(curve["levels"], curve["wer"], strict=True)}
        cells = [percent(at[str(level)]) if str(level) in at else "" for level in levels]
        area = (
            [percent(curve.get("area")) if curve.get("area") is not None else ""] if areas else []
        )
        lines.append([condition_text(curve), MODALITIES[curve["modality"]], *cells, *area])
    head = [
        "condition",
        "uses",
        *(level_text(axis, level) for level in levels),
        *(["area"] if areas else []),
    ]
    return head, lines


def percent(
    fraction: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    sign: bool = False,
) -> str:
    """ "12.3 [10.1, 14.8]"; "n/a" where there is no rate."""
    if fraction is None or math.isnan(fraction):
        return "n/a"
    figure, *ends = (_points(value, sign) for value in (fraction, low, high) if value is not None)
    return f"{figure} [{ends[0]}, {ends[1]}]" if len(ends) == 2 else figure


def _points(fraction: float, sign: bool) -> str:
    """A fraction in percent, one decimal; what rounds to nothing is not below zero."""
    return f"{round(100 * fraction, 1) + 0.0:{'+' if sign else ''}.1f}"


# ---- Markdown


def to_markdown(results: Results) -> str:
    """The report of one run.

    Args:
        results: content of results.json.

    Returns:
        Markdown that ends in a line break.
    """
    curves = _curves(results)
    parts = [
        f"# {recogniser_name(results)}: suite {results['suite']}",
        _head(results),
        _verdicts(results),
        *(_matrix_tables(results, name, found) for name, found in comparisons(results).items()),
        f"## WER in % against the level\n\n{curves}" if curves else "",
        _speakers(results),
        "## Figures over the rows",
        _summary(results),
        "## Rows",
        _rows(results),
        _notes(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; the first columns are text, the others figures, which stand to the
    right."""
    cells = [
        [" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in [head, *rows]
    ]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(head))]

    def aligned(line: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * width if column < text_columns else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([aligned(cells[0]), aligned(rule), *map(aligned, cells[1:])])


def _head(results: Results) -> str:
    split = f", split {results['split']}" if results.get("split") else ""
    seeds = seeds_of(results)
    drawn = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    clips = f"{clips_of(results)} clips, {words_of(results)} words"
    return (
        f"{clips} of {results['data']}{split}; {drawn}; text normaliser `{results['normalizer']}`."
    )


def _verdicts(results: Results) -> str:
    """One line for each predicate, and under it each row that breaks it or is undecided."""
    lines = []
    for name, result in comparisons(results).items():
        meaning = {**PREDICATES, **HARM}.get(name, "")
        if outcome(result) == "not checked":
            lines.append(f"- **{name}** not checked: no row to compare. ({meaning})")
            continue
        lines.append(
            f"- **{name} {verdict(name, result)}** ({meaning}): {tally(result)}. Worst "
            f"{100 * result['worst']:+.1f} points, at {worst_label(result)}; "
            f"{100 * result['tolerance']:g} allowed."
            + (f" {VACUOUS}" if result.get("vacuous") else "")
        )
        for kind in ("fail", "undecided"):
            found = [check for check in result["checks"] if outcome(check) == kind]
            found.sort(key=lambda check: -check["difference"])
            lines += [f"  - {kind}: {_told(check)}" for check in found[:NAMED_CHECKS]]
            if len(found) > NAMED_CHECKS:
                lines.append(
                    f"  - {kind}: and {len(found) - NAMED_CHECKS} more, in the tables below"
                )
    return "\n".join(lines)


def _told(check: Mapping[str, Any]) -> str:
    """A check with its figures, and where it is undecided how many clips would tell."""
    needed = needed_text(check)
    return (
        f"{check['label']}: {percent(check['wer'])} % against {percent(check['against_wer'])} %, "
        f"{percent(check['difference'], check['low'], check['high'], sign=True)} points"
        + (f"; {needed}" if needed else "")
    )


def needed_text(check: Mapping[str, Any]) -> str:
    """ "about 260 clips would tell", in two digits; empty where nothing is undecided or no number
    would."""
    needed = check.get("clips_needed")
    if needed is None:
        return ""
    scale = 10 ** max(0, len(str(needed)) - 2)
    return f"about {math.ceil(needed / scale) * scale} clips would tell"


def tally(found: Mapping[str, Any]) -> str:
    """ "130 of 134 checks pass, 4 undecided, 0 fail"."""
    count = {kind: sum(outcome(check) == kind for check in found["checks"]) for kind in VERDICTS}
    total = len(found["checks"])
    return f"{count['pass']} of {total} checks pass, {count['undecided']} undecided, {count['fail']} fail"


def verdict(name: str, found: Mapping[str, Any]) -> str:
    """ "pass", "undecided" or "FAIL"; "no harm" or "harm" for what is told beside them; "says
    nothing"."""
    if found.get("vacuous") and outcome(found) in ("pass", "undecided"):
        return "says nothing"  # no worse than a modality that knows nothing is no merit
    words = (
        {"pass": "pass", "fail": "FAIL"}
        if name in PREDICATES
        else {"pass": "no harm", "fail": "harm"}
    )
    return words.get(outcome(found), outcome(found))


def worst_label(predicate: Mapping[str, Any]) -> str:
    """The label of the row that comes out worst."""
    return next(
        check["label"] for check in predicate["checks"] if check["row"] == predicate["worst_row"]
    )


def mark(check: Mapping[str, Any]) -> str:
    """ "✓ -1.2", "✗ +3.4" or "? +0.2" where it is undecided: the verdict and the difference in
    points."""
    return f"{VERDICTS[outcome(check)]} {percent(check['difference'], sign=True)}"


def _cell(grid: Matrix, condition: str, level: str) -> str:
    check = grid.cells.get((condition, level))
    return mark(check) if check else "n/a"


def _matrix_tables(results: Results, name: str, found: Mapping[str, Any]) -> str:
    grids, rest = matrices(results, found)
    if not grids and not rest:
        return ""
    other = MODALITIES[SINGLE[name]]
    parts = [f"## {name}: points of WER above {other}"]
    for grid in grids:
        lines = [
            [condition, *(_cell(grid, condition, level) for level in grid.levels)]
            for condition in grid.conditions
        ]
        parts.append(table([grid.axis, *grid.levels], lines))
    if rest:
        parts.append(
            table(
                ["other conditions", "audio + video", other, "difference"],
                [
                    [
                        check["label"],
                        percent(check["wer"]),
                        percent(check["against_wer"]),
                        mark(check),
                    ]
                    for check in rest
                ],
            )
        )
    return "\n\n".join(parts)


def _curves(results: Results) -> str:
    tables = []
    for axis in dict.fromkeys(curve["axis"] for curve in results.get("curves", [])):
        head, lines = curve_table(results, axis)
        tables.append(table([axis, *head[1:]], lines, text_columns=2))
    return "\n\n".join(tables)


def _speakers(results: Results) -> str:
    """WER of each speaker, a column for each of the first rows; nothing where there are no two."""
    speakers = results["summary"].get("speakers")
    if not speakers:
        return ""
    scored = [row for row in results["rows"] if row["wer"] is not None]
    first = {(row["label"], row["modality"]): row["key"] for row in reversed(scored)}
    columns = list(reversed(first.items()))[:SPEAKER_COLUMNS]
    head = ["speaker", "clips", *(f"{label}, {MODALITIES[uses]}" for (label, uses), _ in columns)]
    lines = []
    for found in speakers:
        rates = [percent(found["rows"].get(key, {}).get("wer")) for _, key in columns]
        lines.append([found["speaker"], str(found["utterances"]), *rates])
    return f"## WER in % by speaker\n\n{table(head, lines)}"


def _rows(results: Results) -> str:
    """Every row; which seed only where there are several."""
    several = len(seeds_of(results)) > 1
    head = ["condition", "uses", *(["seed"] if several else [])]
    head += ["WER % [95 %]", "CER %", "S", "D", "I", "N", "difference to full input [95 %]"]
    lines = []
    for row in results["rows"]:
        label = row["label"] + (" (comparison)" if row["role"] == "comparison" else "")
        line = [label, MODALITIES[row["modality"]], *([str(row["seed"])] if several else [])]
        if "not_available" in row:
            lines.append([*line, "n/a", *["" for _ in range(6)]])
            continue
        lines.append(
            [
                *line,
                percent(row["wer"], row["wer_low"], row["wer_high"]),
                percent(row["cer"]),
                *(str(row[name]) for name in ("substitutions", "deletions", "insertions", "words")),
                percent(row["delta_wer"], row["delta_low"], row["delta_high"], sign=True),
            ]
        )
    return table(head, lines, text_columns=2)


def _summary(results: Results) -> str:
    summary = results["summary"]
    lines = []
    if summary["hallucination_rate"] is not None:
        lines.append(
            f"- Where nothing was there, {100 * summary['hallucination_rate']:.1f} % of the clips "
            "got words all the "
            f"same ({summary['hallucinated_words']} words, "
            f"{summary['hallucinated_words_per_minute']:.1f} a minute)."
        )
    for kind, gain in (summary.get("effective_snr_gain_db") or {}).items():
        lines.append(f"- Effective SNR gain at 0 dB, {kind}: {gain_text(gain)}.")
    if reliance := summary.get("visual_reliance"):
        lines.append(
            f"- Sound of one clip with the lips of another, {reliance['words']} words: "
            f"{percent(reliance['follows_lips'])} % follow the lips, "
            f"{percent(reliance['follows_sound'])} % the sound. "
            f"{reliance['definition']}"
        )
    if trust := [point for point in summary.get("trust_curve") or [] if point["words"]]:
        points = ", ".join(
            f"{point['audio_weight']:.2f} at {100 * point['audio_present']:.0f} %"
            for point in trust
        )
        lines.append(
            f"- Mean audio weight of the words against how much of the sound was there: {points}."
        )
    if summary["real_time_factor"] is not None:
        lines.append(
            f"- Real-time factor of recognising prepared clips: {summary['real_time_factor']:.3f}."
        )
    return "\n".join(lines) or "None: no row to take them from."


def gain_text(gain: Mapping[str, Any]) -> str:
    """ "+4.2 dB" and its note; where the gain could not be measured, the note says why or what it
    is at least."""
    parts = [
        "" if gain["gain_db"] is None else f"{gain['gain_db']:+.1f} dB",
        gain.get("note") or "",
    ]
    return ", ".join(part for part in parts if part) or "n/a"


def _notes(results: Results) -> str:
    rows = results["rows"]
    lines = []
    if meaning := snr_meaning(results):
        lines.append(f"- {meaning}")
    if any(found["checks"] for found in comparisons(results).values()):
        lines.append(f"- Verdicts: {NON_INFERIORITY}.")
    if any(row["axis"] == "clean" for row in rows):
        lines.append(f"- {INTERVALS} Counts are pooled.")
    if results.get("clips_without_text"):
        lines.append(
            f"- {len(results['clips_without_text'])} clips have no text and were not scored."
        )
    for reason, labels in unavailable(results).items():
        more = len(labels) - NAMED_LABELS
        named = ", ".join(labels[:NAMED_LABELS]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"- n/a: {named}: {reason}")
    return "\n".join(lines)
