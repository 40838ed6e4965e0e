"""Files that are no such checkpoint: one line each that names it, and nothing is written."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import networks
import pytest
import torch
from checkpoints import current, float32, prefixed, saved_as_before_1_6, units

from avsr.base.errors import AvsrError
from avsr.imported import store
from avsr.imported.importing import import_checkpoint

STATE = float32(networks.auto_avsr("audio"))


def saved(path: Path, state: object) -> None:
    torch.save(state, path)


def without(name: str) -> dict:
    return {key: tensor for key, tensor in STATE.items() if key != name}


def cut_short(path: Path) -> None:
    saved(path, STATE)
    path.write_bytes(path.read_bytes()[:-100_000])


def cut_short_as_before(path: Path) -> None:
    saved_as_before_1_6(STATE, path)
    path.write_bytes(path.read_bytes()[:-100_000])


def bit_flipped(path: Path) -> None:
    saved(path, STATE)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0x40
    path.write_bytes(body)


class Attack:
    """Runs a program where it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {os.environ['AVSR_MODELS']}-was-run",)


def attack_as_before(path: Path) -> None:
    path.write_bytes(pickle.dumps({"encoder.x": Attack()}))


def archive_of(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")

    return make


def folder_without(path: Path) -> None:
    path.mkdir()


def cut_safetensors(path: Path) -> None:
    path.write_bytes((100_000).to_bytes(8, "little") + b'{"x": ')


def huge(path: Path) -> None:
    saved(path, STATE | {"ctc.ctc_lo.weight": torch.zeros(1).expand(90_000, 48)})


NAN = STATE["decoder.after_norm.bias"] * torch.nan
INT8 = torch.zeros(120, 48, dtype=torch.int8)
WITH_END = STATE | {"decoder.extra": torch.zeros(3)}
TALL = STATE | {"encoder.encoders.1.norm_ff.bias": torch.zeros(49)}
EVEN = STATE | {"encoder.encoders.0.conv_module.depthwise_conv.weight": torch.zeros(48, 1, 14)}
SCALAR = STATE | {"ctc.ctc_lo.weight": torch.tensor(1.0)}
LANGUAGE = float32(networks.language_model())

BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (lambda path: None, "No such file"),
    "empty": (lambda path: path.write_bytes(b""), "an empty file: download it again"),
    "text": (lambda path: path.write_text("hello"), "not a checkpoint"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html><html>quota"), "a web page"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.x/v1"), "Git LFS"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "an archive; unpack it"),
    "zip of the zoo": (archive_of("LRS3_V/model.pth"), "an archive with 'LRS3_V/model.pth' in it"),
    "other zip": (archive_of("word/document.xml"), "zip archive without a checkpoint"),
    "folder": (folder_without, "a folder without exactly one model.safetensors or model.pth"),
    "cut short": (cut_short, "damaged or cut short"),
    "cut short, old": (cut_short_as_before, "damaged"),
    "bit flipped": (bit_flipped, "damaged"),
    "safetensors cut short": (cut_safetensors, "damaged or cut short"),
    "runs a program": (lambda path: saved(path, {"x": Attack()}), "refused, it holds .*system"),
    "runs a program, old": (attack_as_before, "refused, it holds more than tensors"),
    "list": (lambda path: saved(path, [torch.zeros(3)]), "holds no tensors by name"),
    "numbers": (lambda path: saved(path, {"x": 3}), "'x' is int, not a tensor"),
    "odd name": (lambda path: saved(path, STATE | {"a\nb": INT8}), r"no tensor is called 'a\\nb'"),
    "nothing": (lambda path: saved(path, {}), "holds no tensors by name"),
    "other network": (lambda path: saved(path, {"fc.weight": torch.zeros(3)}), "fc.weight"),
    "language model": (lambda path: saved(path, LANGUAGE), "give it with --lm"),
    "whole numbers": (lambda path: saved(path, STATE | {"ctc.ctc_lo.weight": INT8}), "int8"),
    "sparse": (
        lambda path: saved(path, STATE | {"ctc.ctc_lo.weight": torch.eye(3).to_sparse()}),
        "ctc.ctc_lo.weight holds",
    ),
    "lacks a tensor": (
        lambda path: saved(path, without("decoder.after_norm.bias")),
        r"lacks the tensor decoder.after_norm.bias \(48,\)",
    ),
    "lacks the head": (
        lambda path: saved(path, without("ctc.ctc_lo.weight")),
        "lacks the tensor ctc.ctc_lo.weight",
    ),
    "one too many": (lambda path: saved(path, WITH_END), "no known model has, decoder.extra"),
    "wrong shape": (lambda path: saved(path, TALL), r"norm_ff.bias .*\(49,\), must have \(48,\)"),
    "even kernel": (lambda path: saved(path, EVEN), "kernel must be odd"),
    "scalar": (lambda path: saved(path, SCALAR), "ctc.ctc_lo.weight has the shape"),
    "not a number": (
        lambda path: saved(path, STATE | {"decoder.after_norm.bias": NAN}),
        "decoder.after_norm.bias holds numbers that are not finite",
    ),
    "claims too much": (huge, "its tensors would take"),
    "spelt twice": (
        lambda path: saved(path, STATE | current(STATE)),
        "twice, spelt in two ways",
    ),
    "two networks": (
        lambda path: saved(path, prefixed(STATE, "a.") | prefixed(STATE, "b.")),
        "of another kind",
    ),
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("AVSR_MODELS", str(folder))
    return folder


def refused(pattern: str, models: Path, *arguments: object, **options: object) -> None:
    """One line, and the user's folder is as it was."""
    with pytest.raises(AvsrError, match=pattern) as error:
        import_checkpoint(*arguments, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert not models.exists() or not list(models.iterdir())


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(kind: str, models: Path, tmp_path: Path):
    make, pattern = BROKEN[kind]
    path = tmp_path / "model.pth"
    make(path)
    refused(pattern, models, path, units(tmp_path), name="mine")
    assert not Path(f"{models}-was-run").exists()


UNITS: dict[str, tuple[bytes, str]] = {
    "too short": (b"a 1\nb 2\n", "has 2 pieces, this model needs 118"),
    "empty": (b"", "line 1 is '', must be one line a piece"),
    "no numbers": (b"a\nb\n", "line 1 is 'a'"),
    "from nought": (b"a 0\nb 1\n", "line 1 is 'a 0'"),
    "twice": (b"a 1\na 2\n", "has 'a' twice"),
    "not text": (bytes(range(128, 256)), "is no text"),
}


@pytest.mark.parametrize("kind", UNITS)
def test_broken_units(kind: str, models: Path, tmp_path: Path):
    body, pattern = UNITS[kind]
    path, listed = tmp_path / "some.pth", tmp_path / "list.txt"
    saved(path, STATE)
    listed.write_bytes(body)
    refused(pattern, models, path, listed)
    refused("No such file", models, path, tmp_path / "none.txt")


def test_without_a_list_the_line_says_where_it_comes_from(models: Path, tmp_path: Path):
    path = tmp_path / "usr.pth"
    saved(path, prefixed(float32(networks.usr()), "model.backbone."))
    refused(r"unigram1000_units.txt \(from USR 2.0's repository\) with --units", models, path)


FACTS: dict[str, tuple[str, str]] = {
    "not JSON": ("{", "cannot be read as JSON"),
    "a number": ("3", "holds no settings"),
    "of another model": ('{"adim": 256}', "of a model 256 wide, this one has 48"),
    "few characters": ('{"char_list": ["<blank>", "a", "<eos>"]}', "has 1 pieces"),
    "no end": ('{"char_list": ["<blank>", "a", "b"]}', "must end in <eos>"),
    "numbers": ('{"char_list": [1, 2, 3]}', "must hold strings"),
}


@pytest.mark.parametrize("kind", FACTS)
def test_broken_model_json(kind: str, models: Path, tmp_path: Path):
    text, pattern = FACTS[kind]
    saved(tmp_path / "model.pth", STATE)
    (tmp_path / "model.json").write_text(text)
    refused(pattern, models, tmp_path / "model.pth", name="mine")


def test_a_language_model_of_another_vocabulary(models: Path, tmp_path: Path):
    path, lm = tmp_path / "usr.pth", tmp_path / "lm.pth"
    saved(path, prefixed(float32(networks.usr()), "model.backbone."))
    saved(lm, LANGUAGE)
    (tmp_path / "lm.json").write_text(json.dumps({"head": 4}))
    listed = units(tmp_path, 1047)
    refused("of 120 tokens, the recogniser has 1049", models, path, listed, lm)
    refused("lacks the tensor", models, path, listed, path)


def test_a_model_as_wide_as_the_older_ones_needs_its_model_json(models: Path, tmp_path: Path):
    saved(tmp_path / "old.pth", STATE | {"encoder.embed.0.weight": torch.zeros(256, 512)})
    refused(
        "put the model.json that came with it beside it, as old.json", models, tmp_path / "old.pth"
    )


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "ä", "x" * 61, "default", "grid-whisper"])
def test_a_name_that_cannot_be(name: str, models: Path, tmp_path: Path):
    saved(tmp_path / "some.pth", STATE)
    path, taken = tmp_path / "some.pth", ["grid-whisper"]
    refused("model name", models, path, units(tmp_path), name=name, taken=taken)


def test_a_name_that_is_taken(models: Path, tmp_path: Path):
    saved(tmp_path / "some.pth", STATE)
    import_checkpoint(tmp_path / "some.pth", units(tmp_path))
    with pytest.raises(AvsrError, match="avsr models remove some"):
        import_checkpoint(tmp_path / "some.pth", units(tmp_path))
    assert store.remove("some") > 0
    assert not list(models.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved(tmp_path / "some.pth", STATE)
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("AVSR_MODELS", str(tmp_path / "taken"))
    with pytest.raises(AvsrError, match="cannot be written"):
        import_checkpoint(tmp_path / "some.pth", units(tmp_path))


@pytest.mark.parametrize("part", ["model.safetensors", "config.json"])
def test_an_installed_model_that_was_damaged(part: str, models: Path, tmp_path: Path):
    saved(tmp_path / "some.pth", STATE)
    import_checkpoint(tmp_path / "some.pth", units(tmp_path))
    file = models / "some" / part
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(AvsrError, match=f"{part}: damaged .*import it again"):
        store.load("some")
    (entry,) = store.list_installed()
    assert (entry.problem is None) == (part == "model.safetensors")


def test_a_model_that_is_not_there(models: Path):
    with pytest.raises(AvsrError, match="cannot be read"):
        store.load("none")
    with pytest.raises(AvsrError, match="not among the imported ones"):
        store.remove("none")
