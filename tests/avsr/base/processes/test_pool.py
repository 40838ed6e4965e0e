"""The queue of jobs; what a job may do to its process is tested with `prepare`, which works through
it."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from avsr.base.processes.pool import work_off


def test_trouble_ends_the_jobs_in_the_making_at_once() -> None:
    def stop(job: float, _: None) -> None:
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work_off(deque([0.0, 300.0, 300.0]), time.sleep, 2, stop, lambda job: None)
    assert time.monotonic() - begin < 300
    assert not active_children()


def die_at_times(folder: Path, job: int) -> int:
    """Kills its process: at job 3 for the first two times, at job 5 always."""
    often = len(list(folder.iterdir()))
    if job == 5 or (job == 3 and often < 2):
        if job == 3:
            (folder / str(often)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def test_who_is_killed_by_chance_is_tried_again_and_the_deadly_is_given_up(tmp_path: Path) -> None:
    done: dict[int, int] = {}
    crashed: list[int] = []
    task = partial(die_at_times, tmp_path)
    work_off(deque(range(7)), task, 2, done.__setitem__, crashed.append)
    assert done == {job: job * job for job in range(7) if job != 5}
    assert crashed == [5]
    assert not active_children()
