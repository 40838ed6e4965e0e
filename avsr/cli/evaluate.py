"""avsr evaluate: how well a recogniser does where something is missing or disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import progress, say
from avsr.cli.options import (
    DataArgument,
    DeviceOption,
    Engine,
    EngineOption,
    LimitOption,
    Normalizer,
    SplitOption,
    Suite,
)

RecogniserArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from `avsr models`, a .safetensors file, A+B for two in one, "
        "faster-whisper:SIZE, python:MODULE:FUNCTION or command:'PROGRAM {media}'.",
    ),
]
SuiteOption = Annotated[
    Suite,
    typer.Option(
        help="clean: undisturbed clips, 3 test conditions. quick: noise and missing modalities "
        "too, 11. release: noise, and sounds that are no speech, 20. speakers: as if others "
        "spoke, 44. masked: all that can be missing, 111. full: the whole protocol, 320. Drawn "
        "masks and noise: once for each seed."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for results.json, report.md, report.html and every hypothesis; goes on there.",
    ),
]
SeedsOption = Annotated[
    str,
    typer.Option(metavar="N,N,...", help="Of masks and noise: the same seed, the same conditions."),
]
ConditionsOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN,...",
        help="Only test conditions whose label or axis fits, as in 'babble*,video missing'.",
    ),
]
RequireOption = Annotated[
    str | None,
    typer.Option(
        metavar="R_V,R_A,wer:CONDITION<=PERCENT",
        help="Exit with status 1, and say why, unless all of these are shown to hold; "
        "undecided is no pass.",
    ),
]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Processes, each with one thread and a model of its own.")
]
NormalizerOption = Annotated[
    Normalizer,
    typer.Option(
        help="What is done to both texts before they are compared; grid spells digits out as well."
    ),
]
NoiseOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Recorded noises for the conditions that want them."),
]
RoomsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Recorded impulse responses for the conditions that want them."
    ),
]


def evaluate(
    model: RecogniserArgument,
    data: DataArgument,
    suite: SuiteOption = Suite.clean,
    out: OutOption = None,
    split: SplitOption = None,
    limit: LimitOption = None,
    seeds: SeedsOption = "17",
    conditions: ConditionsOption = None,
    require: RequireOption = None,
    workers: WorkersOption = 1,
    engine: EngineOption = Engine.local,
    normalizer: NormalizerOption = Normalizer.basic,
    noise_dir: NoiseOption = None,
    rir_dir: RoomsOption = None,
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
            engine=engine.value,
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
