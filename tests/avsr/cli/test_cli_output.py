"""What the command line may write where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("avsr: "), text
    assert "Traceback" not in text
    return text


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_input_is_never_overwritten(avsr, recogniser, tmp_path: Path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    for name in ("foo.txt", "a.mp4", "a.json", "words.vtt"):
        (tmp_path / name).write_text(f"the user's {name}")
    (tmp_path / "link.mp4").symlink_to("foo.txt")
    (tmp_path / "here").symlink_to(".")
    before = content(tmp_path)
    for arguments in (
        ("foo.txt", "-o", "."),
        ("foo.txt", "-o", tmp_path),
        ("foo.txt", "-o", "here"),
        ("here/foo.txt", "-o", "."),
        ("a.mp4", "a.json", "-o", ".", "-f", "all"),
        ("link.mp4", "foo.txt", "-o", "."),
        ("a.mp4", "-o", ".", "-f", "json", "--grammar", "a.json"),
        ("words.mp4", "-o", ".", "-f", "vtt", "--lm", "words.vtt"),
        ("words.mp4", "-o", ".", "-f", "vtt", "--model", "./words.vtt"),
    ):
        status, out, err = avsr("transcribe", *arguments, *overwrite)
        assert (status, out) == (2, ""), arguments
        one_line(err)
    assert content(tmp_path) == before
    assert recogniser.loaded == []


def test_other_peoples_files_are_refused_before_work(avsr, recogniser, tmp_path: Path):
    for name in ("keep.mp4", "keep.txt", "other.mp4"):
        (tmp_path / name).write_text("the user's own")
    files = (tmp_path / "other.mp4", tmp_path / "keep.mp4")
    status, _, err = avsr("transcribe", *files, "-o", tmp_path)
    assert status == 2
    assert "keep.txt is there already" in one_line(err)
    assert "--overwrite" in err
    assert recogniser.loaded == []
    assert (tmp_path / "keep.txt").read_text() == "the user's own"
    assert avsr("transcribe", *files, "-o", tmp_path, "--overwrite")[:2] == (0, "")
    assert (tmp_path / "keep.txt").read_text() == "keep one\nkeep two\n"


def test_the_same_command_twice_is_fine(avsr, recogniser, tmp_path: Path):
    command = ("transcribe", "a.mp4", "b.mkv", "-f", "all", "-o", tmp_path / "out")
    assert avsr(*command)[:2] == avsr(*command)[:2] == (0, "")
    (tmp_path / "out" / "a.srt").write_text("corrected by hand")
    assert avsr(*command)[0] == 2
    assert (tmp_path / "out" / "a.srt").read_text() == "corrected by hand"


def test_a_file_made_while_we_work_is_kept(avsr, recogniser, tmp_path: Path, monkeypatch):
    work = recogniser.transcribe

    def transcribe(path: Path, **options: object) -> object:
        (tmp_path / "a.txt").write_text("made in the meantime")
        return work(path, **options)

    monkeypatch.setattr(recogniser, "transcribe", transcribe)
    status, _, err = avsr("transcribe", "a.mp4", "b.mp4", "-o", tmp_path)
    assert status == 1
    assert "a.txt is there already" in err.splitlines()[0]
    assert content(tmp_path) == {"a.txt": b"made in the meantime", "b.txt": b"b one\nb two\n"}


@pytest.mark.parametrize("again", ["x.mp4", "./x.mp4", "here/x.mp4"])
@pytest.mark.parametrize("out", [(), ("-o", "out")])
def test_the_same_file_named_twice_is_said(
    avsr, recogniser, tmp_path: Path, monkeypatch, again, out
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.mp4").touch()
    (tmp_path / "here").symlink_to(".")
    status, _, err = avsr("transcribe", "x.mp4", "y.mp4", again, *out)
    assert status == 2
    assert "named twice" in one_line(err)
    assert recogniser.loaded == []


def test_standard_output_is_no_folder(avsr, recogniser, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = avsr("transcribe", "a.wav", "-o", "-")
    assert (code, out) == (2, "")
    assert "leave -o out" in one_line(err)
    assert not Path("-").exists()


def test_a_name_too_long_to_write_is_told_before_work(avsr, recogniser, tmp_path: Path):
    longest = "n" * 251 + ".mp4"
    status, _, err = avsr("transcribe", longest, "-o", tmp_path / "out")
    assert status == 2
    assert "name too long" in one_line(err)
    assert "ä" * 120 not in err
    assert avsr("transcribe", "ä" * 125 + ".mp4", "-o", tmp_path)[0] == 2  # 250 bytes
    assert avsr("transcribe", "n" * 200 + ".mp4", "-o", tmp_path / "long")[0] == 0
    assert avsr("transcribe", longest)[0] == 0
    deep = tmp_path / "/".join(["d" * 200] * 25)
    status, _, err = avsr("transcribe", "a.mp4", "-o", deep)
    assert status == 2
    assert "too long" in one_line(err)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="needs a folder that cannot be written"
)
def test_a_folder_that_cannot_be_written_is_told_before_work(avsr, recogniser, tmp_path: Path):
    tmp_path.chmod(0o555)
    assert avsr("transcribe", "a.mp4", "-o", tmp_path)[0] == 1
    assert recogniser.loaded == []
