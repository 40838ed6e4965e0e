"""avsr transcribe: media files to words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.options import FACES, Device, DeviceOption, Format, Modality
from avsr.console import failing_alone, note, one_line, progress, say
from avsr.preprocessing.errors import AvsrError


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
