"""Texts from a recogniser: what is sure is kept, what was known stays, and both are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avsr import cli
from avsr.decoding.words import Hypothesis, Word
from avsr.model.config import ModelConfig
from avsr.preprocessing import reader
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.recognisers import registry
from avsr.recognisers.base import Recogniser
from avsr.training.data.spelling import speller
from avsr.training.tools.pseudolabels import BY, relabel


class Namer(Recogniser):
    """Hears the first half of a clip's id, and is as sure as the number behind it says."""

    name, sha256 = "namer", "0123"

    def recognise(self, clips, modality):
        found = []
        for clip in clips:
            word, _, sure = clip.id.rpartition("-")
            found.append(Hypothesis(word, [Word(word, 0.0, 0.2, int(sure) / 100, 0.5)], 0.0))
        return found


def make(id: str, text: str | None = None, **_: object) -> Clip:
    there = np.ones(10, np.bool_)
    return Clip(
        id, np.zeros(6400, np.float32), np.zeros((10, 96, 96), np.uint8), there, there, text=text
    )


def test_shards_say_who_gave_their_texts(tmp_path):
    with ShardWriter(tmp_path / "src") as writer:
        writer.add(make("blue-95"), {"split": "train", "source": "a.mp4"})
        writer.add(make("red-40"), {"split": "train", "source": "b.mp4"})
        writer.add(make("green-99", "green"), {"split": "train", "source": "c.mp4"})
        writer.add(replace(make("white-97"), text="wide"), {"split": "train", "source": "d.mp4"})
        writer.add(make("bin-10", "set"), {"split": "train", "source": "e.mp4"})
    summary = relabel(ShardIndex(tmp_path / "src"), tmp_path / "dst", Namer(), 0.9)
    assert str(summary).startswith(
        "namer is sure of 1 of 2 clips without text (50%); of 3 with a known text it would keep 2, "
        "at 50.0% word errors ["
    )
    lines = summary.comparison()
    assert lines[-1].startswith(
        "--min-confidence 0.95: 1 of 2 (50%); of 3 with a known text 2, at 50.0% word errors ["
    )
    index = ShardIndex(tmp_path / "dst")
    texts = {entry.id: entry.text for entry in index.entries}
    assert texts == {"blue-95": "blue", "green-99": "green", "white-97": "wide", "bin-10": "set"}
    metas = [index.meta(i) for i in range(len(index))]
    assert [meta.get(BY) for meta in metas] == ["namer", None, None, None]
    assert metas[0]["confidence"] == 0.95
    assert metas[0]["source"] == "a.mp4"
    assert metas[0]["words"] == [["blue", 0.0, 0.2]]
    assert index.info["skipped"] == [
        {"source": "red-40", "reason": "namer is not sure of its text (0.40)"}
    ]
    assert index.info[BY]["sha256"] == "0123"


def test_a_folder_without_texts(tmp_path, monkeypatch, capsys):
    for name in ("blue-95.mp4", "red-40.mp4", "green-99.mp4"):
        (tmp_path / "src" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "src" / name).touch()
    (tmp_path / "src" / "green-99.txt").write_text("green")
    monkeypatch.setattr(reader, "load_clip", lambda path, **about: make(about["id"], about["text"]))
    monkeypatch.setattr(registry, "load", lambda name: Namer())
    dst = tmp_path / "dst"
    command = ["prepare", "folder", str(tmp_path / "src"), str(dst), "--workers", "0"]
    assert cli.main([*command, "--label-with", "namer"]) == 0
    out = capsys.readouterr().out
    assert "namer is sure of 1 of 2 clips without text (50%)" in out
    assert "--min-confidence 0.5: 1 of 2 (50%); of 1 with a known text 1, at 0.0%" in out
    assert sorted(entry.text for entry in ShardIndex(dst).entries) == ["blue", "green"]
    assert cli.main([*command, "--label-with", "namer"]) == 2
    assert "holds shards already" in capsys.readouterr().err


def test_the_surest_share_is_kept_however_unsure_the_recogniser_is(tmp_path, capsys):
    with ShardWriter(tmp_path / "src") as writer:
        for id in ("blue-31", "red-12", "green-22", "white-35"):
            writer.add(make(id))
        writer.add(make("bin-99", "bin"))
    summary = relabel(ShardIndex(tmp_path / "src"), tmp_path / "dst", Namer(), 0.9, share=0.5)
    assert "of 2 of 4 clips without text (50%); of 1 with a known text it would" in str(summary)
    index = ShardIndex(tmp_path / "dst")
    assert {entry.text for entry in index.entries} == {"blue", "white", "bin"}
    assert index.load(0).words == (("blue", 0.0, 0.2),)
    command = ["prepare", "folder", str(tmp_path), str(tmp_path / "new"), "--label-with", "default"]
    assert cli.main([*command, "--keep", "0.5", "--min-confidence", "0.5"]) == 2
    assert "leave one of the two out" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_texts_are_written_as_the_model_writes_that_will_be_trained(tmp_path):
    with ShardWriter(tmp_path / "src") as writer:
        writer.add(make("F2.-95"))
        writer.add(make("F2.-96", "f two"))
    spell = speller(ModelConfig(tokens=("<blank>", *" fotw")))
    summary = relabel(ShardIndex(tmp_path / "src"), tmp_path / "dst", Namer(), 0.9, spell)
    assert "at 0.0% word errors" in str(summary)
    assert [entry.text for entry in ShardIndex(tmp_path / "dst").entries] == ["f two", "f two"]


@pytest.mark.parametrize("corpus", ["grid", "lrs3"])
def test_a_corpus_with_texts_needs_no_labels(corpus, tmp_path, capsys):
    command = ["prepare", corpus, str(tmp_path), str(tmp_path / "dst"), "--label-with", "default"]
    assert cli.main(command) == 2
    assert "--label-with is for a folder of your own" in capsys.readouterr().err


def test_a_recogniser_that_is_not_there_is_told_before_any_work(tmp_path, capsys):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "blue.mp4").touch()
    command = ["prepare", "folder", str(tmp_path / "src"), str(tmp_path / "dst")]
    assert cli.main([*command, "--label-with", "nosuch"]) == 1  # as with transcribe --model
    assert "'nosuch'" in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()
