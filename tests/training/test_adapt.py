"""Adapting: a small file beside a model, which stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import TEXTS, make_clip

import avsr
from avsr import cli
from avsr.base.errors import AvsrError
from avsr.decoding.words import Hypothesis, Word
from avsr.model import checkpoint
from avsr.model.adapter import attach, detach
from avsr.model.batches import compute
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.recognisers.base import Recogniser
from avsr.training.adapt import PARTS
from avsr.training.data.labels import is_sure, label
from avsr.training.data.material import collect
from avsr.training.data.spelling import speller


def network() -> AVSR:
    letters = sorted(set("".join(TEXTS)) - {" "})
    config = ModelConfig(
        tokens=("<blank>", " ", *letters),
        dim=16,
        heads=2,
        crop=32,
        video_width=4,
        audio_width=4,
        stream_layers=1,
        joint_layers=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return AVSR(config).eval()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    checkpoint.save(path, network(), {})
    return path


def said(path: Path, adapter: Path | None = None, lips: bool = True) -> torch.Tensor:
    """What a model makes of the lips of a clip, or of its sound."""
    recogniser = avsr.load_model(path, "cpu", adapter=adapter)
    clip = make_clip(1, "", audio=not lips, video=lips)
    return compute(recogniser.model, [clip], torch.device("cpu")).log_probs


def test_a_model_with_an_adapter_and_without(model, corpus, tmp_path, capsys):
    before, out = model.read_bytes(), tmp_path / "anna"
    command = ["adapt", model, corpus(), "--out", out, "--steps", "3", "--device", "cpu"]
    assert cli.main([str(word) for word in command]) == 0
    adapter = out / "adapter.safetensors"
    captured = capsys.readouterr()
    assert captured.out == f"{adapter}\n"
    assert "6 clips, 4 s" in captured.err
    assert model.read_bytes() == before
    assert not (out / "labels.tsv").exists()  # the texts were there
    assert not torch.equal(said(model), said(model, adapter))
    assert torch.equal(said(model, lips=False), said(model, adapter, lips=False))
    assert avsr.load_model(model, "cpu", adapter=adapter).name == "base for anna"
    assert avsr.load_model(f"{model}?adapter={adapter}", "cpu").sha256


def test_a_place_that_cannot_be_written_is_told_before_work(
    model, corpus, tmp_path, capsys, monkeypatch
):
    read = "avsr.training.data.material.collect"
    monkeypatch.setattr(read, lambda *_, **__: pytest.fail("reads"))
    (tmp_path / "taken").touch()
    for out in (tmp_path / "taken", tmp_path / "taken" / "below", Path("/proc/no/such")):
        command = ["adapt", model, corpus(), "--out", out]
        assert cli.main([str(word) for word in command]) == 1
        assert f"{out}: cannot be written to (" in capsys.readouterr().err


def test_an_adapter_of_another_model_is_refused(model, corpus, tmp_path):
    out = tmp_path / "anna"
    command = ["adapt", model, corpus(), "--out", out, "--steps", "1"]
    assert cli.main([str(word) for word in command]) == 0
    other = network()
    other.head.bias.data += 1
    checkpoint.save(model, other, {})
    with pytest.raises(AvsrError, match=r"made for .*base\.safetensors.* with other weights"):
        avsr.load_model(model, adapter=out / "adapter.safetensors")
    with pytest.raises(AvsrError, match="not an adapter"):
        avsr.load_model(model, adapter=model)
    with pytest.raises(AvsrError, match="no such file"):
        avsr.load_model(model, adapter=tmp_path / "none.safetensors")


def test_texts_of_others_are_written_as_the_model_writes(model, tmp_path, capsys):
    with ShardWriter(tmp_path / "src") as writer:
        writer.add(make_clip(0, "Bin A."))
        writer.add(make_clip(1, "set 2"))
    command = ["adapt", model, tmp_path / "src", "--out", tmp_path / "anna", "--steps", "1"]
    assert cli.main([str(word) for word in command]) == 0
    said = capsys.readouterr().err
    assert "1 clips cannot be used" in said
    assert "'set 2' has ['2']" in said


def test_digits_that_the_model_lacks_are_words(tmp_path):
    spell = speller(ModelConfig(tokens=("<blank>", *" fotw")))
    assert spell("F2.") == "f two"
    clip = replace(make_clip(0, "F2."), words=(("F2.", 0.1, 0.5),))
    with ShardWriter(tmp_path / "src") as writer:
        writer.add(clip)
    collect([tmp_path / "src"], tmp_path / "dst", lambda: Sure([]), 0.8, spell)
    found = ShardIndex(tmp_path / "dst").load(0)
    assert (found.text, found.words) == ("f two", (("f", 0.1, 0.3), ("two", 0.3, 0.5)))


def test_changes_begin_at_nothing_and_go_without_a_trace():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clip = make_clip(1, "")
    own = compute(model, [clip], torch.device("cpu")).log_probs
    changes = attach(model, PARTS, rank=2)
    assert torch.equal(compute(model, [clip], torch.device("cpu")).log_probs, own)
    assert not any(name.startswith("audio") for name in changes)
    detach(model, list(changes), keep=False)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


class Sure(Recogniser):
    """Says the words that it was made with; its confidence is that of each word."""

    name = "sure"

    def __init__(self, words: list[Word]) -> None:
        self.words = words

    def recognise(self, clips, modality):
        return [Hypothesis("", self.words, 0.0) for _ in clips]


def spoken(word: str, start_s: float, confidence: float = 0.9) -> Word:
    return Word(word, start_s, start_s + 0.4, confidence, 0.5)


def test_what_is_sure_is_kept():
    clip = make_clip(1, "bin a")
    (found,) = label([clip], Sure([spoken("bin", 0.0), spoken("b", 0.4, 0.5)]))
    assert not is_sure(found.confidence, 0.8)
    assert found.clip.text == "bin b"
    (found,) = label([clip], Sure([spoken("bin", 0.0), spoken("b", 0.4, 0.8)]))
    assert is_sure(found.confidence, 0.8)
    assert found.clip.words == (("bin", 0.0, 0.4), ("b", 0.4, 0.64))  # not past the clip's end
    (found,) = label([clip], Sure([]))
    assert not is_sure(found.confidence, 0.0)


def test_a_long_recording_is_cut_where_nobody_speaks():
    clip = replace(make_clip(1, "", frames=300), start_s=20.0)
    words = [spoken("bin", 21.0), spoken("a", 21.5), spoken("set", 25.0, 0.1), spoken("b", 30.0)]
    pieces = list(label([clip], Sure(words)))
    assert [piece.clip.text for piece in pieces] == ["bin a", "set", "b"]
    assert [is_sure(piece.confidence, 0.8) for piece in pieces] == [True, False, True]
    assert pieces[0].clip.start_s == pytest.approx(20.8)
    assert pieces[0].clip.words == (("bin", 0.2, 0.6), ("a", 0.7, 1.1))
    assert isinstance(pieces[0].clip, Clip)
    assert np.array_equal(pieces[0].clip.lips, clip.lips[20:52])


def test_nothing_to_adapt_to_is_one_line(model, tmp_path, capsys):
    with ShardWriter(tmp_path / "untold") as writer:
        writer.add(replace(make_clip(0, ""), text=None))
    untold = tmp_path / "untold"
    command = ["adapt", model, untold, "--out", tmp_path / "x", "--min-confidence", "1"]
    assert cli.main([str(word) for word in command]) == 1
    assert "no text was sure enough (the surest is 0." in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    command = [*command[:-2], "--keep", "1", "--steps", "1"]  # whatever it is sure of
    assert cli.main([str(word) for word in command]) == 0
    assert "1 of 1 recognised texts" in capsys.readouterr().err
