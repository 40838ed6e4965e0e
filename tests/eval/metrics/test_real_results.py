"""Results as `evaluate` makes them, through every report; and the made-up ones of the other tests
look like them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from real_run import CLIPS, RealRun

from avsr.eval.metrics.compare import compare_runs
from avsr.eval.metrics.results import read_results, to_dict
from avsr.eval.report.comparison import to_markdown
from avsr.eval.report.files import save_comparison, save_report
from avsr.eval.run.evaluate import evaluate
from avsr.eval.run.requirements import parse, violations


def test_what_is_written_is_what_is_returned(real_run: RealRun) -> None:
    assert json.loads((real_run.folder / "results.json").read_text()) == to_dict(real_run.results)
    assert read_results(real_run.folder) == real_run.results
    lines = [
        json.loads(line) for line in (real_run.folder / "hypotheses.jsonl").read_text().splitlines()
    ]
    scored = real_run.results.available
    assert len(lines) == CLIPS * len(scored)
    assert {line["row"] for line in lines} == {row.key for row in scored}


def test_markdown_has_a_line_for_every_row_and_check(real_run: RealRun) -> None:
    text = (real_run.folder / "report.md").read_text()
    table = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    for row in real_run.results.rows:
        assert any(cell.startswith(row.label) for cell in table), row.label
    for name, found in real_run.results.predicates.items():
        assert found.checks
        assert f"**{name} " in text
    assert "recorded 0 dB: recorded noise needs a folder" in text
    assert "nan" not in text.lower().split()


class Texts(HTMLParser):
    """The texts of a page; elements must be closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "link", "img", "input", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_shows_every_row_every_check_and_the_worst_clips(real_run: RealRun) -> None:
    page = (real_run.folder / "report.html").read_text()
    found = Texts(page)
    assert found.open == []
    texts = " ".join(found.texts)
    assert all(row.label in texts for row in real_run.results.rows)
    checks = [check for one in real_run.results.predicates.values() for check in one.checks]
    for verdict in {check.verdict for check in checks}:
        assert f'class="cell {verdict}"' in page or verdict == "pass"
    wrong = [row for row in real_run.results.rows if row.modality == "av" and row.substitutions]
    assert bool(wrong) == ('<article class="example">' in page)
    assert wrong  # a made-up voice is not what the model knows, so that there is something to show


def test_plots_hold_every_curve(real_run: RealRun, tmp_path: Path) -> None:
    paths = [path for path in save_report(real_run.results, tmp_path) if path.suffix == ".svg"]
    axes = {curve.axis.replace(" ", "-") for curve in real_run.results.curves}
    assert {path.stem for path in paths} - {"trust"} == axes
    assert {"noise", "video-missing", "audio-missing", "video-corrupted"} <= axes
    for path in paths:
        ElementTree.parse(path)


def test_it_compares_with_another_decoding(real_run: RealRun, tmp_path: Path) -> None:
    evaluate(
        "default?grammar=grid",
        real_run.corpus,
        "clean",
        seeds=[17, 29],
        out=tmp_path / "b",
        device="cpu",
    )
    found = compare_runs(real_run.folder, tmp_path / "b")
    assert [row.label for row in found.rows] == ["clean"] * 3
    rates = {row.key: row.wer for row in real_run.results.rows}
    assert all(row.wer_a == rates[row.key] for row in found.rows)
    assert "grammar grid (B)" in to_markdown(found)
    assert {path.name for path in save_comparison(found, tmp_path / "out")} == {
        "compare.json",
        "compare.md",
        "compare.svg",
    }
    itself = compare_runs(real_run.folder, real_run.folder)
    assert {row.better for row in itself.rows} == {None}


def test_three_clips_show_nothing_and_the_gate_says_so(real_run: RealRun) -> None:
    for line in violations(parse("R_V,R_A"), real_run.results):
        assert re.search("undecided, which is no pass|rows fail|could not be checked", line)
    for found in real_run.results.predicates.values():
        assert all(check.low < check.high for check in found.checks)
