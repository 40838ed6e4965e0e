"""Plots: what is drawn is what the results say, in files that any viewer of SVG shows."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # test modules are not a package
from sample_results import NOISES, PATTERNS, full_results, small_results

from avsr.eval.report.markdown import percent
from avsr.eval.report.plots import HEIGHT, LIGHT, WIDTH, curve_charts, draw, save_plots, trust_chart

SVG = "{http://www.w3.org/2000/svg}"


def test_a_file_for_each_axis_in_fixed_colours(tmp_path):
    paths = save_plots(full_results(), tmp_path / "new" / "plots")
    names = ["video-missing", "audio-missing", "noise", "video-corrupted", "trust"]
    assert [path.name for path in paths] == [f"{name}.svg" for name in names]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert "var(" not in text  # viewers other than browsers know no CSS variables
        assert LIGHT["av"] in text
        assert not re.search(r"href|url\(|@import|<script", text)


def test_the_same_results_give_the_same_files(tmp_path):
    first, second = (save_plots(full_results(), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_suite_without_curves_gives_no_file(tmp_path):
    assert save_plots(small_results(), tmp_path) == []
    assert trust_chart(small_results()) is None


def test_each_axis_has_a_chart_of_each_condition_on_one_scale():
    charts = curve_charts(full_results())
    assert [chart.title for chart in charts["video missing"]] == list(PATTERNS)
    # which the corpus cannot give
    assert {chart.title for chart in charts["noise"]} == set(NOISES) - {"talker"}
    for found in charts.values():
        assert len({chart.top for chart in found}) == 1
        assert all(
            point.high <= chart.top
            for chart in found
            for line in chart.lines
            for point in line.points
        )


def test_every_figure_of_a_curve_is_drawn_with_its_interval():
    results = full_results()
    curve = next(
        one for one in results["curves"] if one["axis"] == "noise" and one["modality"] == "audio"
    )
    svg = draw(curve_charts(results)["noise"][0])
    for rate, low, high in zip(curve["wer"], curve["wer_low"], curve["wer_high"], strict=True):
        assert f"WER {percent(rate, low, high)} %" in svg
    assert svg.count('class="band"') == 2  # audio + video and audio only
    assert "clean" in svg


def test_clean_stands_apart_from_the_noisy_levels():
    line = curve_charts(full_results())["noise"][0].lines[0]
    assert line.apart
    assert line.points[-1].x == 1.0
    svg = draw(curve_charts(full_results())["noise"][0])
    joined = re.findall(r'class="line" points="([^"]+)"', svg)
    assert [len(points.split()) for points in joined] == [9, 9]


def test_one_modality_alone_is_the_line_not_to_cross():
    lines = {line.name: line for line in curve_charts(full_results())["audio missing"][0].lines}
    assert lines["video only, clean"].points[0].y == pytest.approx(12.5)
    assert "audio + video, absence not signalled" in lines


def test_modalities_differ_without_colour():
    svg = draw(curve_charts(full_results())["noise"][0])
    marks = {use: re.search(rf'class="{use} ".*?</title><(\w+)', svg)[1] for use in ("av", "audio")}
    assert marks == {"av": "circle", "audio": "rect"}


def test_everything_lies_within_the_picture():
    for charts in curve_charts(full_results()).values():
        for chart in charts:
            root = ElementTree.fromstring(draw(chart))
            for shape in [*root.iter("polyline"), *root.iter("polygon")]:
                for place in shape.attrib["points"].split():
                    x, y = map(float, place.split(","))
                    assert 0 <= x <= WIDTH
                    assert 0 <= y <= HEIGHT


def test_figures_on_an_axis_do_not_touch():
    """Whatever their places: texts of one height, at seven pixels a character, are apart; the ends
    are always there."""
    for axis, ends in (("video missing", ("0", "100")), ("noise", ("-10", "clean"))):
        for chart in curve_charts(full_results())[axis]:
            rows: dict[str, list[tuple[float, str]]] = {}
            for x, y, text in re.findall(
                r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="middle">([^<]*)<', draw(chart)
            ):
                rows.setdefault(y, []).append((float(x), text))
            ticks = max(rows.values(), key=len)
            assert (ticks[0][1], ticks[-1][1]) == ends
            for (left, first), (right, second) in pairwise(ticks):
                assert right - left >= 7 * (len(first) + len(second)) / 2


def test_gaps_in_a_curve_and_a_rate_of_nought():
    results = full_results()
    curve = {**results["curves"][0], "levels": [0.0, 0.5, 1.0], "wer": [0.0, None, 0.0]}
    curve |= {"wer_low": [0.0, None, 0.0], "wer_high": [0.0, None, 0.0], "axis": "both missing"}
    (chart,) = curve_charts({**results, "curves": [curve]})["both missing"]
    assert [point.y for point in chart.lines[0].points] == [0.0, 0.0]
    ElementTree.fromstring(draw(chart))


def test_text_from_the_results_is_escaped(tmp_path):
    results = full_results()
    for curve in results["curves"]:
        curve["condition"] = '<script>alert(1)</script> & "more"'
    for path in save_plots(results, tmp_path):
        assert "<script" not in path.read_text(encoding="utf-8")
        ElementTree.parse(path)
