"""Folders, patterns, and calls that go on where one was stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings and all else that lies about in folders."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.mp4",
        "B.WAV",
        "notes.txt",
        "week 2/c.mkv",
        "week 2/._c.mkv",
        "week 2/a.captioned.mp4",
        ".trash/gone.mp4",
    ):
        path = tmp_path / "talks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "talks" / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "talks" / "pipe.mp4")
    (tmp_path / "talks" / "circle").symlink_to(".")
    return Path("talks")


def asked(recogniser) -> list[str]:
    """The files that the recogniser was given."""
    return [Path(path).as_posix() for path, _ in recogniser.calls]


ALL = ["talks/B.WAV", "talks/a.mp4", "talks/week 2/c.mkv"]


@pytest.mark.parametrize("named", ["talks", "talks/", "talks/**/*", "tal[k]s", "talks/../talks"])
def test_a_folder_stands_for_the_recordings_in_it(avsr, recogniser, talks: Path, named: str):
    status, out, err = avsr("transcribe", named)
    assert status == 0
    assert [os.path.normpath(path) for path in asked(recogniser)] == ALL
    assert len(out.splitlines()) == 6
    assert err.startswith("avsr: 3 done; 3.0 s of media in ")


def test_a_file_that_is_named_counts_whatever_it_is_called(avsr, recogniser, talks: Path):
    assert avsr("transcribe", "talks/notes.txt", "talks/.trash/gone.mp4", "talks")[0] == 0
    assert asked(recogniser) == ["talks/notes.txt", "talks/.trash/gone.mp4", *ALL]


def test_a_file_found_twice_is_done_once(avsr, recogniser, talks: Path):
    assert avsr("transcribe", "talks/a.mp4", "talks", "talks/*.mp4", "-o", "out")[0] == 0
    assert sorted(asked(recogniser)) == sorted(ALL)


@pytest.mark.parametrize("named", ["talks/folder.mp4", "talks/*.mov", "talks/**.mp4"])
def test_nothing_found_is_a_failure_and_the_rest_is_done(avsr, recogniser, talks: Path, named):
    status, out, err = avsr("transcribe", named, "talks/a.mp4")
    assert (status, out) == (1, "talks/a.mp4\ta one\ntalks/a.mp4\ta two\n")
    assert err.startswith(f"avsr: {named}: ")
    assert "1 done, 1 failed" in err


def test_brackets_in_a_name_are_no_pattern(avsr, recogniser, talks: Path):
    Path("a[1].mp4").write_bytes(b"x")
    assert avsr("transcribe", "a[1].mp4") == (0, "a[1] one\na[1] two\n", "")


def test_keep_tree_writes_into_folders_like_those_of_the_recordings(avsr, recogniser, talks: Path):
    (talks / "week 3").mkdir()
    (talks / "week 3" / "c.mkv").write_bytes(b"x")
    status, _, err = avsr("transcribe", "talks", "-o", "out")
    assert status == 2
    assert "--keep-tree" in err
    assert avsr("transcribe", "talks", "-o", "out", "--keep-tree")[0] == 0
    written = sorted(path.as_posix() for path in Path("out").rglob("*.txt"))
    assert written == ["out/B.txt", "out/a.txt", "out/week 2/c.txt", "out/week 3/c.txt"]


def test_skip_existing_goes_on_where_a_call_was_stopped(avsr, recogniser, talks: Path):
    (talks / "a.mp4").rename(talks / "stop.mp4")  # comes last in its folder
    command = ("transcribe", "talks", "-o", "out", "-f", "all", "--skip-existing")
    assert avsr(*command)[0] == 130
    Path("out/B.srt").unlink()  # killed between two files of one recording
    (talks / "stop.mp4").rename(talks / "start.mp4")
    recogniser.calls.clear()
    assert avsr(*command)[0] == 0
    assert asked(recogniser) == ["talks/B.WAV", "talks/start.mp4", "talks/week 2/c.mkv"]
    recogniser.calls.clear()
    recogniser.loaded.clear()
    Path("out/B.txt").write_text("corrected by hand")
    assert avsr(*command) == (0, "", "avsr: 3 skipped\n")
    assert recogniser.loaded == []
    assert Path("out/B.txt").read_text() == "corrected by hand"


@pytest.mark.parametrize("option", ["--skip-existing", "--keep-tree"])
def test_options_about_outputs_need_a_folder(avsr, recogniser, talks: Path, option: str):
    status, out, err = avsr("transcribe", "talks", option)
    assert (status, out) == (2, "")
    assert f"{option} needs a folder" in err
    assert recogniser.loaded == []


def test_what_avsr_wrote_beside_the_recordings_is_no_recording(avsr, recogniser, talks: Path):
    from avsr.base import outputs

    outputs.write(talks / "page.mp4", [b"made by avsr"])
    assert avsr("transcribe", "talks", "-o", "talks")[0] == 0
    assert asked(recogniser) == ALL
