"""A queue worked off by the actors of a Ray cluster, as `pool.work_off` does it by processes.

The actors are those of Ray itself, each with one job at a time. Ray Data (2.60) would not do: its
actors are begun again for ever when a job kills them, or the whole data set ends with the first
one, and blocks that it may leave out are those of exceptions alone, without their names.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import ModuleType
from typing import Any, TypeVar

from avsr.base.console import one_line
from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.base.processes.pool import TRIES

Job = TypeVar("Job")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
LOOK_S = 10.0  # how long results are waited for until it is looked whether the cluster is there


def check_engine(engine: str) -> None:
    """Refuses what is none of ENGINES.

    Raises:
        UsageError: it is none.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: must be one of {', '.join(ENGINES)}")


class Died:
    """Stands for the result of a job whose actors died TRIES times."""


def work_off(
    todo: deque[Job],
    task: Callable[[Job], Result],
    workers: int | None,
    on_done: Callable[[Job, Result], None],
    on_crash: Callable[[Job], None],
) -> None:
    """Does a task for every job by actors, one CPU each; the callbacks run in this process.

    The cluster is that of the environment variable RAY_ADDRESS (auto: the one of this machine);
    where that is not set, one of this machine alone is started for as long as it takes. An actor
    that dies is replaced, and its job is tried again after all others, up to TRIES times in all;
    then it is given up.

    Args:
        todo: the jobs; empty in the end.
        task: what is done with each; a function that can be pickled, as the jobs must be. It must
            be installed wherever an actor may run.
        workers: actors; as many as the cluster has CPUs where None.
        on_done: told of a job and its result.
        on_crash: told of a job given up.

    Raises:
        AvsrError: Ray is not installed, or workers is 0, or the cluster ends, or actors cannot
            begin.
        Exception: whatever the task raises; the jobs not yet done are then left undone.
    """
    for job, found in results(todo, task, workers):
        if isinstance(found, Died):
            on_crash(job)
        else:
            on_done(job, found)


def results(
    todo: deque[Job], task: Callable[[Job], Result], workers: int | None
) -> Generator[tuple[Job, Result | Died]]:
    """The jobs with what came of them, as they are ready; see `work_off`.

    What an actor works in is the folder that this process works in, where the machine has it.
    """
    if workers == 0:
        raise AvsrError("workers is 0: Ray works in actors; allowed are 1 and more")
    if not todo:
        return
    ray = _ray()
    ours = not ray.is_initialized()
    with _off_standard_output():  # Ray speaks of the dead until it is shut down
        try:
            if ours:
                _connect(ray, workers)
            count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            yield from _drain(ray, todo, task, min(count, len(todo)))
        finally:
            if ours:
                ray.shutdown()


def _ray() -> Any:
    """The library.

    Raises:
        AvsrError: it is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise AvsrError(f"the engine ray needs Ray: {install('ray')}") from error
    return ray


def _off_standard_output() -> AbstractContextManager[None]:
    """Has Ray log what it knows of dead workers, which it would print to standard output: that is
    for results alone, and Ray has no option for it."""
    import ray._private.worker as driver

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger(__name__).debug("%s", data.get("lines"))

    return _replaced(driver, "print_to_stdstream", log)


def _ours_to_end() -> AbstractContextManager[None]:
    """Has Ray leave SIGTERM alone, which it would take over for good to end without a word."""
    import ray._private.utils as utils

    return _replaced(utils, "set_sigterm_handler", lambda handler: None)


@contextmanager
def _replaced(module: ModuleType, name: str, value: Callable[..., None]) -> Iterator[None]:
    """A function of a module is another one for as long as it takes; where there is none of that
    name, as in another version, nothing happens."""
    before = getattr(module, name, None)
    if before is not None:
        setattr(module, name, value)
    try:
        yield
    finally:
        if before is not None:
            setattr(module, name, before)


def _connect(ray: Any, workers: int | None) -> None:
    """Joins the cluster that there is, or starts one on this machine."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    try:
        with _ours_to_end():
            if address:
                ray.init(address=address, **quiet)
            else:  # never one that another program started for itself
                ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    except Exception as error:  # of a machine that is too busy it raises no more than that
        where = f"the cluster RAY_ADDRESS={address}" if address else "Ray on this machine"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AvsrError(f"{where} cannot be reached or started: {reason}") from error


def _drain(
    ray: Any, todo: deque[Job], task: Callable[[Job], Result], count: int
) -> Iterator[tuple[Job, Result | Died]]:
    """Works the queue off with `count` actors."""
    make = ray.remote(num_cpus=1, max_restarts=0)(_Actor).remote
    folder = os.getcwd()
    # the job that each actor is at, by the reference of its result
    running: dict[Any, tuple[Any, Job, int]] = {}
    again: deque[tuple[Job, int]] = deque()  # jobs whose actor died, and how often that was

    def give(actor: Any) -> None:
        job, died = (todo.popleft(), 0) if todo else again.popleft()
        running[actor.do.remote(job)] = actor, job, died

    try:
        while len(running) < count and todo:
            give(make(task, folder))
        while running:
            ready = _first_done(ray, list(running))
            actor, job, died = running.pop(ready)
            try:
                yield job, ray.get(ready)
            except ray.exceptions.RayActorError as error:
                _check_there(ray)
                _check_began(error)
                actor = make(task, folder)
                if died + 1 < TRIES:
                    again.append((job, died + 1))
                else:
                    yield job, Died()
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error  # noqa: B904
            if again or todo:
                give(actor)
    finally:  # also where nobody wants the rest
        for actor, _, _ in running.values():
            ray.kill(actor)


def _first_done(ray: Any, running: list[Any]) -> Any:
    """The first of these results that is ready.

    Raises:
        AvsrError: no machine of the cluster is left. New actors would be waited for for ever.
    """
    while True:
        ready, _ = ray.wait(running, num_returns=1, timeout=LOOK_S)
        if ready:
            return ready[0]
        _check_there(ray)


def _check_there(ray: Any) -> None:
    """Raises AvsrError where no machine of the cluster is left."""
    if not any(node["Alive"] for node in ray.nodes()):
        raise AvsrError(
            "Ray has ended, killed or out of memory; what is done so far is kept: run the same "
            "command again"
        )


def _check_began(error: Any) -> None:
    """Raises AvsrError where an actor died of its own beginning, and not of a job."""
    if error.actor_init_failed:
        reason = one_line(str(error).strip().rpartition("\n")[2])
        raise AvsrError(
            f"actors of Ray cannot begin ({reason}): what they do must be installed wherever one "
            "may run"
        ) from error


class _Actor:
    """Does one job after another, in one thread."""

    def __init__(self, task: Callable[[Any], Any], folder: str) -> None:
        from avsr.base.processes.threads import limit_threads

        limit_threads()
        with suppress(OSError):
            os.chdir(folder)
        self._task = task

    def do(self, job: Any) -> Any:
        return self._task(job)
