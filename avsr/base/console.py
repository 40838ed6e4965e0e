"""What command lines say to people on standard error: mistakes in one line, logs, progress."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.base.processes.signals import stop

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
HIDDEN = {"Cc", "Cf", "Cs"}  # Unicode's control, format and surrogate characters

# Set in the environment by a program that owns its standard error, as ours does.
QUIET_MEDIAPIPE = "AVSR_QUIET_MEDIAPIPE"


def usage(error: Exception) -> int:
    """One line about wrong usage, with where to look it up."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "avsr"
    say(f"{error.format_message()} ({command} --help shows what is allowed)")  # type: ignore[attr-defined]
    return 2


def set_up_streams() -> None:
    """Makes printing safe: whatever is printed, no character is an error.

    What goes into a file or a pipe is UTF-8, as the files of -o are, whatever the system's code
    page: there it can hold all of a transcript. A terminal, and who sets PYTHONIOENCODING, gets the
    encoding it wants, with \\uXXXX for what that lacks.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us (>&-): nobody reads it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (stays open)
        elif hasattr(stream, "reconfigure"):
            chosen = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if chosen else "utf-8", errors="backslashreplace")


def drop_unwritten() -> None:
    """Lets go of what a closed pipe or a full disk would not take: Python would complain of it once
    more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Outcome:
    """What came of a file: why it failed, in a line; None where it did not."""

    reason: str | None = None

    @property
    def failed(self) -> bool:
        return self.reason is not None


@contextmanager
def failing_alone(file: Path) -> Iterator[Outcome]:
    """One file's trouble is one line, and the next file's turn."""
    outcome = Outcome()
    try:
        yield outcome
    except BrokenPipeError:
        raise
    except Exception as error:
        if stop.number is not None:  # an interrupt that a library made an error of its own of
            raise KeyboardInterrupt from error
        outcome.reason = told(error, file)
        report(error, file)


def report(error: Exception, file: Path | None = None) -> int:
    """One line about an error: as it is where it was made for users, else with its type and how to
    see more.

    Returns:
        The exit status.
    """
    if os.environ.get("AVSR_DEBUG"):
        traceback.print_exception(error)
    say(told(error, file))
    return 2 if isinstance(error, UsageError) else 1


def told(error: Exception, file: Path | None = None) -> str:
    """An error in a line, see `report`; it begins with the file."""
    if isinstance(error, AvsrError):
        message = str(error)
    elif isinstance(error, ModuleNotFoundError) and error.name and not _is_ours(error.name):
        message = f"{error.name} is not installed: {install(error.name)} brings it"
    # a full disk, a file where a folder should be, ...
    elif isinstance(error, OSError) and error.strerror:
        message = (
            f"{error.filename or 'output'}: {error.strerror}: free space, or name another place"
        )
    else:
        kind = type(error).__name__
        message = f"unexpected {kind}: {error} (set AVSR_DEBUG=1 for the traceback)"
    where = f"{file}: " if file is not None and not message.startswith(f"{file}:") else ""
    return where + message


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "avsr"


def say(message: str) -> None:
    """One line on standard error, whatever is in the message."""
    log(f"avsr: {one_line(message)}")


def log(line: str) -> None:
    """A line of a long run's log; its result alone goes to standard output."""
    # closed or full: there is nobody to tell, and the work goes on
    with suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Text without line breaks, tabs and control characters, all of which a file's name may
    hold."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Text whose control characters, with which a file's name could rule the terminal, are escapes
    that show them.

    A name's bytes that the locale cannot read (Python hands them on as lone surrogates) are read as
    UTF-8.
    """
    with suppress(UnicodeEncodeError):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in HIDDEN else letter for letter in text
    )


def interrupted() -> int:
    """One line about the signal that stopped the command; returns the exit status."""
    say(stop.message)
    return stop.status


class Lines(logging.Handler):
    """Hands the library's warnings, about damaged packets for instance, to `say`."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def note(message: str) -> None:
    """Something nice to know, for people at a terminal."""
    if sys.stderr.isatty():
        say(message)


class Bar:
    """How far something is, on standard error; silent without a terminal."""

    def __init__(self, shown: Progress | None = None) -> None:
        self._shown = shown

    def __call__(self, done: float, total: float, what: str | None = None) -> None:
        """What is done and what there is; where given, also a new name of it all."""
        if self._shown is not None:
            name = None if what is None else one_line(what)
            self._shown.update(
                self._shown.task_ids[0], completed=done, total=total, description=name
            )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Away while other lines are printed."""
        if self._shown is None:
            yield
            return
        self._shown.stop()
        yield
        self._shown.start()


@contextmanager
def progress(what: str, unit: str = "s") -> Iterator[Bar]:
    """A bar on standard error with seconds of media (or clips) and the time left; silent where
    there is no terminal.

    Yields:
        To be called with what is done and what there is.
    """
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit),
        TimeRemainingColumn(),
    )
    # Results go to standard output, which rich would lead to where the bar is.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
    ) as shown:
        shown.add_task(one_line(what), total=1)
        yield Bar(shown)
