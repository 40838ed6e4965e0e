"""Processes that work through jobs side by side. One that crashes, hangs or takes too much memory
takes only its own job with it."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from avsr.base.errors import AvsrError, UsageError
from avsr.base.processes.signals import kept_from_children, leave_nothing
from avsr.base.processes.threads import limit_threads

Job = TypeVar("Job")
Tell = Callable[[Any], None]
"""Sends something about a job to whoever waits for it."""

POLL_S = 0.1  # how often the limits are looked at
STARTS = 3  # processes that may end before they are ready, one after the other: killed by chance
GRACE_S = 0.5  # for a process that is ended to end the programs that it started
PROC = Path("/proc")


@dataclass(frozen=True)
class Limits:
    """What one job may take.

    Attributes:
        seconds: from its beginning; None for as long as it likes.
        memory_mb: of the process that does it, with all that it has loaded; None for any.
    """

    seconds: float | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        if self.memory_mb is not None and memory_mb(os.getpid()) is None:
            raise UsageError("a limit of memory: this system does not say what a process takes")


class Crew(Generic[Job]):
    """Some processes; each gets ready once and then takes one job after the other.

    Args:
        size: how many.
        threads: of each, for its computations.
        prepare: called in each process; returns what does a job, given the job and somebody to
            tell how far it is. Must be something that can be pickled, like all that is told.
        limits: of a job.
        on_told: called with a job and what was told of it.
        on_said: called with a line that a process wrote to standard error.
        on_lost: called with a job whose process ended, and the number that this had.
    """

    def __init__(
        self,
        size: int,
        threads: int,
        prepare: Callable[[], Callable[[Job, Tell], Any]],
        limits: Limits,
        on_told: Callable[[Job, Any], None],
        on_said: Callable[[str], None],
        on_lost: Callable[[Job, int], None],
    ) -> None:
        self._threads, self._prepare, self._limits = threads, prepare, limits
        self._on_told, self._on_said, self._on_lost = on_told, on_said, on_lost
        self._todo: deque[Job] = deque()
        self._failed_starts = 0
        self._members: list[_Member[Job]] = [self._member() for _ in range(size)]

    def work(self, jobs: deque[Job]) -> Generator[tuple[Job, Any]]:
        """Each job with what came of it or the error that it ended in, as they are ready.

        Args:
            jobs: empty in the end; others may be put in or taken out meanwhile.

        Raises:
            Exception: whatever a process says that cannot get ready.
        """
        self._todo = jobs
        try:
            while self._todo or any(member.busy for member in self._members):
                for member in self._members:
                    if self._todo and member.ready and not member.busy:
                        member.give(self._todo.popleft())
                yield from self._step()
        finally:
            for member in self._members:
                member.end()

    def _step(self) -> Iterator[tuple[Job, Any]]:
        """Waits a moment; what is done by then."""
        links = {member.link: member for member in self._members}
        for link in wait(list(links), timeout=POLL_S):
            yield from self._received(links[link])  # type: ignore[index]
        for member in list(self._members):
            reason = member.beyond(self._limits) if member.busy else None
            if reason is not None:
                yield from self._lost(member, reason)

    def _received(self, member: _Member[Job]) -> Iterator[tuple[Job, Any]]:
        try:
            kind, value = member.link.recv()
        except (EOFError, OSError):
            yield from self._lost(member, None)
            return
        if kind == "said":
            self._on_said(value)
        elif kind == "told" and member.busy:
            self._on_told(member.job[0], value)
        elif kind == "useless":
            raise value
        elif kind == "ready":
            member.ready, self._failed_starts = True, 0
            most = self._limits.memory_mb
            if most is not None and (member.memory_mb or 0) >= most:
                raise UsageError(
                    f"at most {most:.0f} MB of memory: {member.memory_mb:.0f} MB are taken before "
                    "the first file: allow more"
                )
        elif kind == "done":
            (job,) = member.job
            member.job = []
            yield job, value

    def _lost(self, member: _Member[Job], reason: str | None) -> Iterator[tuple[Job, Any]]:
        """A process that is ended, or did end, and another one in its place where there is work."""
        code = member.end()
        if not member.ready:
            self._failed_starts += 1
            if self._failed_starts == STARTS:
                raise AvsrError(
                    f"worker processes do not start ({_ending(code)}): use fewer of them, and make "
                    "the call below `if __name__ == '__main__':`"
                )
        self._members.remove(member)
        if self._todo:
            self._members.append(self._member())
        for job in member.job:
            self._on_lost(job, member.number)
            yield job, AvsrError(reason or f"its process ended ({_ending(code)})")

    def _member(self) -> _Member[Job]:
        return _Member(self._prepare, self._threads)


class _Member(Generic[Job]):
    """One process, from this side."""

    def __init__(self, prepare: Callable[[], Any], threads: int) -> None:
        context = get_context("spawn")
        self.link, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, prepare, threads), daemon=True)
        with kept_from_children():
            self._process.start()
        theirs.close()
        self.number = self._process.pid or 0
        self.ready = False
        self.job: list[Job] = []  # one or none
        self._began_s = 0.0

    @property
    def busy(self) -> bool:
        return bool(self.job)

    @property
    def memory_mb(self) -> float | None:
        return memory_mb(self.number)

    def give(self, job: Job) -> None:
        self.job, self._began_s = [job], time.monotonic()
        with suppress(OSError):  # it has just died, which is found out next
            self.link.send(job)

    def beyond(self, limits: Limits) -> str | None:
        """Which limit the job is beyond, in words; None where it is within all."""
        took_s = time.monotonic() - self._began_s
        if limits.seconds is not None and took_s > limits.seconds:
            return f"took longer than {limits.seconds:g} s, and was stopped: allow more"
        if limits.memory_mb is not None:
            taken = self.memory_mb
            if taken is not None and taken > limits.memory_mb:
                return f"took more than {limits.memory_mb:g} MB, and was stopped: allow more"
        return None

    def end(self) -> int | None:
        """Ends the process, whatever it does; returns what it ended with."""
        self.link.close()
        if self.busy or not self.ready:
            self._process.terminate()
            self._process.join(timeout=GRACE_S)
            self._process.kill()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


def memory_mb(process: int) -> float | None:
    """What a process holds in memory, MB; None where the system does not say."""
    try:
        pages = int((PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"{signal.Signals(-code).name}, as in a crash of a decoder or out of memory"
    return f"status {code}"


# ---- in the process


def leave_with_parent() -> None:
    """Has this process end as soon as the one that started it has, even if that was killed before
    this one began: who holds both ends of a queue would wait for ever, and torch's loader processes
    take whoever they find then for their parent."""
    parent = parent_process()
    if parent is None:
        return

    def leave() -> None:
        parent.join()
        leave_nothing()
        os._exit(1)

    threading.Thread(target=leave, daemon=True, name="avsr-parent").start()


def _start(threads: int = 1) -> None:
    """Sets a worker up: so many threads, the keyboard's interrupt left to the parent, and no life
    after it."""
    limit_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    leave_with_parent()


def _terminated(number: int, frame: FrameType | None) -> None:
    leave_nothing()
    signal.signal(number, signal.SIG_DFL)  # who looks sees what ended it
    os.kill(os.getpid(), number)


class _Said(io.TextIOBase):
    """Standard error of the process: lines go to whoever started it."""

    def __init__(self, send: Tell) -> None:
        self._send, self._begun = send, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._send(("said", line))
        return len(text)


def _live(link: Connection, prepare: Callable[[], Any], threads: int) -> None:
    """A process from its beginning to its end."""
    _start(threads)
    lock = threading.Lock()

    def send(message: Any) -> None:
        with lock, suppress(OSError):  # nobody waits for it any more
            link.send(message)

    sys.stderr = _Said(send)  # type: ignore[assignment]
    try:
        do = prepare()
    except Exception as error:
        send(("useless", _sendable(error)))
        return
    send(("ready", None))
    while True:
        try:
            job = link.recv()
        except (EOFError, OSError):
            return
        try:
            result = do(job, lambda what: send(("told", what)))
        except Exception as error:
            result = _sendable(error)
        send(("done", result))


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same, where it cannot be sent as it is."""
    if os.environ.get("AVSR_DEBUG"):
        traceback.print_exception(error)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
