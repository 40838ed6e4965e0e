"""Draws charts with matplotlib: for the page, or as files for documents.

Each line has a marker of its own shape, so that nothing hangs on colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from avsr.eval.metrics.results import Results
from avsr.eval.report.drawing import svg
from avsr.eval.report.drawing.charts import Chart, Line, curve_charts, looks, trust_chart
from avsr.eval.report.drawing.svg import COLOURS, MARKERS

WIDTH, HEIGHT = 360, 232  # of one chart, in CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 44  # margins around its field
COLUMNS = 3  # charts side by side in a file
LEGEND_LINE = 22  # pixels
STEPS = (1, 2, 2.5, 5, 10)  # of the figures on an axis, times a power of ten
DASHES = {"": "solid", "unindicated": (0, (4, 3)), "single": (0, (1, 1.5))}


def chart_element(chart: Chart, prefix: str) -> str:
    """One chart as an SVG element of the page.

    Args:
        chart: what to draw.
        prefix: of its ids.
    """
    with svg.style():
        figure = svg.figure(WIDTH, HEIGHT)
        told = _draw(figure.add_axes(_field(0, 0, WIDTH, HEIGHT)), chart, "chart")
        return svg.element(figure, chart.told, told, prefix)


def plots(results: Results) -> dict[str, str]:
    """Name of a file -> its content: an SVG for each axis that has curves, such as
    `video-missing.svg`, and `trust.svg`; none for a suite without curves."""
    found = {}
    for axis, charts in curve_charts(results).items():
        found[f"{axis.replace(' ', '-')}.svg"] = sheet(f"Word error rate: {axis}", charts)
    if trust := trust_chart(results):
        found["trust.svg"] = sheet("What the words were taken from", [trust])
    return found


def sheet(title: str, charts: Sequence[Chart]) -> str:
    """Charts side by side under a title and a legend, as the content of an SVG file."""
    columns = min(COLUMNS, len(charts))
    lines = looks(charts)
    head = 28 + LEGEND_LINE * math.ceil(len(lines) / columns) + 8
    width, height = columns * WIDTH, head + math.ceil(len(charts) / columns) * HEIGHT
    told: dict[str, Sequence[str]] = {}
    with svg.style():
        figure = svg.figure(width, height)
        figure.text(8 / width, 1 - 18 / height, title, size=14, weight="bold", color=COLOURS["ink"])
        figure.legend(
            [_key(line) for line in lines],
            [line.name for line in lines],
            ncols=columns,
            loc="upper left",
            bbox_to_anchor=(0, 1 - 24 / height),
            frameon=False,
            labelcolor=COLOURS["soft"],
            fontsize=12,
            handlelength=3,
        )
        for place, chart in enumerate(charts):
            row, column = divmod(place, columns)
            bottom = height - head - (row + 1) * HEIGHT
            axes = figure.add_axes(_field(column * WIDTH, bottom, width, height))
            told |= _draw(axes, chart, f"chart{place}")
        return svg.file_content(figure, title, told)


def _field(
    left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """Place of the field of a chart whose lower left corner is given in pixels, as shares of the
    whole figure."""
    size = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    corner = (left + LEFT) / width, (bottom + BOTTOM) / height
    return (*corner, size[0] / width, size[1] / height)


# ---- one chart


def _draw(axes: Axes, chart: Chart, name: str) -> svg.Told:
    """Axes, lines and texts of a chart.

    Returns:
        What its marks show.
    """
    axes.set_title(chart.title, x=(4 - LEFT) / (WIDTH - LEFT - RIGHT), pad=13)
    axes.set_xlabel(chart.x_label, labelpad=6)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.patch.set_visible(False)
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    _set_y(axes, chart)
    _set_x(axes, chart)
    told = {}
    for place, line in enumerate(chart.lines):
        id = f"{name}-line{place}"
        _draw_line(axes, line, id)
        if line.style != "single" and len(line.points) > 1:
            told[id] = [f"{line.name}, {point.label}" for point in line.points]
        elif line.style != "single":
            told[id] = [f"{line.name}, {line.points[0].label}"]
    return told


def _set_y(axes: Axes, chart: Chart) -> None:
    ticks = MaxNLocator(5, steps=STEPS).tick_values(0, chart.highest)
    texts = [f"{tick:g}" for tick in ticks]
    texts[-1] += f" {chart.unit}" if chart.unit else ""
    axes.set_ylim(0, ticks[-1])
    axes.set_yticks(ticks, texts)


def _set_x(axes: Axes, chart: Chart) -> None:
    ticks = dict(chart.names)
    if chart.scale is not None:
        first, last = chart.scale
        for tick in MaxNLocator(6, steps=STEPS).tick_values(first, last):
            if first <= tick <= last:
                ticks[float(tick)] = f"{tick:g}"
    places = [*ticks, *(point.x for line in chart.lines for point in line.points)]
    first, last = min(places), max(places)
    margin = 0.02 * (last - first) if chart.scale is not None else 0.5
    axes.set_xlim(first - margin, last + (margin or 0.5))
    axes.set_xticks(list(ticks), list(ticks.values()), verticalalignment="baseline")
    axes.tick_params(axis="x", pad=17)  # to the line that the texts stand on


def _draw_line(axes: Axes, line: Line, id: str) -> None:
    """A line with its band, and its marks with an id of their own."""
    colour = COLOURS[line.use]
    joined = line.points[:-1] if line.apart else line.points
    x, y = [point.x for point in joined], [point.y for point in joined]
    axes.plot(x, y, color=colour, linewidth=2, linestyle=DASHES[line.style], clip_on=False)
    if line.style == "single":
        return
    lows, highs = [point.low for point in joined], [point.high for point in joined]
    axes.fill_between(x, lows, highs, color=colour, alpha=0.16, linewidth=0)
    # Where no band shows the interval, a bar does.
    bars = line.points if len(joined) == 1 else line.points[len(joined) :]
    for point in bars:
        axes.plot([point.x] * 2, [point.low, point.high], color=colour, alpha=0.4, linewidth=2)
    marks = Line2D(
        [point.x for point in line.points],
        [point.y for point in line.points],
        **_mark(line),
        linestyle="none",
        clip_on=False,
        gid=id,
    )
    axes.add_line(marks)


def _mark(line: Line) -> dict[str, Any]:
    """How the marks of a line look: hollow where absence is unindicated."""
    colour = COLOURS[line.use]
    return {
        "marker": MARKERS[line.use] if line.style != "single" else "none",
        "markersize": 6.5,
        "markeredgewidth": 1.5,
        "markeredgecolor": colour,
        "markerfacecolor": COLOURS["paper"] if line.style == "unindicated" else colour,
    }


def _key(line: Line) -> Line2D:
    """What stands for a line in the legend."""
    look: dict[str, Any] = {
        "color": COLOURS[line.use],
        "linewidth": 2,
        "linestyle": DASHES[line.style],
    }
    return Line2D([], [], **look, **_mark(line))
