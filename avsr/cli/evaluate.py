"""avsr evaluate: how well a recogniser does where something is missing or disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import progress, say
from avsr.cli.options import DeviceOption, Normalizer, Suite


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name from `avsr models`, a .safetensors file, faster-whisper:SIZE, "
            "python:MODULE:FUNCTION or command:'PROGRAM {media}'.",
        ),
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Shards made by `avsr prepare`.")],
    suite: Annotated[
        Suite,
        typer.Option(
            help="clean: undisturbed clips, 3 rows. quick: noise and missing modalities too, "
            "11 rows. release: noise, and sounds that are no speech, 20 rows. speakers: as if "
            "others spoke, 44 rows. masked: all that can be missing, 111 rows. full: the whole "
            "protocol, 320 rows. "
            "Drawn masks and noise: once for each seed."
        ),
    ] = Suite.clean,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for results.json, report.md, report.html and every hypothesis; "
            "goes on there.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only clips of this part of the corpus, for example val.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many clips.")] = None,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N,N,...", help="Of masks and noise: the same seed, the same conditions."
        ),
    ] = "17",
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN,...",
            help="Only rows whose label or axis fits, as in 'babble*,video missing'.",
        ),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(
            metavar="R_V,R_A,wer:ROW<=PERCENT",
            help="Exit with status 1, and say why, unless all of these are shown to hold; "
            "undecided is no pass.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with one thread and a model of its own.")
    ] = 1,
    normalizer: Annotated[
        Normalizer,
        typer.Option(
            help="What is done to both texts before they are compared; "
            "grid spells digits out as well."
        ),
    ] = Normalizer.basic,
    noise_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Recorded noises for the rows that want them."),
    ] = None,
    rir_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Recorded impulse responses for the rows that want them."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Score a recogniser where sound or picture is noisy, missing, corrupted or out of sync.

    Standard output gets the report. With --out, a run that was stopped goes on where it was.
    """
    from avsr.eval.conditions.suites import suite_rows
    from avsr.eval.report.markdown import to_markdown
    from avsr.eval.run import requirements
    from avsr.eval.run.evaluate import evaluate as run

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
            device=device,
            progress=tell,
        )
    print(to_markdown(results), end="")
    violated = requirements.violations(required, results)
    for line in violated:
        say(line)
    raise typer.Exit(int(bool(violated)))


def _seeds(text: str) -> list[int]:
    """Whole numbers with commas between them, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise typer.BadParameter(
            f"{text!r}: write different whole numbers, as 17,29,43", param_hint="--seeds"
        )
    return [int(part) for part in parts]
