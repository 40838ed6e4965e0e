"""What is drawn, as numbers: WER curves and the trust curve; `plots.py` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avsr.eval.metrics.results import Curve, Results
from avsr.eval.metrics.text import percent
from avsr.eval.report.words import (
    MODALITIES,
    SINGLE,
    level_text,
    ordered_levels,
)

APART = 0.15  # of the x axis: how far clean stands behind the last level


@dataclass(frozen=True)
class Point:
    """One figure with its 95 % interval."""

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
        style: "", "unindicated" (the masks do not tell what is missing; dashed) or "single" (one
            modality, whatever the level; dotted).
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
        lines: drawn in this order.
        highest: that the y axis has to reach; it begins at 0.
        scale: ends of the part of the x axis that has figures; None where it has names alone.
        names: (place, text) on the x axis.
        unit: of the y axis: "%" or "".
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    highest: float
    scale: tuple[float, float] | None = None
    names: tuple[tuple[float, str], ...] = ()
    unit: str = "%"

    @property
    def told(self) -> str:
        """The chart in words, for who cannot see it."""
        lines = []
        for line in self.lines:
            lines.append(f"{line.name}: {', '.join(point.label for point in line.points)}")
        return f"{self.title}. {'; '.join(lines)}"


def looks(charts: Iterable[Chart]) -> list[Line]:
    """One line of each look, for a legend."""
    return list({(line.use, line.style): line for chart in charts for line in chart.lines}.values())


# ---- error rates


def curve_charts(results: Results) -> dict[str, list[Chart]]:
    """WER against the level: for each axis a chart of each condition, all with the same y axis.

    Where a stream is missing, the other one alone on clean clips is drawn as a dotted line: R_V and
    R_A say that the curve must not rise above it.
    """
    grouped: dict[str, dict[str, list[Curve]]] = {}
    for curve in results.curves:
        grouped.setdefault(curve.axis, {}).setdefault(curve.condition, []).append(curve)
    charts: dict[str, list[Chart]] = {}
    for axis, conditions in grouped.items():
        single = _single(results, axis)
        rates = [single[1]] if single else []
        for curves in conditions.values():
            rates += [rate for curve in curves for rate in _highs(curve)]
        highest = 100 * max([0.01, *rates])
        drawn = [_chart(name, curves, highest, single) for name, curves in conditions.items()]
        if any(chart.lines for chart in drawn):
            charts[axis] = [chart for chart in drawn if chart.lines]
    return charts


def _highs(curve: Curve) -> list[float]:
    """The upper end at each level; the rate where it has no interval."""
    ends = [
        rate if high is None else high for rate, high in zip(curve.wer, curve.wer_high, strict=True)
    ]
    return [end for end in ends if end is not None]


def _single(results: Results, axis: str) -> tuple[str, float] | None:
    """Which modality is left where the other one is missing, and its WER on clean clips."""
    use = {"video missing": SINGLE["R_V"], "audio missing": SINGLE["R_A"]}.get(axis)
    rates = [row.wer for row in results.clean if row.modality == use and row.wer is not None]
    return (use, sum(rates) / len(rates)) if use and rates else None


def _chart(
    name: str, curves: Sequence[Curve], highest: float, single: tuple[str, float] | None
) -> Chart:
    axis = curves[0].axis
    levels = ordered_levels(level for curve in curves for level in curve.levels)
    places, scale = _places(axis, levels)
    lines = [line for curve in curves if (line := _line(curve, places)).points]
    if single and not any(curve.modality == single[0] for curve in curves):
        lines.insert(0, _reference(single, places))
    names = {places[str(level)]: level_text(axis, level) for level in levels if _is_name(level)}
    if scale is None:
        names = {places[str(level)]: level_text(axis, level) for level in levels}
    return Chart(name, curves[0].x_label, tuple(lines), highest, scale, tuple(names.items()))


def _line(curve: Curve, places: Mapping[str, float]) -> Line:
    points = []
    for level, rate, low, high in zip(
        curve.levels, curve.wer, curve.wer_low, curve.wer_high, strict=True
    ):
        if rate is None:
            continue
        low, high = rate if low is None else low, rate if high is None else high
        label = f"{level_text(curve.axis, level)}: WER {percent(rate, low, high)} %"
        points.append(Point(places[str(level)], 100 * rate, 100 * low, 100 * high, label))
    told = MODALITIES[curve.modality]
    figures = any(not _is_name(level) for level in curve.levels)
    apart = figures and len(points) > 1 and curve.levels[-1] is None
    if curve.mask_indicated:
        return Line(curve.modality, told, tuple(points), "", apart)
    return Line(curve.modality, f"{told}, absence unindicated", tuple(points), "unindicated", apart)


def _reference(single: tuple[str, float], places: Mapping[str, float]) -> Line:
    """The rate of one modality on clean clips, as a line across the chart."""
    use, rate = single
    label, value = f"WER {percent(rate)} %", 100 * rate
    ends = min(places.values()), max(places.values())
    points = tuple(Point(x, value, value, value, label) for x in ends)
    return Line(use, f"{MODALITIES[use]}, clean", points, "single")


def _is_name(level: Any) -> bool:
    return not isinstance(level, (int, float))


def _places(
    axis: str, levels: Sequence[Any]
) -> tuple[dict[str, float], tuple[float, float] | None]:
    """Level as text -> place on the x axis, and the ends of the figures among them.

    Figures stand to scale, missing ones in percent; clean stands apart behind them. Where a level
    other than clean has a name, all stand evenly and there is no scale.
    """
    figures = [level for level in levels if not _is_name(level)]
    names = [level for level in levels if _is_name(level) and level is not None]
    if names or not figures:
        return {str(level): float(place) for place, level in enumerate(levels)}, None
    factor = 100.0 if axis.endswith("missing") else 1.0
    first, last = factor * figures[0], factor * figures[-1]
    places = {str(level): factor * level for level in figures}
    if None in levels:
        places["None"] = last + APART * ((last - first) or 1.0)
    return places, (first, last)


# ---- trust


def trust_chart(results: Results) -> Chart | None:
    """Mean audio weight of the words against how much of the sound was there; None where no word
    has a weight."""
    points = []
    for place in results.summary.trust_curve:
        share, weight = 100 * place.audio_present, place.audio_weight
        if place.words and weight is not None:
            label = f"{share:.0f} %: weight {weight:.2f}, {place.words} words"
            points.append(Point(share, weight, weight, weight, label))
    if not points:
        return None
    line = Line("av", MODALITIES["av"], tuple(points))
    title = "Trust: mean audio weight"
    return Chart(title, "sound present %", (line,), 1.0, (0.0, 100.0), unit="")
