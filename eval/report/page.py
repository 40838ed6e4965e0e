"""Results as one HTML file that needs nothing else: no network, no library, and no script but for
sorting.

The template escapes every text, and a content security policy in the page lets it fetch nothing and
run nothing but our own script. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from avsr.base.pages import own_parts, templates
from avsr.eval.metrics.results import Check, Gain, Measured, Predicate, Results
from avsr.eval.metrics.text import Table, percent
from avsr.eval.metrics.worst import Example
from avsr.eval.report import tables, words
from avsr.eval.report.drawing.charts import Chart, Line, curve_charts, looks, trust_chart
from avsr.eval.report.drawing.plots import chart_element
from avsr.eval.report.examples import show

FOLDER = Path(__file__).parent
TEMPLATE = "page.html.j2"


def to_html(results: Results, examples: Sequence[Example] = ()) -> str:
    """The report of one run as a page.

    Args:
        results: what to report.
        examples: clips to show, worst first.

    Returns:
        A whole HTML document.
    """
    environment = templates(FOLDER)
    environment.globals |= {"words": words, "percent": percent, "cell": _cell}
    return environment.get_template(TEMPLATE).render(
        **own_parts(FOLDER),
        results=results,
        cards=[_card(results, name, one) for name, one in results.comparisons.items()],
        axes=_axes(results),
        trust=_trust(results),
        gains={name: _gain(gain) for name, gain in results.summary.effective_snr_gain_db.items()},
        reliance=_reliance(results),
        speaker_tables=_speaker_tables(results),
        examples=[show(example, results.normalizer) for example in examples],
        several_seeds=len(results.seeds) > 1,
        top=_top(results.rows),
    )


# ---- predicates


@dataclass(frozen=True)
class Card:
    """A predicate as the page shows it.

    Attributes:
        state: how the verdict looks: "pass", "fail", "undecided" or "none".
        other: the modality that it compares with, in words.
        grids, rest: see `tables.matrices`.
    """

    name: str
    found: Predicate
    beside: bool
    state: str
    other: str
    grids: list[tables.Matrix]
    rest: list[Check]
    checks: Table


def _card(results: Results, name: str, found: Predicate) -> Card:
    void = words.verdict_text(name, found) in ("says nothing", "not checked")
    other = words.MODALITIES[words.SINGLE[name]]
    grids, rest = tables.matrices(results, found)
    lines = []
    for check in sorted(found.checks, key=lambda check: -check.difference):
        verdict = ", ".join(part for part in (check.verdict, words.needed_text(check)) if part)
        rates = percent(check.wer), percent(check.against_wer)
        lines.append([check.label, *rates, words.difference_text(check), verdict])
    head = ["condition", "audio + video", other, "difference [95 %]", "verdict"]
    state = "none" if void else found.verdict
    beside = name not in words.PREDICATES
    table = Table(head, lines)
    return Card(name, found, beside, state, other, grids, rest, table)


def _cell(check: Check | None) -> dict[str, str]:
    """A verdict as sign and figure; colour only repeats it."""
    if check is None:
        return {"state": "none", "title": "", "sign": "", "word": "", "points": "n/a"}
    better = check.verdict == "pass" and check.difference < 0
    rates = f"{percent(check.wer)} % against {percent(check.against_wer)} %"
    told = [f"{check.label}: {rates}", f"difference {words.difference_text(check)}"]
    if needed := words.needed_text(check):
        told.append(needed)
    return {
        "state": "better" if better else check.verdict,
        "title": ", ".join(told),
        "sign": words.SIGNS[check.verdict],
        "word": check.verdict,
        "points": percent(check.difference, sign=True),
    }


# ---- pictures and figures


@dataclass(frozen=True)
class Axis:
    """The curves of one axis as the page shows them."""

    name: str
    looks: list[Line]
    charts: list[Markup]
    table: Table


def _axes(results: Results) -> list[Axis]:
    found = []
    for place, (axis, charts) in enumerate(curve_charts(results).items()):
        drawn = [_drawn(chart, f"c{place}-{number}") for number, chart in enumerate(charts)]
        found.append(Axis(axis, looks(charts), drawn, tables.curve_table(results, axis)))
    return found


def _trust(results: Results) -> Markup | None:
    chart = trust_chart(results)
    return _drawn(chart, "trust") if chart else None


def _drawn(chart: Chart, prefix: str) -> Markup:
    """SVG as matplotlib writes it, in which every text is escaped."""
    return Markup(chart_element(chart, prefix))


def _gain(gain: Gain) -> tuple[str, str]:
    """The gain and what is to be said about it; "> 10 dB" where the range measured did not reach
    its end."""
    note = gain.note or ""
    if gain.gain_db is not None:
        return f"{gain.gain_db:+.1f} dB", note
    bound, _, why = note.partition(":")
    if bound.startswith("more than"):
        return bound.replace("more than", ">"), why.strip()
    return "n/a", note


def _reliance(results: Results) -> list[tuple[str, str, float]]:
    """(look, name, share) of what the words follow where the streams contradict each other."""
    reliance = results.summary.visual_reliance
    if reliance is None:
        return []
    lips, sound = reliance.follows_lips, reliance.follows_sound
    neither = max(0.0, 1 - lips - sound)
    return [
        ("video", "the lips", lips),
        ("audio", "the sound", sound),
        ("neither", "neither", neither),
    ]


# ---- tables


def _speaker_tables(results: Results) -> list[Table]:
    found = tables.speaker_counts(results), tables.speaker_rates(results)
    return [table for table in found if table is not None]


def _top(rows: Sequence[Measured]) -> float:
    """The end of the scale on which the table draws every interval."""
    highs: list[Any] = [row.wer_high for row in rows if row.wer_high is not None]
    return max([0.01, *highs])
