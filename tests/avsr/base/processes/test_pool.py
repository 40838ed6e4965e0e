"""The queue of jobs; what a job may do to its process is tested with `prepare`, which works through
it."""

from __future__ import annotations

import time
from collections import deque
from multiprocessing import active_children

import pytest

from avsr.base.processes.pool import work_off


def test_trouble_ends_the_jobs_in_the_making_at_once() -> None:
    def stop(job: float, _: None) -> None:
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work_off(deque([0.0, 300.0, 300.0]), time.sleep, 2, stop, lambda job: None)
    assert time.monotonic() - begin < 60
    assert not active_children()
