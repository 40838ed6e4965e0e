"""Reports as files, with the extra `report` and without it, and the command that draws them
again."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
from sample_results import full_results

from avsr import cli
from avsr.base.inputs import install
from avsr.eval.metrics.results import to_json
from avsr.eval.report import files
from avsr.eval.report.files import save_report
from avsr.eval.report.markdown import to_markdown

PLOTS = {"audio-missing.svg", "noise.svg", "trust.svg", "video-corrupted.svg", "video-missing.svg"}


FULL = full_results(seeds=(17,))
ONE_OF_AN_AXIS = tuple({curve.axis: curve for curve in FULL.curves}.values())
RESULTS = FULL.model_copy(update={"curves": ONE_OF_AN_AXIS})  # drawn in no time


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.json").write_text(to_json(RESULTS))
    return folder


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    drawing = ("svg", "plots", "forest", "page")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in drawing:
        monkeypatch.delitem(sys.modules, f"avsr.eval.report.{name}", raising=False)


def test_the_command_draws_a_report_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["report", str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out == to_markdown(RESULTS)
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", *PLOTS}
    assert cli.main(["report", str(run / "results.json"), "--out", str(out)]) == 0  # its own
    assert cli.main(["report", str(run)]) == 0
    assert {path.name for path in run.iterdir()} == {"results.json"}


def test_the_command_replaces_nothing_of_others(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report.md").write_text("corrected by hand")
    assert cli.main(["report", str(run), "--out", str(run)]) == 2
    assert "report.md is there already" in capsys.readouterr().err
    assert cli.main(["report", str(run), "--out", str(run), "--overwrite"]) == 0
    assert cli.main(["report", str(run / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("without_matplotlib")
def test_without_the_extra_the_rest_is_written_and_one_line_says_how_to_get_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        (path,) = save_report(RESULTS, tmp_path)
    assert path.name == "report.md"
    (record,) = caplog.records
    assert record.getMessage().startswith("report.html and plots: not written, because matplotlib")
    assert install("matplotlib") in record.getMessage()


def test_nothing_but_drawing_imports_what_the_extra_brings() -> None:
    folder = Path(files.__file__).resolve().parents[1]
    found = set()
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^\s*(?:import|from) (?:{'|'.join(files.EXTRA)})\b", text, re.M):
            found.add(path.relative_to(folder).as_posix())
    drawing = ("forest", "plots", "svg")
    assert found == {f"report/drawing/{name}.py" for name in drawing}
