"""WER curves and the trust curve as SVG: inline in the HTML page and in its colours, or as files
for documents.

Colours are Okabe and Ito's (blue, vermilion, green apart for every kind of colour vision), and each
line has a marker of its own shape, so that nothing hangs on colour. Files get fixed light colours;
the page says what `var(--…)` is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from avsr.eval.report.markdown import (
    MODALITIES,
    SINGLE,
    Results,
    level_text,
    ordered_levels,
    percent,
)
from avsr.preprocessing.shards import write_file

WIDTH, HEIGHT = 360, 232  # of one chart, in CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 28, 42  # margins around its field
CHARACTER = 6.6  # px, width of a figure on the axes
LEGEND_HEIGHT = 30
ROUND: dict[float, int] = {1: 5, 1.2: 4, 1.5: 3, 2: 4, 2.5: 5, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4}
"""Ends of an axis, times a power of ten -> into how many parts it is divided."""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "soft": "#59636e",
    "grid": "#dfe3e8",
    "av": "#0b63a5",
    "audio": "#b54708",
    "video": "#00785a",
}
STYLE = """
.chart text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--soft); }
.chart .title { font-weight: 600; font-size: 13px; fill: var(--ink); }
.chart .grid { stroke: var(--grid); stroke-width: 1; }
.chart .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.chart .band { fill: currentColor; opacity: .16; }
.chart .bar { stroke: currentColor; stroke-width: 2; opacity: .4; }
.chart .mark { fill: currentColor; stroke: currentColor; stroke-width: 1.5; }
.chart .silent .line { stroke-dasharray: 5 4; }
.chart .silent .mark { fill: var(--paper); }
.chart .single .line { stroke-dasharray: 1.5 3; }
.chart .av { color: var(--av); } .chart .audio { color: var(--audio); } .chart .video { color: var(--video); }
"""


@dataclass(frozen=True)
class Point:
    """One figure: place on the x axis in [0, 1], value and 95 % interval in the unit of the y
    axis."""

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Line:
    """Figures that belong together.

    Attributes:
        use: "av", "audio" or "video": colour and marker.
        name: for the legend.
        points: from left to right.
        style: "", "silent" (absence is not signalled; dashed) or "single" (one modality, whatever
            the level; dotted).
        apart: the last point stands apart: no line leads to it.
    """

    use: str
    name: str
    points: tuple[Point, ...]
    style: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Chart:
    """What is drawn in one field.

    Attributes:
        title: above the field.
        x_label: below it.
        ticks: (place in [0, 1], text) on the x axis.
        lines: drawn in this order.
        top: end of the y axis, which begins at 0.
        unit: of the y axis: "%" or "".
    """

    title: str
    x_label: str
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    top: float
    unit: str = "%"


# ---- results to charts


def curve_charts(results: Results) -> dict[str, list[Chart]]:
    """WER against the level: for each axis a chart of each condition, all with the same y axis.

    Where a stream is missing, the other one alone on clean clips is drawn as a dotted line: R_V and
    R_A say that the curve must not rise above it.
    """
    grouped: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for curve in results.get("curves", []):
        grouped.setdefault(curve["axis"], {}).setdefault(curve["condition"], []).append(curve)
    charts = {}
    for axis, conditions in grouped.items():
        highest = max(
            (high for curves in conditions.values() for curve in curves for high in _highs(curve)),
            default=0,
        )
        single = _single(results, axis)
        top = _nice(100 * max(highest, single[1] if single else 0, 0.01))
        drawn = [
            _curve_chart(axis, name, curves, top, single) for name, curves in conditions.items()
        ]
        charts[axis] = [chart for chart in drawn if chart.lines]
    return {axis: found for axis, found in charts.items() if found}


def _highs(curve: Mapping[str, Any]) -> list[float]:
    return [
        high if high is not None else rate
        for rate, high in zip(curve["wer"], curve["wer_high"], strict=True)
        if rate is not None
    ]


def _single(results: Results, axis: str) -> tuple[str, float] | None:
    """Which modality is left where the other one is missing, and its WER on clean clips."""
    use = {"video missing": SINGLE["R_V"], "audio missing": SINGLE["R_A"]}.get(axis)
    rates = [
        row["wer"]
        for row in results["rows"]
        if row["axis"] == "clean" and row["modality"] == use and row["wer"] is not None
    ]
    return (use, sum(rates) / len(rates)) if use and rates else None


def _curve_chart(
    axis: str,
    name: str,
    curves: Sequence[Mapping[str, Any]],
    top: float,
    single: tuple[str, float] | None,
) -> Chart:
    levels = ordered_levels(level for curve in curves for level in curve["levels"])
    places = _places(levels)
    lines = []
    if single and not any(curve["modality"] == single[0] for curve in curves):
        use, rate = single
        ends = [
            Point(x, 100 * rate, 100 * rate, 100 * rate, f"WER {percent(rate)} %")
            for x in (0.0, 1.0)
        ]
        lines.append(Line(use, f"{MODALITIES[use]}, clean", tuple(ends), "single"))
    for curve in curves:
        points = []
        for level, rate, low, high in zip(
            curve["levels"], curve["wer"], curve["wer_low"], curve["wer_high"], strict=True
        ):
            if rate is not None:
                low, high = rate if low is None else low, rate if high is None else high
                label = f"{level_text(axis, level)}: WER {percent(rate, low, high)} %"
                points.append(Point(places[str(level)], 100 * rate, 100 * low, 100 * high, label))
        silent = not curve.get("signalled", True)
        use = curve["modality"]
        if points:
            told = MODALITIES[use] + (", absence not signalled" if silent else "")
            apart = None in curve["levels"] and len(points) > 1 and points[-1].x == places["None"]
            lines.append(Line(use, told, tuple(points), "silent" if silent else "", apart))
    x_label = str(curves[0]["x_label"])
    ticks = tuple((places[str(level)], _tick(axis, level)) for level in levels)
    return Chart(name, x_label, ticks, tuple(lines), top)


def _tick(axis: str, level: Any) -> str:
    """The level without its unit, which the label of the axis says."""
    return re.sub(r" (%|dB|ms)$", "", level_text(axis, level))


def _places(levels: Sequence[Any]) -> dict[str, float]:
    """Level as text -> place in [0, 1]: figures to scale, clean set apart behind them, names
    evenly."""
    figures = [level for level in levels if isinstance(level, (int, float))]
    if not figures or len(figures) < len([level for level in levels if level is not None]):
        return {str(level): (index + 0.5) / len(levels) for index, level in enumerate(levels)}
    first, last = float(figures[0]), float(figures[-1])
    end = last + 0.15 * ((last - first) or 1) if None in levels else last
    span = (end - first) or 1
    places = {str(level): (float(level) - first) / span for level in figures}
    return {**places, "None": 1.0} if None in levels else places


def trust_chart(results: Results) -> Chart | None:
    """Mean audio weight of the words against how much of the sound was there; None where no word
    has a weight."""
    curve = results["summary"].get("trust_curve") or []
    points = []
    for bin_ in curve:
        share, weight, words = bin_["audio_present"], bin_["audio_weight"], bin_["words"]
        if words and weight is not None:
            points.append(
                Point(
                    share,
                    weight,
                    weight,
                    weight,
                    f"{100 * share:.0f} %: weight {weight:.2f}, {words} words",
                )
            )
    if not points:
        return None
    ticks = tuple((share / 100, f"{share}") for share in range(0, 101, 25))
    return Chart(
        "Trust: mean audio weight",
        "sound present %",
        ticks,
        (Line("av", MODALITIES["av"], tuple(points)),),
        1.0,
        "",
    )


# ---- charts to SVG


def draw(chart: Chart) -> str:
    """One chart as an SVG element that needs STYLE and colours from around it."""
    told = "; ".join(
        f"{line.name}: {', '.join(point.label for point in line.points)}" for line in chart.lines
    )
    label = escape(f"{chart.title}. {told}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{_field(chart)}</svg>'


def _field(chart: Chart) -> str:
    """Axes, lines and texts of a chart."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<text class="title" x="4" y="16">{escape(chart.title)}</text>']
    for value in _y_ticks(chart.top):
        y = _y(value, chart.top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        text = f"{value:g}{' %' if chart.unit and value == chart.top else ''}"
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{text}</text>')
    for x, text in _uncrowded(chart.ticks):
        parts.append(
            f'<text x="{_x(x)}" y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + right) / 2:g}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    parts += [_line(line, chart.top) for line in chart.lines]
    return "".join(parts)


def _line(line: Line, top: float) -> str:
    joined = line.points[:-1] if line.apart else line.points
    upper = [(_x(p.x), _y(p.high, top)) for p in joined]
    lower = [(_x(p.x), _y(p.low, top)) for p in reversed(joined)]
    path = " ".join(f"{_x(p.x)},{_y(p.y, top)}" for p in joined)
    parts = []
    if line.style != "single":
        parts.append(
            f'<polygon class="band" points="{" ".join(f"{x},{y}" for x, y in upper + lower)}"/>'
        )
    parts.append(f'<polyline class="line" points="{path}"/>')
    for point in line.points if line.style != "single" else ():
        x, y = _x(point.x), _y(point.y, top)
        # where no band shows the interval
        if len(joined) == 1 or (line.apart and point is line.points[-1]):
            low, high = _y(point.low, top), _y(point.high, top)
            parts.append(f'<line class="bar" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
        told = escape(f"{line.name}, {point.label}")
        parts.append(f'<g class="mark"><title>{told}</title>{marker(line.use, x, y)}</g>')
    return f'<g class="{line.use} {line.style}">{"".join(parts)}</g>'


def marker(use: str, x: float, y: float) -> str:
    """Circle, square or triangle: the modality without its colour."""
    if use == "audio":
        return f'<rect x="{x - 3:g}" y="{y - 3:g}" width="6" height="6"/>'
    if use == "video":
        return f'<path d="M{x:g} {y - 4:g}l4 7h-8z"/>'
    return f'<circle cx="{x:g}" cy="{y:g}" r="3.2"/>'


def legend_lines(charts: Iterable[Chart]) -> list[Line]:
    """One line of each look."""
    return list({(line.use, line.style): line for chart in charts for line in chart.lines}.values())


def legend_key(line: Line) -> str:
    """What stands for a line in the legend: (40 x 12)."""
    mark = "" if line.style == "single" else f'<g class="mark">{marker(line.use, 18, 6)}</g>'
    return (
        f'<g class="{line.use} {line.style}"><polyline class="line" points="0,6 36,6"/>{mark}</g>'
    )


def _x(place: float) -> float:
    return round(LEFT + 6 + place * (WIDTH - LEFT - RIGHT - 12), 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - min(value / top, 1.0) * (HEIGHT - TOP - BOTTOM), 1)


def _nice(value: float) -> float:
    """The end of an axis: the first round figure that is not below the value."""
    scale = 10.0 ** math.floor(math.log10(value))
    return next(round(end * scale, 6) for end in [*ROUND, 10] if end * scale >= value * 0.999999)


def _y_ticks(top: float) -> list[float]:
    """Round values from 0 to the end of the axis."""
    parts = ROUND[round(top / 10.0 ** math.floor(math.log10(top)), 6)]
    return [round(top * index / parts, 6) for index in range(parts + 1)]


def _uncrowded(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks whose texts do not touch those before them; the last one always."""
    kept: list[tuple[float, str]] = []
    for tick in sorted(ticks):
        while kept and _touch(kept[-1], tick):
            if tick[0] < max(ticks)[0]:
                break
            kept.pop()
        else:
            kept.append(tick)
    return kept


def _touch(one: tuple[float, str], other: tuple[float, str]) -> bool:
    return _x(other[0]) - _x(one[0]) < (len(one[1]) + len(other[1])) / 2 * CHARACTER + 4


# ---- files


def save_plots(results: Results, folder: str | Path) -> list[Path]:
    """Writes an SVG file for each axis that has curves, such as `video-missing.svg`, and
    `trust.svg`.

    Args:
        results: content of results.json.
        folder: made where it is not there.

    Returns:
        The files, in the order in which they were written; none for a suite without curves.
    """
    folder = Path(folder)
    sheets = {
        axis.replace(" ", "-"): (f"Word error rate: {axis}", charts)
        for axis, charts in curve_charts(results).items()
    }
    if trust := trust_chart(results):
        sheets["trust"] = ("What the words were taken from", [trust])
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (title, charts) in sheets.items():
        paths.append(folder / f"{name}.svg")
        write_file(paths[-1], [sheet(title, charts).encode()])
    return paths


def sheet(title: str, charts: Sequence[Chart]) -> str:
    """Charts side by side, at most three in a line, with a legend, as the content of an SVG
    file."""
    columns = min(3, len(charts))
    lines = legend_lines(charts)
    width = columns * WIDTH
    legend, x, y = [f'<text class="title" x="4" y="18">{escape(title)}</text>'], 8.0, 32
    for line in lines:
        advance = 44 + len(line.name) * CHARACTER + 18
        if x > 8 and x + advance > width:
            x, y = 8.0, y + 20
        name = f'<text x="44" y="10">{escape(line.name)}</text>'
        legend.append(f'<g transform="translate({x:g} {y})">{legend_key(line)}{name}</g>')
        x += advance
    begin = y + LEGEND_HEIGHT - 6
    height = begin + math.ceil(len(charts) / columns) * HEIGHT
    fields = [
        f'<g transform="translate({index % columns * WIDTH} '
        f'{begin + index // columns * HEIGHT})">{_field(chart)}</g>'
        for index, chart in enumerate(charts)
    ]
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" fill="var(--paper)"/>\n'
        + "\n".join([*legend, *fields])
        + "\n</svg>\n"
    )
    return re.sub(r"var\(--(\w+)\)", lambda name: LIGHT[name[1]], text)
