"""What may be written where: inputs and other people's files stay as they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from avsr.base import outputs
from avsr.base.console import told
from avsr.base.errors import UsageError


def test_an_earlier_output_may_be_replaced_until_somebody_changes_it(tmp_path: Path):
    target = tmp_path / "a.txt"
    outputs.refuse([target])
    outputs.write(target, [b"bin ", b"blue"])
    outputs.refuse([target])
    target.write_text("bin blew")  # as long as before
    with pytest.raises(UsageError, match="is there already"):
        outputs.refuse([target])
    outputs.refuse([target], overwrite=True)


def test_the_same_content_elsewhere_is_not_ours(tmp_path: Path):
    outputs.write(tmp_path / "a.txt", [b"bin blue"])
    for place in (tmp_path / "b.txt", tmp_path / "sub" / "a.txt"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("bin blue")
        with pytest.raises(UsageError, match="--overwrite"):
            outputs.refuse([place])


def test_another_way_to_the_same_output_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    outputs.write("out/a.txt", [b"x"])
    outputs.refuse(["link/a.txt", "out/../out/a.txt", tmp_path / "out" / "a.txt"])


@pytest.mark.parametrize(
    "kind", ["itself", "symbolic link", "hard link", "dots", "output is a link"]
)
def test_an_input_is_never_replaced_whatever_it_is_called(tmp_path: Path, kind: str):
    film = tmp_path / "film.txt"
    film.write_text("a recording")
    target = source = film
    if kind == "symbolic link":
        source = tmp_path / "other"
        source.symlink_to(film)
    elif kind == "hard link":
        source = tmp_path / "other"
        os.link(film, source)
    elif kind == "dots":
        (tmp_path / "sub").mkdir()
        source = tmp_path / "sub" / ".." / "film.txt"
    elif kind == "output is a link":
        target = tmp_path / "link.txt"
        target.symlink_to(film)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="would replace the input"):
            outputs.refuse([target], [source], overwrite=overwrite)


def test_what_is_no_file_is_refused_even_when_overwriting(tmp_path: Path):
    (tmp_path / "a.txt").mkdir()
    os.mkfifo(tmp_path / "b.txt")
    (tmp_path / "c.txt").symlink_to("nowhere")
    for name in ("a.txt", "b.txt"):
        with pytest.raises(UsageError, match="no file"):
            outputs.refuse([tmp_path / name], overwrite=True)
    with pytest.raises(UsageError, match="--overwrite"):
        outputs.refuse([tmp_path / "c.txt"])


def test_names_that_a_file_system_takes_for_the_same(tmp_path: Path):
    pairs = [(Path("cafe\u0301.mp4"), Path("cafe\u0301.txt")), (Path("CAFÉ.mkv"), Path("CAFÉ.txt"))]
    outputs.refuse_twins(pairs)
    with pytest.raises(UsageError, match="both be written"):
        outputs.refuse_twins(pairs, fold=True)
    (tmp_path / "x").touch()
    assert outputs.ignores_case(tmp_path) == (tmp_path / "X").exists()
    assert sorted(os.listdir(tmp_path)) == ["x"]


def test_a_record_that_cannot_be_kept_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    outputs.write(tmp_path / "a.txt", [b"x"])
    assert (tmp_path / "a.txt").read_bytes() == b"x"
    with pytest.raises(UsageError, match="--overwrite"):
        outputs.refuse([tmp_path / "a.txt"])


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as raised:
        outputs.write(tmp_path / "sheet.png", [b"x"])
    assert told(raised.value).startswith(f"{tmp_path / 'sheet.png'}: No space left on device")
    assert not list(tmp_path.glob("sheet*"))
