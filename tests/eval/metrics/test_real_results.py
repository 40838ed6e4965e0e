"""Results as `evaluate` makes them, through every report; and the made-up ones of the other tests
look like them."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from numbers import Number
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))  # test modules are not a package
from conftest import CLIPS, RealRun
from sample_results import full_results

from avsr.eval.metrics.compare import compare_runs, save, to_markdown
from avsr.eval.report.markdown import outcome
from avsr.eval.report.plots import save_plots
from avsr.eval.run.evaluate import evaluate
from avsr.eval.run.requirements import parse, violations


def test_what_is_written_is_what_is_returned(real_run: RealRun) -> None:
    assert json.loads((real_run.folder / "results.json").read_text()) == real_run.results
    lines = [
        json.loads(line) for line in (real_run.folder / "hypotheses.jsonl").read_text().splitlines()
    ]
    scored = [row for row in real_run.results["rows"] if "not_available" not in row]
    assert len(lines) == CLIPS * len(scored)
    assert {line["row"] for line in lines} == {row["key"] for row in scored}


def test_markdown_has_a_line_for_every_row_and_check(real_run: RealRun) -> None:
    text = (real_run.folder / "report.md").read_text()
    table = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    for row in real_run.results["rows"]:
        assert any(cell.startswith(row["label"]) for cell in table), row["label"]
    for name, found in real_run.results["predicates"].items():
        assert found["checks"]
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
    assert all(row["label"] in texts for row in real_run.results["rows"])
    checks = [check for one in real_run.results["predicates"].values() for check in one["checks"]]
    for verdict in {outcome(check) for check in checks}:
        assert f'class="cell {verdict}"' in page or verdict == "pass"
    wrong = [
        row
        for row in real_run.results["rows"]
        if row["modality"] == "av" and row.get("substitutions")
    ]
    assert bool(wrong) == ('<article class="example">' in page)
    assert wrong  # a made-up voice is not what the model knows, so that there is something to show


def test_plots_hold_every_curve(real_run: RealRun, tmp_path: Path) -> None:
    paths = save_plots(real_run.results, tmp_path)
    axes = {curve["axis"].replace(" ", "-") for curve in real_run.results["curves"]}
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
    assert [row["label"] for row in found["rows"]] == ["clean"] * 3
    rates = {row["key"]: row["wer"] for row in real_run.results["rows"]}
    assert all(row["wer_a"] == rates[row["key"]] for row in found["rows"])
    assert "grammar grid (B)" in to_markdown(found)
    assert {path.name for path in save(found, tmp_path / "out")} == {
        "compare.json",
        "compare.md",
        "compare.svg",
    }
    itself = compare_runs(real_run.folder, real_run.folder)
    assert {row["better"] for row in itself["rows"]} == {None}


def test_three_clips_show_nothing_and_the_gate_says_so(real_run: RealRun) -> None:
    for line in violations(parse("R_V,R_A"), real_run.results):
        assert re.search("undecided, which is no pass|rows fail|could not be checked", line)
    for found in real_run.results["predicates"].values():
        assert all(check["low"] < check["high"] for check in found["checks"])


# ---------------------------------------------------------------------------------- made-up results


def unlike(made_up: Any, real: Any, where: str = "") -> list[str]:
    """Where made-up results have a key that real ones lack, or another type; lists by their first
    elements."""
    if isinstance(made_up, dict) and isinstance(real, dict):
        missing = [f"{where}.{key}: not in real results" for key in made_up.keys() - real.keys()]
        both = made_up.keys() & real.keys()
        return missing + [
            line for key in both for line in unlike(made_up[key], real[key], f"{where}.{key}")
        ]
    if isinstance(made_up, list) and isinstance(real, list):
        return unlike(made_up[0], real[0], f"{where}[0]") if made_up and real else []
    same = type(made_up) is type(real) or None in (made_up, real)
    numbers = all(isinstance(one, Number) and not isinstance(one, bool) for one in (made_up, real))
    return (
        []
        if same or numbers
        else [f"{where}: {type(made_up).__name__} and not {type(real).__name__}"]
    )


def test_made_up_results_have_no_key_or_type_that_real_ones_lack(real_run: RealRun) -> None:
    made_up, real = full_results(), real_run.results
    assert unlike({**made_up, "rows": []}, {**real, "rows": []}) == []


def test_made_up_rows_have_no_key_or_type_that_real_ones_lack(real_run: RealRun) -> None:
    """Each against a real row of its axis; a level may be of any kind where conditions are
    crossed."""
    there = {row["axis"]: row for row in real_run.results["rows"] if "not_available" not in row}
    made_up = [row for row in full_results()["rows"] if "not_available" not in row]
    assert {row["axis"] for row in made_up} <= there.keys()
    for row in made_up:
        real = there[row["axis"]]
        assert unlike({**row, "level": None}, {**real, "level": None}) == []
