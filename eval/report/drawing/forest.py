"""A comparison as a forest plot: one line for each test condition with the difference, its interval
and whether it is real."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avsr.eval.metrics.compare import ComparedRow, Comparison
from avsr.eval.metrics.text import percent
from avsr.eval.report.drawing import svg
from avsr.eval.report.drawing.svg import COLOURS
from avsr.eval.report.words import MODALITIES

LINE = 20  # px from one condition to the next
FIELD = 420  # px, width of the part with the intervals
CHARACTER = 6.9  # px, width of a letter on average
TOP, BOTTOM, MARGIN = 70, 48, 12
# Blue and vermilion are told apart by every kind of colour vision; the side of the line says the
# same.
SIDES = {"a": COLOURS["audio"], "b": COLOURS["av"], None: COLOURS["soft"]}


def draw(comparison: Comparison) -> str:
    """The picture.

    Args:
        comparison: with one rated line at least.

    Returns:
        Content of an SVG file.
    """
    rows = comparison.rated
    names = [_name(row, comparison.several_seeds) for row in rows]
    left = MARGIN + max(map(len, names)) * CHARACTER + 14
    head = f"A: {comparison.a.title}, B: {comparison.b.title}"
    width = max(left + FIELD, len(head) * CHARACTER) + 2 * MARGIN
    height = TOP + len(rows) * LINE + BOTTOM
    with svg.style():
        figure = svg.figure(width, height)
        field = left / width, BOTTOM / height, FIELD / width, len(rows) * LINE / height
        axes = figure.add_axes(field)
        _set_up(axes, rows, names)
        told = {}
        for place, row in enumerate(rows):
            id = f"row{place}-{row.better or 'none'}{'-firm' if row.real_after_holm else ''}"
            _draw_row(axes, row, place, id)
            points = percent(row.difference, row.low, row.high, sign=True)
            told[id] = [f"{names[place]}: {points} points"]
        note = "bar: 95 % interval; coloured: real by itself; filled: real after Holm"
        figure.text(MARGIN / width, 1 - 20 / height, head, weight="bold", color=COLOURS["ink"])
        figure.text(MARGIN / width, 1 - 38 / height, note, color=COLOURS["soft"])
        title = f"{comparison.b.title} minus {comparison.a.title}: difference of WER in points"
        return svg.file_content(figure, title, told)


def _name(row: ComparedRow, several_seeds: bool) -> str:
    seed = f", seed {row.seed}" if several_seeds else ""
    return f"{row.label}, {MODALITIES[row.modality]}{seed}"


def _set_up(axes: Axes, rows: Sequence[ComparedRow], names: Sequence[str]) -> None:
    """Axes, names, and which side is whose."""
    lows = [100 * (row.low or 0.0) for row in rows]
    highs = [100 * (row.high or 0.0) for row in rows]
    ticks = MaxNLocator(8, steps=(1, 2, 5, 10)).tick_values(min(-1.0, *lows), max(1.0, *highs))
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0, pad=10, labelcolor=COLOURS["ink"])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("WER of B - WER of A, points", loc="right")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.axvline(0, color=COLOURS["soft"], linewidth=1.5)
    for place, (above, below) in enumerate(pairwise(rows)):
        if above.axis != below.axis:
            axes.axhline(place + 0.5, color=COLOURS["grid"], linewidth=1)
    for text, place, side in (("← B better", -8, "right"), ("A better →", 8, "left")):
        axes.annotate(
            text,
            (0, 1),
            (place, 8),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            color=COLOURS["soft"],
        )


def _draw_row(axes: Axes, row: ComparedRow, place: int, id: str) -> None:
    """Interval and difference; the mark is filled where it stands after Holm's adjustment."""
    colour = SIDES[row.better]
    low, value, high = (100 * (end or 0.0) for end in (row.low, row.difference, row.high))
    axes.plot([low, high], [place, place], color=colour, linewidth=2, zorder=2)
    filled = colour if row.real_after_holm else COLOURS["paper"]
    axes.plot(
        [value],
        [place],
        marker="o",
        markersize=8,
        markeredgewidth=2,
        markeredgecolor=colour,
        markerfacecolor=filled,
        clip_on=False,
        gid=id,
        zorder=3,
    )
