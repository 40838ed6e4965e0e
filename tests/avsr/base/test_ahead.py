"""An iterator in a thread of its own: same items, same errors, never further ahead than allowed,
ends when left."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from avsr.base.ahead import Ahead


def _counting(log: list[int], stop: int = 1000, error: Exception | None = None) -> Generator[int]:
    try:
        for number in range(stop):
            log.append(number)
            yield number
        if error is not None:
            raise error
    finally:
        log.append(-1)


def test_items_come_in_order_and_the_thread_ends():
    before, log = set(threading.enumerate()), []
    assert list(Ahead(_counting(log, 50), 3)) == list(range(50))
    assert log[-1] == -1
    assert set(threading.enumerate()) <= before


def test_an_error_comes_in_its_turn():
    ahead = Ahead(_counting([], 3, KeyError("x")), 10)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(ahead)


def test_it_is_never_further_ahead_than_allowed_and_can_be_left():
    log: list[int] = []
    ahead = Ahead(_counting(log), 4)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert max(log) <= 1 + 4
    ahead.close()
    assert log[-1] == -1  # the iterator was closed
    assert list(ahead) == []


def test_a_consumer_that_waits_is_called_back():
    called, gate = [], threading.Event()

    def slow() -> Generator[int]:
        gate.wait(60)
        yield 1

    assert list(Ahead(slow(), 1, lambda: (called.append(1), gate.set()))) == [1]
    assert called
