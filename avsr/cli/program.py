"""The program avsr. Results go to standard output and nothing else does; every mistake ends in one line.

Exit status: 0 all well, 1 some input failed (the others are done), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Annotated

import typer

from avsr.cli.bench import bench
from avsr.cli.compare import compare
from avsr.cli.demo import demo
from avsr.cli.evaluate import evaluate
from avsr.cli.models import models
from avsr.cli.prepare import prepare
from avsr.cli.train import train
from avsr.cli.transcribe import transcribe
from avsr.console import Lines, report, say, usage

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audio-visual speech recognition: hears, reads lips, and keeps working when one of them is missing.",
)


@app.callback(invoke_without_command=True)
def avsr(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Runs before every command."""
    if version:
        from avsr import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        with redirect_stdout(sys.stderr):  # typer prints where click only returns the text
            print(context.get_help())
        raise typer.Exit(2)


for command in (transcribe, prepare, train, evaluate, compare, bench, models, demo):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; sys.argv by default.

    Returns:
        The exit status.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us (>&-): nobody reads it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (stays open)
    library, lines = logging.getLogger("avsr"), Lines(logging.WARNING)
    library.addHandler(lines)
    try:
        status = app(args=arguments, prog_name="avsr", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # newer typer catches it itself, older raises Abort
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has seen enough; nor may the last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
            return usage(error)
        return report(error)
    finally:
        library.removeHandler(lines)
