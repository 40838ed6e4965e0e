"""Tools and folders of results: what is there of other people's stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.cli import main
from avsr.eval.run.store import FILE, HypothesisStore
from avsr.model import checkpoint
from avsr.training.train import train


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("bin blue\nbin red\n")
    return path


def test_an_ngram_model_never_replaces_its_texts_or_a_file_of_others(
    texts: Path, tmp_path: Path, capsys
):
    assert main(["ngram", str(texts), str(texts), "--overwrite"]) == 2
    assert texts.read_text() == "bin blue\nbin red\n"
    out = tmp_path / "m.arpa"
    assert main(["ngram", str(texts), str(out)]) == 0
    assert main(["ngram", str(texts), str(out)]) == 0
    out.write_text("mine")
    assert main(["ngram", str(texts), str(out)]) == 2
    assert out.read_text() == "mine"
    assert main(["ngram", str(texts), str(out), "--overwrite"]) == 0
    assert "avsr: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        lambda mine, other, data: main(["average", other, mine, mine]),
        lambda mine, other, data: main(["average", mine, other, mine]),
        lambda mine, other, data: main(["average", other, other, mine]),
        lambda mine, other, data: main(["models", "encoder", data, mine, "--init", mine]),
        lambda mine, other, data: main(["calibrate", mine, data, "--out", mine]),
        lambda mine, other, data: main(["calibrate", other, data, "--out", mine]),
        lambda mine, other, data: main(["calibrate", other, data, "--json", mine]),
        lambda mine, other, data: main(["embedding", other, data, "--out", mine]),
    ],
)
def test_tools_refuse_before_they_work(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    mine = tmp_path / "mine.safetensors"
    mine.write_text("precious")
    monkeypatch.setattr(checkpoint, "load", lambda *_: pytest.fail("worked before it refused"))
    assert call(str(mine), "default", str(tmp_path)) == 2
    assert mine.read_text() == "precious"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["report.md", "results.json", "report.html", FILE])
def test_evaluate_leaves_other_peoples_files_alone(tmp_path: Path, name: str):
    (tmp_path / name).write_text("the user's own")
    with pytest.raises(AvsrError, match="choose another folder"):
        HypothesisStore(tmp_path, {"model": "m"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "the user's own"}


def test_train_leaves_other_peoples_files_alone(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AvsrError, match="choose another --out"):
        train("grid-tiny", [tmp_path], tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}"
