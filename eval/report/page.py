"""Results as one HTML file that needs nothing else: no network, no library, and no script but for
sorting.

Every text from outside goes through `escape`, and a content security policy in the page lets it
fetch nothing and run nothing but our own script. The same results give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from avsr.eval.report import examples as clips
from avsr.eval.report import plots
from avsr.eval.report.examples import Example
from avsr.eval.report.markdown import (
    HARM,
    INTERVALS,
    MODALITIES,
    PREDICATES,
    SINGLE,
    VACUOUS,
    VERDICTS,
    Matrix,
    Results,
    clips_of,
    comparisons,
    curve_table,
    mark,
    matrices,
    needed_text,
    outcome,
    percent,
    recogniser_name,
    seeds_of,
    snr_meaning,
    tally,
    unavailable,
    verdict,
    words_of,
    worst_label,
)

FOLDER = Path(__file__).parent


def to_html(results: Results, examples: Sequence[Example] = ()) -> str:
    """The report of one run as a page.

    Args:
        results: content of results.json.
        examples: clips to show, worst first.

    Returns:
        A whole HTML document.
    """
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sections = [
        (
            "Verdicts",
            "Is a missing modality ever worse than not having had it?",
            _predicates(results),
        ),
        ("Curves", "Word error rate against the level", _curves(results)),
        ("Figures", "Figures over the rows", _figures(results)),
        (
            "Clips",
            "Worst clips",
            "".join(clips.to_html(example, results["normalizer"]) for example in examples),
        ),
        ("Rows", "All rows", _rows(results)),
        ("Gaps", "Rows that are not available", _unavailable(results)),
    ]
    there = [(name.lower(), name, title, body) for name, title, body in sections if body]
    links = "".join(f'<li><a href="#{id}">{name}</a></li>' for id, name, _, _ in there)
    body = "".join(
        f'<section id="{id}" aria-labelledby="{id}-title"><h2 '
        f'id="{id}-title">{title}</h2>{text}</section>'
        for id, _, title, text in there
    )
    title = escape(f"{recogniser_name(results)}: robustness, suite {results['suite']}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{css}{plots.STYLE}</style>\n</head>\n<body>\n'
        f"{_header(results)}\n<nav "
        f'aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}\n</main>\n'
        f"{_footer(results)}\n<script>{script}</script>\n</body>\n</html>\n"
    )


# ---- pieces


def _table(
    head: Sequence[str], lines: Iterable[Sequence[str]], caption: str, *, texts: int = 1
) -> str:
    """A table of plain texts in a container of its own that scrolls; the first cell of a line is
    its heading."""
    tops = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = []
    for line in lines:
        cells = "".join(
            f"<td{'' if column < texts else ' class=n'}>{escape(cell)}</td>"
            for column, cell in enumerate(line[1:], 1)
        )
        rows.append(f'<tr><th scope="row">{escape(line[0])}</th>{cells}</tr>')
    return _scrolling(
        f"<table><thead><tr>{tops}</tr></thead><tbody>{''.join(rows)}</tbody></table>", caption
    )


def _scrolling(table: str, label: str, kind: str = "") -> str:
    return f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{escape(label)}">{table}</div>'


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{text}</dd></div>" for name, text in facts)
        + "</dl>"
    )


def _tile(name: str, figure: str, note: str = "") -> str:
    small = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="tile"><h3>{escape(name)}</h3><p class="figure">{escape(figure)}</p>{small}</div>'


# ---- head and foot


def _header(results: Results) -> str:
    seeds = seeds_of(results)
    split = f", split {results['split']}" if results.get("split") else ""
    facts = [
        ("Model", escape(results["model"]) + _fingerprint(results)),
        ("Data", escape(f"{results['data']}{split}")),
        ("Clips", f"{clips_of(results)}, {words_of(results)} words"),
        ("Suite", f"{escape(results['suite'])}, {len(results['rows'])} rows"),
        ("Seeds" if len(seeds) > 1 else "Seed", ", ".join(map(str, seeds))),
        ("Text normaliser", f"<code>{escape(results['normalizer'])}</code>"),
    ]
    notes = [snr_meaning(results), INTERVALS]
    return (
        f"<header><p class=kind>Robustness report</p><h1>{escape(recogniser_name(results))}</h1>"
        f"{_clean(results)}{_facts(facts)}<p "
        f"class=soft>{escape(' '.join(note for note in notes if note))}</p></header>"
    )


def _fingerprint(results: Results) -> str:
    sha256 = results.get("model_sha256")
    return f' <code title="SHA-256 {escape(sha256)}">{escape(sha256[:12])}</code>' if sha256 else ""


def _clean(results: Results) -> str:
    """Word error rate on clean clips, one tile for each use."""
    tiles = {}
    for row in results["rows"]:
        if row["axis"] == "clean" and row["modality"] not in tiles:
            rate = f"{percent(row['wer'])} %" if row["wer"] is not None else "n/a"
            span = (
                f"{100 * row['wer_low']:.1f} to {100 * row['wer_high']:.1f}"
                if row["wer"] is not None
                else ""
            )
            name = f"WER clean, {MODALITIES[row['modality']]}"
            tiles[row["modality"]] = _tile(name, rate, span or row.get("not_available", ""))
    return f'<div class="tiles">{"".join(tiles.values())}</div>' if tiles else ""


def _footer(results: Results) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in (results.get("versions") or {}).items()
    )
    text = (
        "Counts are pooled over the clips and divided once. All figures are in results.json, all "
        "hypotheses in "
        "hypotheses.jsonl."
    )
    return f"<footer><p>{text}</p><p>{escape(versions)}</p></footer>"


# ---- R_V and R_A


def _predicates(results: Results) -> str:
    """The two predicates, and below them what is told beside them."""
    cards = {name: _predicate(results, name, found) for name, found in comparisons(results).items()}
    harm = "".join(card for name, card in cards.items() if name not in PREDICATES)
    beside = f'<h3>Beside the predicates: a stream that is there and bad</h3><div class="pair">{harm}</div>'
    own = "".join(card for name, card in cards.items() if name in PREDICATES)
    return f'<div class="pair">{own}</div>' + (beside if harm else "")


def _predicate(results: Results, name: str, found: Mapping[str, Any]) -> str:
    """A verdict, its matrices, and every check with its interval."""
    other = MODALITIES[SINGLE[name]]
    tolerance = f"{100 * found['tolerance']:g}"
    told = verdict(name, found)
    state = "none" if told in ("says nothing", "not checked") else outcome(found)
    sign = f"{VERDICTS[state]} " if state in VERDICTS else ""
    worst = "No row of these results can be compared."
    if found["checks"]:
        worst = (
            f"Worst {100 * found['worst']:+.1f} points, at {worst_label(found)}; {tolerance} "
            f"allowed. {tally(found)}." + (f" {VACUOUS}" if found.get("vacuous") else "")
        )
    grids, rest = matrices(results, found)
    parts = [
        f'<article class="predicate"><h3>{escape(name)} ',
        f'<span class="verdict {state}">{sign}{told}</span></h3>',
        f"<p>{escape({**PREDICATES, **HARM}.get(name, '').capitalize())}.</p><p><strong>{escape(worst)}</strong></p>",
        *(_matrix(grid, name) for grid in grids),
        _others(rest, other) if rest else "",
    ]
    if found["checks"]:
        parts.append(_legend_of_matrix(other, tolerance))
        parts.append(
            _details("Every check with its interval", _checks(found["checks"], other, name))
        )
    return "".join(parts) + "</article>"


def _matrix(grid: Matrix, name: str) -> str:
    head = "".join(f'<th scope="col">{escape(level)}</th>' for level in grid.levels)
    lines = []
    for condition in grid.conditions:
        cells = "".join(_cell(grid.cells.get((condition, level))) for level in grid.levels)
        lines.append(f'<tr><th scope="row">{escape(condition)}</th>{cells}</tr>')
    table = (
        '<table class="matrix"><thead><tr><th '
        f'scope="col">{escape(grid.axis)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return _scrolling(table, f"{name}, {grid.axis}")


def _cell(check: Mapping[str, Any] | None) -> str:
    """A verdict as sign and figure; colour only repeats it."""
    if check is None:
        return '<td class="cell none">n/a</td>'
    sign, points = mark(check).split()
    word = outcome(check)
    state = "better" if word == "pass" and check["difference"] < 0 else word
    title = (
        f"{check['label']}: {percent(check['wer'])} % against {percent(check['against_wer'])} %, "
        "difference " + ", ".join(filter(None, [_difference(check), needed_text(check)]))
    )
    return (
        f'<td class="cell {state}" title="{escape(title)}"><span aria-hidden="true">{sign}</span>'
        f'<span class="hidden">{word}</span> {points}</td>'
    )


def _difference(check: Mapping[str, Any]) -> str:
    return percent(check["difference"], check["low"], check["high"], sign=True)


def _others(checks: Sequence[Mapping[str, Any]], other: str) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(check["label"])}</th>{_cell(check)}<td '
        f'class="n">{percent(check["wer"])}</td>'
        f'<td class="n">{percent(check["against_wer"])}</td></tr>'
        for check in checks
    )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("other conditions", "points", "WER %", other)
    )
    table = f'<table class="matrix"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return _scrolling(table, "Other conditions")


def _legend_of_matrix(other: str, tolerance: str) -> str:
    return (
        f'<p class="soft">Points of WER above {other}. <span class="cell better">✓ -</span> '
        "better, "
        f'<span class="cell pass">✓ +</span> at most {tolerance} worse (the whole 95 % interval), '
        '<span class="cell fail">✗ +</span> more (the whole interval), <span class="cell '
        'undecided">?</span> '
        "undecided: more clips would tell.</p>"
    )


def _checks(checks: Sequence[Mapping[str, Any]], other: str, name: str) -> str:
    lines = [
        [
            check["label"],
            percent(check["wer"]),
            percent(check["against_wer"]),
            _difference(check),
            ", ".join(filter(None, [outcome(check), needed_text(check)])),
        ]
        for check in sorted(checks, key=lambda check: -check["difference"])
    ]
    return _table(
        ["condition", "audio + video", other, "difference [95 %]", "verdict"],
        lines,
        f"Checks of {name}",
    )


# ---- curves and figures


def _curves(results: Results) -> str:
    parts = []
    for axis, charts in plots.curve_charts(results).items():
        figures = "".join(f"<figure>{plots.draw(chart)}</figure>" for chart in charts)
        head, lines = curve_table(results, axis)
        size = "axis one" if len(charts) == 1 else "axis"  # single charts stand side by side
        parts.append(
            f'<div class="{size}"><h3>{escape(axis.capitalize())}</h3>{_legend(charts)}'
            f'<div class="charts">{figures}</div>'
            + _details("Figures", _table(head, lines, f"WER in % against {axis}", texts=2))
            + "</div>"
        )
    return f'<div class="axes">{"".join(parts)}</div>' if parts else ""


def _legend(charts: Sequence[plots.Chart]) -> str:
    keys = "".join(
        '<li><svg class="chart" viewBox="0 0 36 12" width="36" height="12" '
        f'aria-hidden="true">{plots.legend_key(line)}'
        f"</svg>{escape(line.name)}</li>"
        for line in plots.legend_lines(charts)
    )
    return f'<ul class="legend">{keys}</ul>'


def _figures(results: Results) -> str:
    summary = results["summary"]
    tiles = []
    for kind, gain in (summary.get("effective_snr_gain_db") or {}).items():
        tiles.append(_tile(f"Effective SNR gain at 0 dB, {kind}", *_gain(gain)))
    if summary["hallucination_rate"] is not None:
        note = f"{summary['hallucinated_words']} words, {summary['hallucinated_words_per_minute']:.1f} a minute"
        name = "Clips given words where nothing was there"
        tiles.append(_tile(name, f"{percent(summary['hallucination_rate'])} %", note))
    if summary["real_time_factor"] is not None:
        note = "seconds of computing for a second of prepared clip"
        tiles.append(_tile("Real-time factor", f"{summary['real_time_factor']:.3f}", note))
    trust = plots.trust_chart(results)
    meaning = "1: every word heard; 0: every word lip-read."
    chart = (
        f"<figure>{plots.draw(trust)}<figcaption>{meaning}</figcaption></figure>" if trust else ""
    )
    wide = chart + _reliance(summary.get("visual_reliance"))
    return f'<div class="tiles">{"".join(tiles)}</div>' + (
        f'<div class="charts">{wide}</div>' if wide else ""
    )


def _gain(gain: Mapping[str, Any]) -> tuple[str, str]:
    """The gain and what is to be said about it; "> 10 dB" where the range measured did not reach
    its end."""
    note = gain.get("note") or ""
    if gain["gain_db"] is not None:
        return f"{gain['gain_db']:+.1f} dB", note
    bound, _, why = note.partition(":")
    return (
        (bound.replace("more than", ">"), why.strip())
        if bound.startswith("more than")
        else ("n/a", note)
    )


def _reliance(reliance: Mapping[str, Any] | None) -> str:
    """Which of two contradicting streams the words follow, as one bar."""
    if not reliance:
        return ""
    lips, sound = reliance["follows_lips"], reliance["follows_sound"]
    neither = max(0.0, 1 - lips - sound)
    shares = [
        ("video", "the lips", lips),
        ("audio", "the sound", sound),
        ("neither", "neither", neither),
    ]
    bar = "".join(
        f'<span class="{use}" style="flex-grow:{share:.4f}"></span>' for use, _, share in shares
    )
    words = "".join(
        f'<li><span class="swatch {use}"></span>{name} {percent(share)} %</li>'
        for use, name, share in shares
    )
    return (
        '<figure class="reliance"><h3>Visual reliance: sound of one clip, lips of another</h3>'
        f'<div class="bar" aria-hidden="true">{bar}</div><ul class="legend">{words}</ul>'
        f"<figcaption>{reliance['words']} words. "
        f"{escape(reliance['definition'])}</figcaption></figure>"
    )


# ---- rows


def _rows(results: Results) -> str:
    """Every row, with its interval drawn on one scale; the page's script makes it sortable."""
    several = len(seeds_of(results)) > 1
    highs = [row["wer_high"] for row in results["rows"] if row.get("wer_high") is not None]
    top = max([0.01, *highs])
    head = [
        "condition",
        "uses",
        *(["seed"] if several else []),
        "WER %",
        f"0 to {100 * top:.0f} %",
        "95 %",
        "CER %",
    ]
    head += ["S", "D", "I", "N", "to full input", "sound there", "lips there", "audio weight"]
    tops = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(_row(row, several, top) for row in results["rows"])
    table = f'<table class="rows"><thead><tr>{tops}</tr></thead><tbody>{lines}</tbody></table>'
    return _scrolling(table, "All rows", "tall")


def _row(row: Mapping[str, Any], several: bool, top: float) -> str:
    label = row["label"] + (" (comparison)" if row["role"] == "comparison" else "")
    begin = f'<tr><th scope="row">{escape(label)}</th><td>{MODALITIES[row["modality"]]}</td>'
    begin += f'<td class="n">{row["seed"]}</td>' if several else ""
    if "not_available" in row:
        return f'{begin}<td class="n">n/a</td><td colspan="11" class="soft">{escape(row["not_available"])}</td></tr>'
    interval = (
        ""
        if row["wer_low"] is None
        else f"{100 * row['wer_low']:.1f} to {100 * row['wer_high']:.1f}"
    )
    weight = row.get("audio_weight")
    cells = [
        (row["wer"], percent(row["wer"])),
        (row["wer"], _glyph(row, top)),
        (None, interval),
        (row["cer"], percent(row["cer"])),
        *(
            (row[name], str(row[name]))
            for name in ("substitutions", "deletions", "insertions", "words")
        ),
        (
            row["delta_wer"],
            percent(row["delta_wer"], row["delta_low"], row["delta_high"], sign=True),
        ),
        *((row.get(name), _share(row.get(name))) for name in ("audio_present", "video_present")),
        (weight, "n/a" if weight is None else f"{weight:.2f}"),
    ]
    return begin + "".join(_figure_cell(value, text) for value, text in cells) + "</tr>"


def _figure_cell(value: float | None, text: str) -> str:
    """A figure, with the value to sort by."""
    return f'<td class="n"{"" if value is None else f" data-v={value:.6g}"}>{text}</td>'


def _share(fraction: float | None) -> str:
    return "n/a" if fraction is None else f"{100 * fraction:.0f} %"


def _glyph(row: Mapping[str, Any], top: float) -> str:
    """The rate and its interval as a dot on a line, on the scale of the whole table."""
    if row["wer"] is None:
        return ""
    low, rate, high = (
        round(4 + 92 * min(row[name] / top, 1), 1) for name in ("wer_low", "wer", "wer_high")
    )
    return (
        f'<svg class="glyph {row["modality"]}" viewBox="0 0 100 12" width="100" height="12" '
        'aria-hidden="true">'
        f'<path class="scale" d="M4 6h92"/><path d="M{low} 6H{high}"/><circle cx="{rate}" cy="6" '
        'r="2.5"/></svg>'
    )


def _unavailable(results: Results) -> str:
    lines = [
        [reason, str(len(labels)), ", ".join(labels)]
        for reason, labels in unavailable(results).items()
    ]
    return (
        _table(["why", "conditions", "which"], lines, "Rows that are not available", texts=3)
        if lines
        else ""
    )
