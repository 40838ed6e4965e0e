"""Results that are kept while a long recording is worked on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from avsr.base import partial as module
from avsr.base.partial import Partial


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "film.mp4").write_bytes(b"film")
    return tmp_path / "film.mp4"


def kept(film: Path) -> Partial:
    return Partial.beside(film.parent / "out" / "film.txt", film)


def numbers(partial: Partial) -> list[int]:
    return [entry["n"] for entry in partial.entries("one")]


def test_what_was_kept_is_there_for_the_next_call(film: Path):
    for n in range(3):
        kept(film).add("one", {"n": np.int64(n)})
        kept(film).add("other", {"n": n})
    assert numbers(kept(film)) == [0, 1, 2]
    assert kept(film).path.name == ".film.mp4.partial.jsonl"
    kept(film).remove()
    assert list((film.parent / "out").iterdir()) == []
    kept(film).remove()  # nothing to remove is no error
    assert numbers(kept(film)) == []


def test_cut_off_anywhere_the_whole_lines_count_and_more_can_be_added(film: Path):
    for n in range(3):
        kept(film).add("one", {"n": n})
    path = kept(film).path
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        left = [*range(whole[:size].count(b"\n") - 1)]
        assert numbers(kept(film)) == left
        kept(film).add("one", {"n": 9})
        if b"\n" in whole[:size] and whole[size : size + 1] == b"\n":
            left.append(len(left))  # of the last line nothing else was missing
        assert numbers(kept(film)) == [*left, 9]


def test_a_line_that_is_damaged_anywhere_does_not_count(film: Path):
    for n in range(3):
        kept(film).add("one", {"n": n})
    path = kept(film).path
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines[2])):
        changed = bytearray(lines[2])
        changed[at] ^= 1  # may well be JSON with another number
        path.write_bytes(b"".join([*lines[:2], changed, lines[3]]))
        assert numbers(kept(film)) in ([0, 2], [0])  # what ends a line joins two


def test_of_another_film_or_version_nothing_counts(film: Path, monkeypatch: pytest.MonkeyPatch):
    kept(film).add("one", {"n": 1})
    film.write_bytes(b"another film")
    assert numbers(kept(film)) == []
    kept(film).add("one", {"n": 2})
    assert numbers(kept(film)) == [2]
    os.utime(film, (1, 1))
    assert numbers(kept(film)) == []
    kept(film).add("one", {"n": 3})
    monkeypatch.setattr(module, "version", lambda name: "99")
    assert numbers(kept(film)) == []


def test_what_cannot_be_written_is_not_kept_and_no_error(film: Path):
    path = kept(film).path
    path.parent.mkdir()
    path.write_text("somebody's own\n")
    kept(film).add("one", {"n": 1})
    kept(film).remove()
    assert path.read_text() == "somebody's own\n"
    path.unlink()
    os.mkfifo(path)  # nobody waits for it
    kept(film).add("one", {"n": 1})
    assert numbers(kept(film)) == []
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file")
    kept(film).add("one", {"n": 1})
    assert numbers(kept(film)) == []


def test_it_leaves_room_for_the_results_themselves(film: Path, monkeypatch: pytest.MonkeyPatch):
    disk = 2_000  # bytes
    path = kept(film).path

    def usage(folder: Path) -> tuple[int, int, int]:
        used = path.stat().st_size
        return shutil._ntuple_diskusage(disk, used, disk - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for n in range(100):
        kept(film).add("one", {"n": n})
    first = numbers(kept(film))
    assert first == [*range(len(first))]
    assert disk * 0.4 < path.stat().st_size < disk * 0.6
    disk = 200_000  # somebody made room
    kept(film).add("one", {"n": 100})
    assert numbers(kept(film)) == [*first, 100]
