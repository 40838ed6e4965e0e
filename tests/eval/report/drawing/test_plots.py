"""Plots: what is drawn is what the results say, in files that any viewer of SVG shows."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from sample_results import NOISES, PATTERNS, full_results, small_results

from avsr.eval.metrics.text import percent
from avsr.eval.report.drawing.charts import Chart, curve_charts, trust_chart
from avsr.eval.report.drawing.plots import chart_element, plots
from avsr.eval.report.drawing.svg import COLOURS, NAMESPACE

SVG = f"{{{NAMESPACE}}}"


def draw(chart: Chart) -> ElementTree.Element:
    """The chart's element as XML; a page need not declare the namespace of links, a file must."""
    text = chart_element(chart, "p")
    declared = f'<svg xmlns="{NAMESPACE}" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return ElementTree.fromstring(text.replace("<svg", declared, 1))


def test_a_file_for_each_axis_in_fixed_colours():
    files = plots(full_results())
    names = ["video-missing", "audio-missing", "noise", "video-corrupted", "trust"]
    assert list(files) == [f"{name}.svg" for name in names]
    for name, text in files.items():
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert "var(" not in text  # viewers other than browsers know no CSS variables
        assert COLOURS["av"] in text
        assert not re.search(r"href=\"[^#]|url\((?!#)|@import|<script|<image", text)
        assert "word error rate" in "".join(root.itertext()).lower() or name == "trust.svg"


def test_the_same_results_give_the_same_files():
    few = full_results(curves=full_results().curves[:3])
    assert plots(few) == plots(few)


def test_a_suite_without_curves_gives_no_file():
    assert plots(small_results()) == {}
    assert trust_chart(small_results()) is None


def test_each_axis_has_a_chart_of_each_condition_on_one_scale():
    charts = curve_charts(full_results())
    assert [chart.title for chart in charts["video missing"]] == list(PATTERNS)
    # which the corpus cannot give
    assert {chart.title for chart in charts["noise"]} == set(NOISES) - {"talker"}
    for found in charts.values():
        assert len({chart.highest for chart in found}) == 1
        assert all(
            point.high <= chart.highest
            for chart in found
            for line in chart.lines
            for point in line.points
        )


def test_every_figure_of_a_curve_is_drawn_with_its_interval():
    results = full_results()
    curve = next(one for one in results.curves if (one.axis, one.modality) == ("noise", "audio"))
    svg = draw(curve_charts(results)["noise"][0])
    told = [title.text for title in svg.iter(f"{SVG}title")]
    for rate, low, high in zip(curve.wer, curve.wer_low, curve.wer_high, strict=True):
        assert any(f"WER {percent(rate, low, high)} %" in text for text in told)
        assert f"WER {percent(rate, low, high)} %" in svg.get("aria-label")
    assert len(told) == 2 * len(curve.levels)  # audio + video and audio only
    bands = [use for use in svg.iter(f"{SVG}use") if "fill-opacity" in use.get("style", "")]
    assert len(bands) == 2


def test_clean_stands_apart_from_the_noisy_levels():
    chart = curve_charts(full_results())["noise"][0]
    line = chart.lines[0]
    assert line.apart
    assert line.points[-1].x > line.points[-2].x + 2.5
    assert chart.scale == (-10.0, 10.0)
    assert chart.names == ((line.points[-1].x, "clean"),)
    texts = [text.text for text in draw(chart).iter(f"{SVG}text")]
    assert {"-10", "10", "clean", "SNR dB"} <= set(texts)


def test_one_modality_alone_is_the_line_not_to_cross():
    lines = {line.name: line for line in curve_charts(full_results())["audio missing"][0].lines}
    assert lines["video only, clean"].points[0].y == pytest.approx(12.5)
    assert "audio + video, absence unindicated" in lines


def test_modalities_differ_without_colour():
    svg = draw(curve_charts(full_results())["noise"][0])
    marks = []
    for group in svg.iter(f"{SVG}g"):
        if re.fullmatch(r"p-chart-line\d", group.get("id", "")):
            marks.append(next(group.iter(f"{SVG}path")).get("d"))
    assert len(set(marks)) == len(marks) == 2


def test_in_a_page_colours_are_those_of_its_style_sheet():
    text = chart_element(curve_charts(full_results())["noise"][0], "p")
    assert "var(--av)" in text
    assert not any(colour in text for colour in COLOURS.values())
    ids = re.findall(r'id="([^"]+)"', text)
    assert all(id.startswith("p-") for id in ids)
    assert len(set(ids)) == len(ids)


def test_everything_lies_within_the_picture():
    for charts in curve_charts(full_results()).values():
        for chart in charts:
            svg = draw(chart)
            _, _, width, height = map(float, svg.attrib["viewBox"].split())
            for mark in svg.iter(f"{SVG}use"):
                assert 0 <= float(mark.attrib["x"]) <= width
                assert 0 <= float(mark.attrib["y"]) <= height


def test_figures_on_an_axis_do_not_touch():
    """Texts of one height, at seven pixels a character, are apart; the ends are always there."""
    for axis, ends in (("video missing", ("0", "100")), ("noise", ("-10", "clean"))):
        for chart in curve_charts(full_results())[axis]:
            rows: dict[str, list[tuple[float, str]]] = {}
            for text in draw(chart).iter(f"{SVG}text"):
                if "middle" in text.get("style", ""):
                    place = float(text.attrib["x"]), text.text or ""
                    rows.setdefault(text.attrib["y"], []).append(place)
            ticks = sorted(max(rows.values(), key=len))
            assert (ticks[0][1], ticks[-1][1]) == ends
            for (left, first), (right, second) in pairwise(ticks):
                assert right - left >= 7 * (len(first) + len(second)) / 2


def test_gaps_in_a_curve_and_a_rate_of_nought():
    results = full_results()
    gap = (0.0, None, 0.0)
    changes = {"levels": (0.0, 0.5, 1.0), "wer": gap, "wer_low": gap, "wer_high": gap}
    curve = results.curves[0].model_copy(update={**changes, "axis": "both missing"})
    (chart,) = curve_charts(full_results(curves=(curve,)))["both missing"]
    assert [point.y for point in chart.lines[0].points] == [0.0, 0.0]
    draw(chart)


def test_text_from_the_results_is_escaped():
    evil = {"condition": '<script>alert(1)</script> & "more" $x^2$ \\frac'}
    curves = tuple(curve.model_copy(update=evil) for curve in full_results().curves)
    for name, content in plots(full_results(curves=curves)).items():
        assert "<script" not in content
        texts = [text.text for text in ElementTree.fromstring(content).iter(f"{SVG}text")]
        assert evil["condition"] in texts or name == "trust.svg"
