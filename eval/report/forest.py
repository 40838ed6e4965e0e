"""A comparison as a forest plot: one line per row with the difference, its interval and whether it
is real; SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from avsr.eval.metrics.compare import several_seeds
from avsr.eval.report.markdown import MODALITIES, percent, recogniser_name

LINE = 20  # px from one row to the next
FIELD = 420  # px, width of the part with the intervals
CHARACTER = 6.4  # px, width of a letter on average
TOP, BOTTOM, MARGIN = 64, 40, 12
STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1b1f24}"
    ".soft{fill:#59636e}.axis{font-weight:600}.grid{stroke:#dfe3e8}.zero{stroke:#59636e;stroke-width:1.5}"
    # Blue and vermilion are told apart by every kind of colour vision; the side of the line says
    # the same.
    ".a{color:#b54708}.b{color:#0b63a5}.none{color:#59636e}"
    ".bar{stroke:currentColor;stroke-width:2}.mark{fill:#fff;stroke:currentColor;stroke-width:2}"
    ".firm .mark{fill:currentColor}"
)


def draw(comparison: Mapping[str, Any]) -> str:
    """The picture.

    Args:
        comparison: from `compare.compare_runs`, with one rated row at least.

    Returns:
        Content of an SVG file.
    """
    rows = [row for row in comparison["rows"] if row["p"] is not None]
    seeds = several_seeds(rows)
    names = [_name(row, seeds) for row in rows]
    left = MARGIN + math.ceil(max(map(len, names)) * CHARACTER) + 14
    ticks = _ticks(rows)
    span = ticks[-1] - ticks[0]

    def x(points: float) -> str:
        return f"{left + (points - ticks[0]) / span * FIELD:.1f}"

    bottom, width = TOP + len(rows) * LINE, left + FIELD + 2 * MARGIN
    parts = [*_head(comparison, float(x(0))), *_axis(ticks, x, bottom, width)]
    previous = None
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = TOP + number * LINE + LINE // 2
        if previous not in (None, row["axis"]):  # a rule between two axes
            edge = y - LINE // 2
            parts.append(
                f'<line class="grid" x1="{MARGIN}" x2="{width - MARGIN}" y1="{edge}" y2="{edge}"/>'
            )
        previous = row["axis"]
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(_interval(row, name, x, y))
    height = bottom + BOTTOM
    a, b = (recogniser_name(comparison[side]) for side in "ab")
    title = escape(f"{b} minus {a}: difference of WER in points")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 '
        f'{width} {height}" '
        f'role="img" aria-label="{title}">\n<style>{STYLE}</style>\n<rect width="100%" '
        'height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _name(row: Mapping[str, Any], seeds: bool) -> str:
    seed = f", seed {row['seed']}" if seeds else ""
    return f"{row['label']}, {MODALITIES[row['modality']]}{seed}"


def _head(comparison: Mapping[str, Any], zero: float) -> list[str]:
    """Who is compared, and what the marks mean."""
    a, b = (escape(recogniser_name(comparison[side])) for side in "ab")
    return [
        f'<text class="axis" x="{MARGIN}" y="20">A: {a}, B: {b}</text>',
        f'<text class="soft" x="{MARGIN}" y="37">bar: 95 % interval; coloured: real by itself; '
        "filled: real after Holm"
        "</text>",
        f'<text class="soft" x="{zero - 8:.1f}" y="56" text-anchor="end">&#8592; B better</text>',
        f'<text class="soft" x="{zero + 8:.1f}" y="56">A better &#8594;</text>',
    ]


def _axis(ticks: Sequence[float], x: Any, bottom: int, width: int) -> list[str]:
    parts = []
    for tick in ticks:
        kind, text = ("grid", f"{tick:+g}") if tick else ("zero", "0")
        parts.append(
            f'<line class="{kind}" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP}" y2="{bottom}"/>'
        )
        parts.append(
            f'<text class="soft" x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
        )
    unit = "WER of B - WER of A, points"
    parts.append(
        f'<text class="soft" x="{width - MARGIN}" y="{bottom + 32}" text-anchor="end">{unit}</text>'
    )
    return parts


def _interval(row: Mapping[str, Any], name: str, x: Any, y: int) -> str:
    """One row's bar and mark, with its figures for who points at it."""
    look = f"{row['better'] or 'none'}{' firm' if row['real_after_holm'] else ''}"
    told = escape(
        f"{name}: {percent(row['difference'], row['low'], row['high'], sign=True)} points"
    )
    low, value, high = (x(100 * row[part]) for part in ("low", "difference", "high"))
    return (
        f'<g class="{look}"><title>{told}</title><line class="bar" x1="{low}" x2="{high}" y1="{y}" '
        f'y2="{y}"/>'
        f'<circle class="mark" cx="{value}" cy="{y}" r="4"/></g>'
    )


def _ticks(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Round figures in points from below the least to above the greatest end of an interval; zero
    is one of them."""
    least = 100 * min(0.0, *(row["low"] for row in rows))
    greatest = 100 * max(0.0, *(row["high"] for row in rows))
    rough = max(greatest - least, 1.0) / 7
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(least / step), math.ceil(greatest / step)
    return [round(step * place, 6) for place in range(min(first, -1), max(last, 1) + 1)]
