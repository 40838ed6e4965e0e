"""How much the app keeps at once, and a disk that is full."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr.app import room as room_module
from avsr.app.room import LEAST_BYTES, NoRoom, Room

MB = 10**6


def test_what_is_kept_and_what_is_promised_leaves_less_room(tmp_path: Path):
    room, inner = Room(tmp_path, 10 * MB), tmp_path / "uploads" / "one"
    room.check(10 * MB)
    with room.promised(inner, 6 * MB):
        inner.mkdir(parents=True)
        (inner / "half").write_bytes(bytes(3 * MB))  # does not count beside what was promised
        room.check(4 * MB)
        with pytest.raises(NoRoom, match=r"^no room for 5 MB: .* 0.01 GB .* 4 MB are left"):
            room.check(5 * MB)
    room.check(7 * MB)
    with pytest.raises(NoRoom):
        room.check(8 * MB)
    shutil.rmtree(inner)


def test_small_files_count_too(tmp_path: Path):
    room = Room(tmp_path, 3 * LEAST_BYTES)
    for name in "abc":
        room.check(0)
        (tmp_path / name).touch()
        with room.promised(tmp_path / name, 0):  # so that they are counted anew
            pass
    with pytest.raises(NoRoom):
        room.check(0)


def test_some_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = SimpleNamespace(free=room_module.SPARE_BYTES + MB)
    monkeypatch.setattr(room_module.shutil, "disk_usage", lambda _: free)
    room = Room(tmp_path, 1000 * MB)
    room.check(MB)
    with pytest.raises(NoRoom, match="disk of this machine is full"):
        room.check(MB + 1)
