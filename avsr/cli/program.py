"""The program avsr. Results go to standard output and nothing else does; every mistake ends in one
line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Annotated

import typer

from avsr.base.console import (
    INTERRUPTED,
    QUIET_MEDIAPIPE,
    Lines,
    drop_unwritten,
    interrupted,
    report,
    set_up_streams,
    usage,
)
from avsr.base.errors import AvsrError
from avsr.base.processes.signals import interruptible, stop
from avsr.cli import models
from avsr.cli.adapt import adapt
from avsr.cli.app import app as app_command
from avsr.cli.average import average
from avsr.cli.bench import bench
from avsr.cli.calibrate import calibrate
from avsr.cli.compare import compare
from avsr.cli.demo import demo
from avsr.cli.doctor import doctor
from avsr.cli.embedding import embedding
from avsr.cli.evaluate import evaluate
from avsr.cli.export import export
from avsr.cli.live import live
from avsr.cli.ngram import ngram
from avsr.cli.prepare import prepare
from avsr.cli.report import report as report_command
from avsr.cli.runs import runs
from avsr.cli.sync import sync
from avsr.cli.synth import synth
from avsr.cli.train import train
from avsr.cli.transcribe import transcribe

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audio-visual speech recognition: hears, reads lips, and keeps working when one of them "
    "is missing.",
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


COMMANDS = (
    transcribe,
    prepare,
    train,
    runs,
    adapt,
    evaluate,
    report_command,
    compare,
    doctor,
    app_command,
    live,
    sync,
    demo,
    bench,
    calibrate,
    embedding,
    average,
    export,
    ngram,
    synth,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(models.app, name="models")


def main(arguments: Sequence[str] | None) -> int:
    """Runs a command, see avsr.cli.main; returns the exit status."""
    set_up_streams()
    library, lines = logging.getLogger("avsr"), Lines(logging.WARNING)
    library.addHandler(lines)
    loud = QUIET_MEDIAPIPE not in os.environ
    os.environ[QUIET_MEDIAPIPE] = "1"  # standard error is ours, and our workers'
    try:
        with interruptible():
            _refuse_no_folder()
            status = app(args=arguments, prog_name="avsr", standalone_mode=False)
            sys.stdout.flush()
        # newer typer catches it itself, older raises Abort
        if stop.number is not None or status == INTERRUPTED:
            return interrupted()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        return 1
    except Exception as error:
        if stop.number is not None:  # libraries turn an interrupt into errors of their own
            return interrupted()
        if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
            return usage(error)
        return report(error)
    finally:
        drop_unwritten()
        library.removeHandler(lines)
        if loud:
            del os.environ[QUIET_MEDIAPIPE]


def _refuse_no_folder() -> None:
    """Refuses to work where libraries and relative paths would lead nowhere.

    Raises:
        AvsrError: the current folder was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise AvsrError("the current folder is gone: go to another, with cd") from error
