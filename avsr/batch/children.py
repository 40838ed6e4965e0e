"""Recordings to transcripts in processes of their own: several at once, each within limits."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from avsr.base.console import QUIET_MEDIAPIPE, Bar, Lines, log
from avsr.base.processes.crew import Crew, Limits, Tell
from avsr.base.processes.machine import cores
from avsr.batch.asked import Asked
from avsr.batch.delivery import Delivery
from avsr.batch.work import Outcome

if TYPE_CHECKING:
    from avsr.transcribing.transcript import Transcript


class Timed(Protocol):
    """What comes of a recording."""

    @property
    def duration_s(self) -> float: ...


Found = TypeVar("Found", bound=Timed)
Thing = TypeVar("Thing")

TELL_S = 0.5  # how often a process says how far it is


def transcribed_in_processes(
    asked: Asked,
    files: Sequence[Path],
    finish: Delivery,
    bar: Bar,
    *,
    jobs: int,
    limits: Limits,
    in_order: bool,
) -> Iterator[Outcome]:
    """As `work.transcribed`, in processes that share the cores.

    Args:
        asked, files, finish, bar: as there.
        jobs: processes.
        limits: of each recording.
        in_order: in the order of the files, and not as they are ready.

    Raises:
        AvsrError: no recogniser, or one that cannot do what is asked.
    """
    if not files:
        return
    begin = partial(prepare, asked, finish)
    outcomes = in_processes(files, begin, bar, jobs=jobs, limits=limits, on_lost=finish.clean_up)
    with closing(outcomes) as made:
        yield from ordered(files, made) if in_order else made


def in_processes(
    files: Sequence[Path],
    begin: Callable[[], Callable[[Path, Tell], Found]],
    bar: Bar,
    *,
    jobs: int,
    limits: Limits,
    on_lost: Callable[[Path, int], None],
) -> Generator[tuple[Path, Found | Exception]]:
    """What comes of each file, as it is ready, in processes that share the cores.

    Args:
        files: at least one.
        begin: called in each process; gives what does a file there.
        bar: told how far all are.
        jobs: processes.
        limits: of each file.
        on_lost: told of a file and the process that ended over it.
    """
    size = min(jobs, len(files))
    shown = Shown(bar, len(files))
    threads = max(1, cores() // size)
    crew: Crew[Path] = Crew(size, threads, begin, limits, shown.told, shown.said, on_lost)
    with closing(crew.work(deque(files))) as results:
        for file, found in results:
            shown.done(file, 0.0 if isinstance(found, Exception) else found.duration_s)
            yield file, found


def ordered(
    files: Sequence[Path], outcomes: Iterable[tuple[Path, Thing]]
) -> Iterator[tuple[Path, Thing]]:
    """What came of files in the order of the files: what is ready early waits."""
    waiting: dict[Path, Thing] = {}
    expected = iter(files)
    awaited = next(expected, None)
    for file, found in outcomes:
        waiting[file] = found
        while awaited in waiting:
            yield awaited, waiting.pop(awaited)
            awaited = next(expected, None)


class Shown:
    """How far all files are, from what the processes tell."""

    def __init__(self, bar: Bar, count: int) -> None:
        self._bar, self._count = bar, count
        self._done, self._media_s = 0, 0.0
        self._at: dict[Path, tuple[float, float]] = {}
        self._show()

    def told(self, file: Path, at: tuple[float, float]) -> None:
        self._at[file] = at
        self._show()

    def said(self, line: str) -> None:
        with self._bar.aside():
            log(line)

    def done(self, file: Path, media_s: float) -> None:
        self._at.pop(file, None)
        self._done += 1
        self._media_s += media_s
        self._show()

    def _show(self) -> None:
        if self._count == 1 and self._at:
            ((done_s, of_s),) = self._at.values()
            self._bar(done_s, of_s or 1.0)
            return
        share = sum(min(1.0, done_s / of_s) for done_s, of_s in self._at.values() if of_s > 0)
        so_far_s = self._media_s + sum(done_s for done_s, _ in self._at.values())
        names = ", ".join(file.name for file in self._at)
        self._bar(self._done + share, self._count, f"{names}, {so_far_s:.0f} s so far")


def prepare(asked: Asked, finish: Delivery) -> Callable[[Path, Tell], Transcript]:
    """In a process: loads the recogniser; returns what does a recording."""
    speak_in_lines()
    recogniser, mark = asked.recogniser()

    def transcribe(file: Path, tell: Tell) -> Transcript:
        options = asked.options | {"partial": finish.partial(file, mark)}
        try:
            found = recogniser.transcribe(file, progress=seldom(tell), **options)
        except Exception as error:
            finish.failed(file, error)
            raise
        finish(file, found, recogniser)
        return found

    return transcribe


def speak_in_lines() -> None:
    """In a process: warnings are lines and libraries are silent, as in the command line."""
    os.environ[QUIET_MEDIAPIPE] = "1"
    logging.getLogger("avsr").addHandler(Lines(logging.WARNING))


def seldom(tell: Tell) -> Callable[[float, float], None]:
    """Tells the seconds done and those there are, every TELL_S at most."""
    told_s = 0.0

    def progress(done_s: float, of_s: float) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            tell((done_s, of_s))

    return progress
