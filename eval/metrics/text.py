"""Figures and tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
    figure = _points(fraction, sign)
    if low is None or high is None:
        return figure
    return f"{figure} [{_points(low, sign)}, {_points(high, sign)}]"


def _points(fraction: float, sign: bool) -> str:
    """A fraction in percent, one decimal; what rounds to nothing is not below zero."""
    return f"{round(100 * fraction, 1) + 0.0:{'+' if sign else ''}.1f}"


@dataclass(frozen=True)
class Table:
    """Plain text in cells.

    Attributes:
        head: names of the columns.
        lines: cells of each line.
        texts: how many of the first columns are text; the others are figures.
    """

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 1

    def to_markdown(self) -> str:
        """A Markdown table whose columns are even; figures stand to the right."""
        cells = [list(map(_cell, line)) for line in [self.head, *self.lines]]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        rule = []
        for column, width in enumerate(widths):
            rule.append("-" * width if column < self.texts else "-" * (width - 1) + ":")
        lines = [self._aligned(line, widths) for line in [cells[0], rule, *cells[1:]]]
        return "\n".join(lines)

    def _aligned(self, line: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
            padded.append(cell.ljust(width) if column < self.texts else cell.rjust(width))
        return "| " + " | ".join(padded) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
