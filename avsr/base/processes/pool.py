"""A queue worked off by several processes, of which a job may kill one without taking the others'
work with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TypeVar

from avsr.base.console import log
from avsr.base.processes.crew import Crew, Limits, Tell
from avsr.base.processes.machine import cores

Job = TypeVar("Job")
Result = TypeVar("Result")

TRIES = 4  # of a job whose processes die: others are killed by chance, hardly so often
TOGETHER = 2  # of them beside other jobs; what takes too much memory may fit in alone


def work_off(
    todo: deque[Job],
    task: Callable[[Job], Result],
    workers: int | None,
    on_done: Callable[[Job, Result], None],
    on_crash: Callable[[Job], None],
) -> None:
    """Does a task for every job, in this process or in several; the callbacks run in this one.

    A job whose process dies (a crash in a decoder, memory, somebody's kill) is tried again after
    all others, and given up when that has happened TRIES times.

    Args:
        todo: the jobs; empty in the end. A callback may take some out.
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
    count = cores() if workers is None else workers
    for tried in range(1, TRIES + 1):
        together = min(count, len(todo)) if tried <= TOGETHER else 1
        if todo:
            todo.extend(_lost(todo, task, together, on_done))
    while todo:
        on_crash(todo.popleft())


def _lost(
    todo: deque[Job],
    task: Callable[[Job], Result],
    workers: int,
    on_done: Callable[[Job, Result], None],
) -> list[Job]:
    """Works the queue off once; returns the jobs whose processes died.

    Raises:
        AvsrError: the processes do not even start, or the task's own.
        Exception: the task's own.
    """
    lost: list[Job] = []

    def on_lost(job: Job, process: int) -> None:
        lost.append(job)

    crew: Crew[Job] = Crew(workers, 1, partial(_doing, task), Limits(), _ignore, log, on_lost)
    with closing(crew.work(todo)) as results:
        for job, result in results:
            if lost and lost[-1] is job:
                continue
            if isinstance(result, Exception):
                raise result
            on_done(job, result)
    return lost


def _doing(task: Callable[[Job], Result]) -> Callable[[Job, Tell], Result]:
    """In a process: what does a job."""

    def do(job: Job, tell: Tell) -> Result:
        return task(job)

    return do


def _ignore(job: object, told: object) -> None: ...
