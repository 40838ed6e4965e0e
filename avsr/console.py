"""What command lines say to people on standard error: mistakes in one line, logs, progress."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from avsr.preprocessing.errors import AvsrError, UsageError


def usage(error: Exception) -> int:
    """One line about wrong usage, with where to look it up."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "avsr"
    say(f"{error.format_message()} ({command} --help shows what is allowed)")  # type: ignore[attr-defined]
    return 2


class Outcome:
    failed = False


@contextmanager
def failing_alone(file: Path) -> Iterator[Outcome]:
    """One file's trouble is one line, and the next file's turn."""
    outcome = Outcome()
    try:
        yield outcome
    except BrokenPipeError:
        raise
    except Exception as error:
        outcome.failed = True
        report(error, file)


def report(error: Exception, file: Path | None = None, prefix: str = "avsr") -> int:
    """One line about an error: as it is where it was made for users, else with its type and how to see more.

    Returns:
        The exit status.
    """
    if os.environ.get("AVSR_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, AvsrError):
        message = str(error)
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("avsr"):
        message = f"{error.name} is not installed: pip install 'avsr[train]' brings what training needs"
    elif isinstance(error, OSError) and error.strerror:  # a full disk, a file where a folder should be, ...
        message = f"{error.filename or 'output'}: {error.strerror}: free space, or name another place"
    else:
        kind = type(error).__name__
        message = f"unexpected {kind}: {error} (set AVSR_DEBUG=1 for the traceback)"
    where = f"{file}: " if file is not None and not message.startswith(f"{file}:") else ""
    say(where + message, prefix)
    return 2 if isinstance(error, UsageError) else 1


def say(message: str, prefix: str = "avsr") -> None:
    """One line on standard error, whatever is in the message."""
    print(f"{prefix}:", one_line(message), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Text without line breaks and tabs, which a file's name may hold."""
    return " ".join(text.split())


class Lines(logging.Handler):
    """Hands the library's warnings, about damaged packets for instance, to `say`."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def log(line: str) -> None:
    """A line of a long run's log; its result alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Something nice to know, for people at a terminal."""
    if sys.stderr.isatty():
        say(message)


@contextmanager
def progress(what: str, unit: str = "s") -> Iterator[Callable[[float, float], None]]:
    """A bar on standard error with seconds of media (or clips) and the time left; silent where there is no terminal.

    Yields:
        To be called with what is done and what there is.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(escape(what)),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# ---- tools of their own, run as python -m


class ToolParser(ArgumentParser):
    """Reads a tool's options; wrong usage is one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        say(f"{message} ({self.prog} --help shows what is allowed)", "error")
        raise SystemExit(2)


def positive(text: str) -> int:
    """A whole number of 1 or more, as `type` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} must be a whole number of 1 or more")
    return int(text)


def weights_file(text: str) -> Path:
    """The path of a model to write, as `type` of an option."""
    if not text.endswith(".safetensors"):
        raise ArgumentTypeError(f"{text!r} must end in .safetensors, as all models do")
    return Path(text)


def run_tool(task: Callable[[], None]) -> int:
    """Does what a tool is for; every mistake is one line that begins with "error:".

    Returns:
        The exit status.
    """
    try:
        task()
    except Exception as error:
        return report(error, prefix="error")
    return 0
