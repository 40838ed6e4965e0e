"""Ctrl-C and SIGTERM end a command in one line, at any moment. Imports next to nothing, so that it
is there at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated"}
# the file of Python's own import system, as frames have it
IMPORTS = "<frozen importlib._bootstrap>"


class Stop:
    """What was asked for: the number of the signal that came, None so far.

    Attributes:
        number: of the signal.
        stderr: a descriptor of standard error of its own, good even while 2 points elsewhere for a
            moment.
        awaited: whether somebody catches the KeyboardInterrupt, see `interruptible`.
        leaving: called where the process ends at once, for folders and programs of its own.
    """

    number: int | None = None
    stderr: int = 2
    awaited: bool = False

    def __init__(self) -> None:
        self.leaving: set[Callable[[], object]] = set()

    @property
    def status(self) -> int:
        """Exit status, as shells have it."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def message(self) -> str:
        return SIGNALS[signal.Signals(self.number or signal.SIGINT).name]


stop = Stop()


class Interrupt(KeyboardInterrupt):
    """What a signal raises. Of KeyboardInterrupt itself Python remembers that it came through text
    that was executed, as libraries do, and ends by SIGINT at last, whoever caught it."""


@contextmanager
def watched(for_good: bool = False) -> Iterator[None]:
    """Signals end the process with one line: where it is `interruptible` the first one raises
    KeyboardInterrupt, so that nothing half done is left behind.

    While something is imported that would not do: libraries turn an interrupt into errors of their
    own, ignore it, or print it. Then, where nobody waits for it, and at the second signal, the
    process ends at once: files are written beside their place and renamed later, so none is half
    there.

    Args:
        for_good: until the process ends, which may take a while too.
    """
    stop.number, stop.awaited = None, False
    if for_good:  # what processes leave behind that end at once is removed without a word
        sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    with suppress(OSError):  # no standard error at all
        stop.stderr = os.dup(2)
    parent = os.getpid()

    def receive(number: int, frame: FrameType | None) -> None:
        if os.getpid() != parent and number != signal.SIGINT:  # a forked child that its parent ends
            os._exit(128 + number)
        again, stop.number = stop.number is not None, number
        if again or not stop.awaited or _imports(frame):
            _leave()
        raise Interrupt

    def swallowed(ignored: Any) -> None:  # raised where Python lets nothing through, as in __del__
        if isinstance(ignored.exc_value, KeyboardInterrupt):
            _leave()
        hook(ignored)

    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    before = {number: _handle(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if not for_good:
            stop.number = None
            sys.unraisablehook = hook
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
            if stop.stderr != 2:
                os.close(stop.stderr)
                stop.stderr = 2


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it a signal raises KeyboardInterrupt, see `watched`.

    It stands inside the `try` that catches it. So there is no moment, before that or after, at
    which it is raised and nobody catches it.
    """
    try:
        stop.awaited = True
        yield
    finally:
        stop.awaited = False


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C, which a keyboard sends to all.

    They would end with a traceback each, until they are ready to ignore it. This process hears it
    when the block ends. Windows knows no such thing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(number: int, receive: Callable[[int, FrameType | None], None]) -> Any:
    """Takes a signal over; returns who had it, None where it is left alone."""
    before = signal.getsignal(number)
    if before in (signal.SIG_IGN, None):  # nohup and background jobs of a shell ignore Ctrl-C
        return None
    with suppress(ValueError):  # only the main thread may
        signal.signal(number, receive)
        return before
    return None


def _imports(frame: FrameType | None) -> bool:
    """Whether the code that a signal met is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            return True
        frame = frame.f_back
    return False


def leave_nothing() -> None:
    """For a process that ends at once: ends and removes what would stay, see `Stop.leaving`."""
    for remove in list(stop.leaving):
        with suppress(Exception):
            remove()


def _leave() -> None:
    """Ends the process with one line, without asking anybody."""
    shown_cursor = "\x1b[?25h" if os.isatty(stop.stderr) else ""  # a progress bar hides it
    with suppress(OSError):
        os.write(stop.stderr, f"{shown_cursor}avsr: {stop.message}\n".encode())
    leave_nothing()
    os._exit(stop.status)
