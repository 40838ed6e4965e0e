"""Row 32: threads that wait for each other on a busy machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from avsr.base.processes import threads
from avsr.base.processes.threads import SMALL_FRAMES, enough_threads, useful


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine of so many cores, of which we may use our own alone, on which so many other threads
    want to run."""

    def make(cores: int, others: int, own: int | None = None) -> None:
        load = tmp_path / "loadavg"
        load.write_text(f"0.00 0.00 0.00 {others + 1}/300 1234\n")
        monkeypatch.setattr(threads, "_LOAD", load)
        monkeypatch.setattr(threads, "cores", lambda: own or cores)
        monkeypatch.setattr(threads.os, "cpu_count", lambda: cores)

    before = torch.get_num_threads()
    yield make
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "others", "most", "expected"),
    [
        (2, 0, 2, 2),
        (2, 1, 2, 1),
        (2, 4, 2, 1),
        (8, 3, 8, 5),
        (8, 0, 2, 2),
        (8, 0, 1, 1),
        (1, 0, 4, 1),
    ],
)
def test_as_many_threads_as_cores_are_free(
    machine, cores: int, others: int, most: int, expected: int
):
    machine(cores, others)
    assert useful(500, most) == expected
    assert useful(SMALL_FRAMES, most) == 1


@pytest.mark.parametrize(("others", "expected"), [(0, 2), (30, 2), (63, 1), (99, 1)])
def test_work_on_cores_that_are_not_ours_is_no_reason_to_wait(machine, others: int, expected: int):
    machine(64, others, own=2)
    assert useful(500, 8) == expected


def test_the_callers_number_of_threads_is_given_back(machine):
    machine(2, 4)
    torch.set_num_threads(2)
    with enough_threads(500):
        assert torch.get_num_threads() == 1
        with enough_threads(500):
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_it_is_given_back_after_an_error(machine):
    machine(2, 4)
    torch.set_num_threads(2)

    def fail() -> None:
        with enough_threads(500):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2


def test_computations_side_by_side_give_it_back_too(machine):
    machine(2, 4)
    torch.set_num_threads(2)
    started, finish = threading.Event(), threading.Event()

    def other() -> None:
        with enough_threads(500):
            started.set()
            finish.wait(60)

    thread = threading.Thread(target=other)
    with enough_threads(500):
        thread.start()
        assert started.wait(60)
    finish.set()
    thread.join()
    assert torch.get_num_threads() == 2


def test_our_own_work_of_the_last_minute_is_not_that_of_others(
    machine, monkeypatch: pytest.MonkeyPatch
):
    machine(4, 0)
    # as on macOS, where only an average is told
    monkeypatch.setattr(threads, "_LOAD", Path("/nowhere/loadavg"))
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (3.2, 0.0, 0.0), raising=False)
    assert useful(500, 4) == 4
