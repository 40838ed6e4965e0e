"""The command line. Results go to standard output and nothing else does; every mistake ends in one line.

Exit status: 0 all well, 1 some input failed (the others are done), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsr.console import Lines, failing_alone, log, note, one_line, progress, report, say, usage
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
    speakers = "speakers"
    masked = "masked"
    full = "full"


class Normalizer(StrEnum):
    none = "none"
    basic = "basic"
    grid = "grid"


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
    beam: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Width of the beam search; 0 is greedy, fastest; with --lm 16.")
    ] = None,
    lm: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An n-gram model of words (ARPA) that makes likely texts win.")
    ] = None,
    lm_weight: Annotated[
        float | None, typer.Option(min=0, max=10, help="How much the n-gram model counts, 0.3 by default.")
    ] = None,
    grammar: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Only sentences of this grammar: grid, or a file of your own."),
    ] = None,
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
    from avsr import language
    from avsr.transcribe import load_model

    spoken = language.load(lm, grammar=grammar, lm_weight=lm_weight)
    recogniser = load_model(model, device.value).with_decoding(beam, spoken)
    note(f"model {recogniser.name} on {recogniser.device}")
    failed = False
    for file in files:
        with failing_alone(file) as outcome:
            with progress(file.name) as tell:
                transcript = recogniser.transcribe(
                    file,
                    modality=modality.value,
                    face=int(face) if face.isdecimal() else face,
                    progress=tell,
                )
            for warning in transcript.warnings:
                say(f"{file}: {warning}")
            if out is None:
                text = writers.RENDERERS[names[0]](transcript)
                if len(files) > 1:
                    text = "".join(f"{one_line(str(file))}\t{line}\n" for line in text.splitlines() or [""])
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
        int | None, typer.Option(min=0, help="Processes; one for each core by default, 0 works in this one.")
    ] = None,
) -> None:
    """Cut a corpus into shards of lips and sound, ready to train on. Run it again to go on after a stop."""
    from avsr.preprocessing.prepare import prepare as run

    with progress(f"{corpus.value} {src}", unit="clips") as tell:
        summary = run(corpus.value, src, dst, workers=workers, progress=lambda done, total, _: tell(done, total))
    print(summary)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A bundled recipe's name, or a .toml file.")],
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Shards made by `avsr prepare`; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; runs/<recipe> by default.")
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
    path = run(recipe, list(data or []), folder, resume, overrides, say=log)
    if path is not None:
        print(path)


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name from `avsr models`, a .safetensors file, faster-whisper:SIZE, python:MODULE:FUNCTION or "
            "command:'PROGRAM {media}'.",
        ),
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Shards made by `avsr prepare`.")],
    suite: Annotated[
        Suite,
        typer.Option(
            help="clean: undisturbed clips, 3 rows. quick: noise and missing modalities too, 11 rows. speakers: as if "
            "others spoke, 44 rows. masked: all that can be missing, 111 rows. full: the whole protocol, 320 rows. "
            "Drawn masks and noise: once for each seed."
        ),
    ] = Suite.clean,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for results.json, report.md, report.html and every hypothesis; goes on there."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only clips of this part of the corpus, for example val.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many clips.")] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N,N,...", help="Of masks and noise: the same seed, the same conditions.")
    ] = "17",
    conditions: Annotated[
        str | None,
        typer.Option(metavar="PATTERN,...", help="Only rows whose label or axis fits, as in 'babble*,video missing'."),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(
            metavar="R_V,R_A,wer:ROW<=PERCENT", help="Exit with status 1, and say why, unless all of these hold."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with one thread and a model of its own.")] = 1,
    normalizer: Annotated[
        Normalizer,
        typer.Option(help="What is done to both texts before they are compared; grid spells digits out as well."),
    ] = Normalizer.basic,
    noise_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Recorded noises for the rows that want them.")
    ] = None,
    rir_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Recorded impulse responses for the rows that want them.")
    ] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Score a recogniser where sound or picture is noisy, missing, corrupted or out of step.

    Standard output gets the report. With --out, a run that was stopped goes on where it was.
    """
    from avsr.eval import requirements
    from avsr.eval.report import to_markdown
    from avsr.eval.robustness import evaluate as run
    from avsr.eval.suites import suite_rows

    drawn = _seeds(seeds)
    required = requirements.parse(require) if require is not None else []
    rows = suite_rows(suite.value, conditions)
    requirements.check_labels(required, [(row.condition.label, row.modality) for row in rows])
    with progress(f"{suite.value} {data}", unit="clips") as tell:
        results = run(
            model,
            data,
            suite.value,
            split=split,
            limit=limit,
            seeds=drawn,
            conditions=conditions,
            out=out,
            normalizer=normalizer.value,
            noise_dir=noise_dir,
            rir_dir=rir_dir,
            workers=workers,
            device=device.value,
            progress=tell,
        )
    print(to_markdown(results), end="")
    violated = requirements.violations(required, results)
    for line in violated:
        say(line)
    raise typer.Exit(int(bool(violated)))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of `avsr evaluate --out`, or its results.json.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same clips.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write compare.json, compare.md and the plot compare.svg here as well."),
    ] = None,
) -> None:
    """Tell which differences between two evaluations are real, row by row."""
    from avsr.eval.compare import compare_runs, save, to_markdown

    comparison = compare_runs(a, b)
    if out is not None:
        save(comparison, out)
    print(to_markdown(comparison), end="")


@app.command()
def bench(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A video; a synthetic clip by default.")] = None,
) -> None:
    """Measure the speed of every step on this machine."""
    from avsr.eval.speed import bench as run

    print(run(file, progress=note).to_markdown(), end="")


@app.command()
def models() -> None:
    """List the models that can be named: bundled with avsr, or in the user's cache."""
    from rich.console import Console
    from rich.table import Table

    from avsr import checkpoint

    found = checkpoint.list_models()
    if not found:
        say(f"no model is installed; put one into {checkpoint.cache_folder()}")
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
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the clip here.")] = None,
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
        with progress("making the clip", unit="") as tell:
            tell(0, 1)
            spoken = make_clip(clip, seed=seed)
        print(f"{'spoken':<16}{spoken}")
        for modality, label in (("av", "heard and seen"), ("audio", "heard only"), ("video", "lips only")):
            with progress(label) as tell:
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


def _seeds(text: str) -> list[int]:
    """Whole numbers with commas between them, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise typer.BadParameter(f"{text!r}: write different whole numbers, as 17,29,43", param_hint="--seeds")
    return [int(part) for part in parts]


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


if __name__ == "__main__":
    sys.exit(main())
