"""Work that takes long: in a thread of its own, told how far it is, cancelled by whoever waits."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import release_memory
from avsr.recognisers import registry
from avsr.recognisers.base import Recogniser
from avsr.transcribing.engine import Progress

Found = TypeVar("Found")
MOST_MODELS = 2  # that are kept loaded
GUESS_S = 3.0  # seconds of work after which the time left is told


class Cancelled(AvsrError):
    """Whoever waited does so no longer."""

    def __init__(self) -> None:
        super().__init__("cancelled")


class Task(Generic[Found]):
    """A function in a thread.

    Args:
        work: called with a function to be told how far it is, which raises Cancelled once nobody
            waits any more.
        turns: no more tasks than it allows run at a time.

    Attributes:
        share: how much is done, 0 to 1; None before it has begun.
    """

    def __init__(self, work: Callable[[Progress], Found], turns: threading.Semaphore) -> None:
        self.share: float | None = None
        self._began_s = 0.0
        self._work, self._turns = work, turns
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._found: Found | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True, name="avsr-task").start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, at the latest after so many seconds."""
        return self._ended.wait(seconds)

    def cancel(self) -> None:
        """Ends it as soon as it tells how far it is."""
        self._cancelled.set()

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take if it goes on like this; None while that is a guess."""
        passed_s = time.monotonic() - self._began_s
        if not self.share or passed_s < GUESS_S:
            return None
        return passed_s * (1 - self.share) / self.share

    @property
    def over(self) -> bool:
        """Whether it has ended, or was cancelled and will."""
        return self._ended.is_set() or self._cancelled.is_set()

    @property
    def error(self) -> BaseException | None:
        """What it raised, once it has ended."""
        return self._error

    @property
    def result(self) -> Found:
        """What the work returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._found  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            with self._turns:
                self._tell(0, 1)
                self._found = self._work(self._tell)
        except BaseException as error:  # raised again where it is waited for
            self._error = error
        finally:
            release_memory()
            self._ended.set()

    def _tell(self, done: float, of: float) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        if done == 0:
            self._began_s = time.monotonic()  # not before its turn, nor while a model is loaded
        self.share = min(1.0, done / of) if of > 0 else 0.0


class Tasks:
    """The tasks of everybody, by who waits for them.

    Args:
        most: that run at a time.
        queue: of those that `begin` begins, how many may wait.
    """

    def __init__(self, most: int, queue: int = 100) -> None:
        self._turns, self._queue = threading.Semaphore(most), queue
        self._begun: list[Task] = []
        self._running: dict[str, set[Task]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def run(self, who: str, work: Callable[[Progress], Found]) -> Iterator[Task[Found]]:
        """A task for somebody; it is cancelled where they leave before it has ended."""
        task = Task(work, self._turns)
        with self._lock:
            self._running.setdefault(who, set()).add(task)
        try:
            yield task
        finally:
            task.cancel()
            with self._lock:
                self._running.get(who, set()).discard(task)
                if not self._running.get(who):
                    self._running.pop(who, None)

    def begin(self, work: Callable[[Progress], Found]) -> Task[Found]:
        """A task that nobody waits for all the time; whoever holds it cancels it.

        Raises:
            AvsrError: too many wait.
        """
        with self._lock:
            self._begun = [task for task in self._begun if not task.wait(0)]
            if sum(task.share is None for task in self._begun) >= self._queue:
                raise AvsrError(f"{self._queue} others wait to be made: try again later")
            task = Task(work, self._turns)
            self._begun.append(task)
            return task

    def cancel(self, who: str) -> None:
        """Cancels all tasks of somebody."""
        with self._lock:
            for task in self._running.get(who, set()):
                task.cancel()


class Models:
    """Recognisers that were loaded; the one unused for longest goes when another comes.

    Args:
        device: as in `avsr.load_model`.
        first: whom the page is opened with, in any form that `load_model` takes.
    """

    def __init__(self, device: str, first: str) -> None:
        self._device, self._first = device, first
        self._loaded: OrderedDict[str, Recogniser] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Those that may be chosen: browsers name no files, modules or commands of their own."""
        return list(dict.fromkeys([self._first, registry.DEFAULT, *registry.known()]))

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The same, each after what it is called on the page."""
        first = self.load(self._first).name if "?" in self._first else self._first
        return [(first if name == self._first else name, name) for name in self.names]

    def load(self, name: str) -> Recogniser:
        """
        Raises:
            AvsrError: none that may be chosen, or as `avsr.load_model`.
        """
        from avsr.transcribing.transcribe import load_model

        with self._lock:
            if name not in self._loaded:
                self._check(name)
                self._loaded[name] = load_model(name, self._device)
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_MODELS:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise AvsrError(f"model {name!r} is none of those here: choose one from the list")
