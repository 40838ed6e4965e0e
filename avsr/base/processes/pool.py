"""A queue worked off by several processes, of which a job may kill one without taking the others'
work with it."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

from avsr.base.errors import AvsrError

Job = TypeVar("Job")
Result = TypeVar("Result")

STARTS = 3
LONE_TRIES = 2  # of a job that was running when a process died


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_off(
    todo: deque[Job],
    task: Callable[[Job], Result],
    workers: int | None,
    on_done: Callable[[Job, Result], None],
    on_crash: Callable[[Job], None],
) -> None:
    """Does a task for every job, in this process or in several; the callbacks run in this one.

    A job that kills its process (a crash in a decoder, memory) takes the pool with it: the jobs
    then in the making are tried one by one, and one that kills its process LONE_TRIES times more is
    given up: others are killed by chance.

    Args:
        todo: the jobs; empty in the end.
        task: what is done with each; a function that can be pickled, as the jobs must be.
        workers: processes; as many as cores where None, 0 works in this process.
        on_done: told of a job and its result.
        on_crash: told of a job given up.

    Raises:
        AvsrError: the processes do not even start.
        Exception: whatever the task raises; the jobs not yet done are then left undone.
    """
    if workers == 0:
        while todo:
            job = todo.popleft()
            on_done(job, task(job))
        return
    count = min(cores() if workers is None else workers, len(todo))
    while todo:
        for suspect in _drain(todo, task, count, on_done):
            if all(_drain(deque([suspect]), task, 1, on_done) for _ in range(LONE_TRIES)):
                on_crash(suspect)


def _drain(
    todo: deque[Job],
    task: Callable[[Job], Result],
    workers: int,
    on_done: Callable[[Job, Result], None],
) -> list[Job]:
    """Works the queue off with a pool; returns the jobs that were running when one of its processes
    died.

    Raises:
        AvsrError: the processes do not even start, or the task's own.
        OSError: the task's own.
    """
    running: dict[Future[Result], Job] = {}
    others = set(active_children())
    with _started(workers) as pool:
        try:
            while todo or running:
                while todo and len(running) < 2 * workers:
                    future = pool.submit(task, todo[0])
                    running[future] = todo.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    on_done(running[future], future.result())
                    del running[future]
        except BrokenProcessPool:
            return list(running.values())
        except BaseException:  # an interrupt, a full disk: no waiting for the jobs in the making
            for worker in set(active_children()) - others:
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    return []


def _started(workers: int) -> ProcessPoolExecutor:
    """A pool whose processes start.

    Raises:
        AvsrError: they do not, STARTS times.
    """
    for _ in range(STARTS):
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=start_worker)
        try:
            pool.submit(os.getpid).result()
            return pool
        except BrokenProcessPool as error:  # one may be killed by chance while it starts
            pool.shutdown()
            broken = error
    raise AvsrError(
        "worker processes do not start; make the call below `if __name__ == '__main__':`, or with "
        "workers=0"
    ) from broken


def start_worker(threads: int = 1) -> None:
    """Sets a worker up: so many threads, the keyboard's interrupt left to the parent, and no life
    after it."""
    limit_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def leave_with_parent() -> None:
        # A pool's workers hold both ends of their queue and would wait for ever after the parent
        # was killed.
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def limit_threads(threads: int = 1) -> None:
    """Gives the libraries of this process so many threads: others work beside it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import cv2

    cv2.setNumThreads(threads)
