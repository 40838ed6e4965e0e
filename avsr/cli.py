"""The command line. Results go to standard output and nothing else does; every mistake ends in one line.

Exit status: 0 all well, 1 some input failed (the others are done), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsr.preprocessing.errors import AvsrError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audio-visual speech recognition: hears, reads lips, and keeps working when one of them is missing.",
)


class Format(StrEnum):
    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"
    json = "json"
    all = "all"


class Modality(StrEnum):
    auto = "auto"
    av = "av"
    audio = "audio"
    video = "video"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Corpus(StrEnum):
    grid = "grid"
    folder = "folder"


class Suite(StrEnum):
    clean = "clean"
    quick = "quick"


FACES = ("main", "largest", "left", "right")
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes the best there is.")]


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


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos or sound files.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write <stem>.<format> here instead of to standard output."),
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="all needs -o.")] = Format.txt,
    modality: Annotated[Modality, typer.Option(help="auto uses what is there; the others insist on it.")] = (
        Modality.auto
    ),
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="A name from `avsr models`, or a file.")] = "default",
    beam: Annotated[int, typer.Option(min=0, max=1000, help="Width of the beam search; 0 is greedy, fastest.")] = 0,
    face: Annotated[
        str,
        typer.Option(metavar="RULE", help="Whose lips: main (longest and largest), largest, left, right, or a number."),
    ] = "main",
    device: DeviceOption = Device.auto,
) -> None:
    """Turn videos into words, with times, confidences, and how much of each word was heard.

    Without -o the text of several files is printed as lines of FILE, a tab, and the text.
    """
    from avsr import writers

    if face not in FACES and not face.isdecimal():
        raise typer.BadParameter(f"{face!r}: use {', '.join(FACES)} or the number of a face", param_hint="--face")
    names = writers.formats(format.value)
    _refuse_output(files, out, names)
    from avsr.transcribe import load_model

    recogniser = load_model(model, device.value)
    _note(f"model {recogniser.name} on {recogniser.device}")
    failed = False
    for file in files:
        with _failing_alone(file) as outcome:
            with _progress(file.name) as tell:
                transcript = recogniser.transcribe(
                    file,
                    modality=modality.value,
                    beam=beam,
                    face=int(face) if face.isdecimal() else face,
                    progress=tell,
                )
            for warning in transcript.warnings:
                _say(f"{file}: {warning}")
            if out is None:
                text = writers.RENDERERS[names[0]](transcript)
                if len(files) > 1:
                    text = "".join(f"{_one_line(str(file))}\t{line}\n" for line in text.splitlines() or [""])
                print(text, end="", flush=True)
            else:
                for name in names:
                    writers.write(transcript, out / f"{file.stem}.{name}")
        failed |= outcome.failed
    raise typer.Exit(int(failed))


@app.command()
def prepare(
    corpus: Annotated[Corpus, typer.Argument(help="How SRC is laid out; folder: videos with .txt beside them.")],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The corpus.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the shards.")],
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; one for each core by default, 0 works in this one."),
    ] = None,
) -> None:
    """Cut a corpus into shards of lips and sound, ready to train on. Run it again to go on after a stop."""
    from avsr.preprocessing.prepare import prepare as run

    with _progress(f"{corpus.value} {src}", unit="clips") as tell:
        summary = run(corpus.value, src, dst, workers=workers, progress=lambda done, total, _: tell(done, total))
    print(summary)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A bundled recipe's name, or a .toml file.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Shards made by `avsr prepare`; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the run; runs/<recipe> by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    set_values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; may be repeated."),
    ] = None,
) -> None:
    """Train a model: one run, one command."""
    overrides = list(set_values or [])
    for pair in overrides:
        if not pair.partition("=")[0] or "=" not in pair:
            raise typer.BadParameter(f"{pair!r}: write KEY=VALUE", param_hint="--set")
    from avsr.training.train import train as run

    folder = out or Path("runs") / Path(recipe).stem
    path = run(recipe, list(data or []), folder, resume, overrides, say=_log)
    if path is not None:
        print(path)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `avsr models`, or a file.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Shards made by `avsr prepare`.")],
    suite: Annotated[Suite, typer.Option(help="clean: undisturbed clips. quick: noise and missing modalities too.")] = (
        Suite.clean
    ),
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for results.json, report.md and every hypothesis; goes on there."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Only clips of this part of the corpus, for example val."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many clips."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of masks and noise: the same seed, the same conditions.")] = 17,
    device: DeviceOption = Device.auto,
) -> None:
    """Score a model where sound or picture is noisy or missing."""
    from avsr.eval.report import to_markdown
    from avsr.eval.robustness import evaluate as run
    from avsr.transcribe import load_model

    recogniser = load_model(model, device.value)
    _note(f"model {recogniser.name} on {recogniser.device}")
    with _progress(f"{suite.value} {data}", unit="clips") as tell:
        results = run(recogniser, data, suite.value, split=split, limit=limit, seed=seed, out=out, progress=tell)
    print(to_markdown(results), end="")


@app.command()
def bench(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A video; a synthetic clip by default."),
    ] = None,
) -> None:
    """Measure the speed of every step on this machine."""
    from avsr.eval.speed import bench as run

    print(run(file, progress=_note).to_markdown(), end="")


@app.command()
def models() -> None:
    """List the models that can be named: bundled with avsr, or in the user's cache."""
    from rich.console import Console
    from rich.table import Table

    from avsr import checkpoint

    found = checkpoint.list_models()
    if not found:
        _say(f"no model is installed; put one into {checkpoint.cache_folder()}")
    columns = ("name", "where", "MB", "parameters", "tokens", "knows", "sha256")
    table = Table(*columns, box=None, pad_edge=False)
    for entry in found:
        knows = entry.problem or str(entry.info.get("knows", ""))
        size, default = f"{entry.size_bytes / 1e6:.1f}", " (default)" if entry.name == checkpoint.DEFAULT else ""
        row = (entry.name + default, entry.where, size, f"{entry.parameters:,}", str(entry.vocabulary), knows)
        table.add_row(*row, entry.sha256[:16])
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another sentence and voice.")] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the clip here."),
    ] = None,
) -> None:
    """Make a talking-head clip and transcribe it three ways: no input needed."""
    from tempfile import TemporaryDirectory

    from avsr.preprocessing.synthetic import make_clip
    from avsr.transcribe import load_model

    recogniser = load_model()
    with TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        clip = folder / f"demo-{seed}.mp4"
        with _progress("making the clip", unit="") as tell:
            tell(0, 1)
            spoken = make_clip(clip, seed=seed)
        print(f"{'spoken':<16}{spoken}")
        for modality, label in (("av", "heard and seen"), ("audio", "heard only"), ("video", "lips only")):
            with _progress(label) as tell:
                transcript = recogniser.transcribe(clip, modality=modality, progress=tell)
            print(f"{label:<16}{transcript.text or '(nothing)'}", flush=True)
    if keep:
        print(f"{'clip':<16}{clip}")
    print(
        "The bundled model knows the 51 words of the GRID corpus and no others; README.md says how to train your own."
    )


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
    library, lines = logging.getLogger("avsr"), _Lines(logging.WARNING)
    library.addHandler(lines)
    try:
        status = app(args=arguments, prog_name="avsr", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # newer typer catches it itself, older raises Abort
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has seen enough; nor may the last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
            return _usage(error)
        _report(error)
        return 1
    finally:
        library.removeHandler(lines)


def _usage(error: Exception) -> int:
    """One line about wrong usage, with where to look it up."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "avsr"
    _say(f"{error.format_message()} ({command} --help shows what is allowed)")  # type: ignore[attr-defined]
    return 2


def _refuse_output(files: Sequence[Path], out: Path | None, names: Sequence[str]) -> None:
    """Refuses, before any work, what could not be written without loss; makes the output folder.

    Raises:
        typer.BadParameter: two inputs with one output name, or several renderings on standard output.
    """
    if out is None:
        if len(names) > 1:
            raise typer.BadParameter("several formats need a folder: give it with -o DIR", param_hint="-f all")
        if len(files) > 1 and names != ["txt"]:
            raise typer.BadParameter("several files need a folder: give it with -o DIR", param_hint=f"-f {names[0]}")
        return
    first: dict[str, Path] = {}
    for file in files:
        other = first.setdefault(file.stem, file)
        if other is not file:
            raise typer.BadParameter(
                f"{other} and {file} would both be written to {out / file.stem}.{names[0]}: rename one, "
                "or use two folders",
                param_hint="FILE",
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvsrError(f"{out}: no folder can be made there ({error.strerror}): choose another with -o") from error


class _Outcome:
    failed = False


@contextmanager
def _failing_alone(file: Path) -> Iterator[_Outcome]:
    """One file's trouble is one line, and the next file's turn."""
    outcome = _Outcome()
    try:
        yield outcome
    except BrokenPipeError:
        raise
    except Exception as error:
        outcome.failed = True
        _report(error, file)


def _report(error: Exception, file: Path | None = None) -> None:
    """One line about an error: as it is where it was made for users, else with its type and how to see more."""
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
    _say(where + message)


def _say(message: str) -> None:
    """One line on standard error, whatever is in the message."""
    print("avsr:", _one_line(message), file=sys.stderr, flush=True)


def _one_line(text: str) -> str:
    """Text without line breaks and tabs, which a file's name may hold."""
    return " ".join(text.split())


class _Lines(logging.Handler):
    """Hands the library's warnings, about damaged packets for instance, to `_say`."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


def _log(line: str) -> None:
    """A line of a long run's log; its result alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def _note(message: str) -> None:
    """Something nice to know, for people at a terminal."""
    if sys.stderr.isatty():
        _say(message)


@contextmanager
def _progress(what: str, unit: str = "s") -> Iterator[Callable[[float, float], None]]:
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


if __name__ == "__main__":
    sys.exit(main())
