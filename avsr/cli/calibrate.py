"""avsr calibrate: confidences and word times that are true."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import progress, say
from avsr.base.errors import AvsrError
from avsr.cli.options import (
    DataArgument,
    DeviceOption,
    ModelArgument,
    OverwriteOption,
    SeedOption,
    model_file,
)

OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=model_file,
        help="The calibrated model, another file than MODEL.",
    ),
]
FitSplitOption = Annotated[str, typer.Option(metavar="NAME", help="Clips to fit on.")]
ReportSplitOption = Annotated[str, typer.Option(metavar="NAME", help="Clips to measure on.")]
ClipsOption = Annotated[int, typer.Option(min=1, metavar="N", help="To fit on, of each condition.")]
MeasuredOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Measure on so many clips only.")
]
GrammarOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What is said to the model is of this grammar: grid."),
]
OtherOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Recordings of other speech, for the model to tell its own from; with --grammar.",
    ),
]
NoFitOption = Annotated[
    bool, typer.Option("--no-fit", help="Measure the model as it is, and write none.")
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the results as JSON."),
]


def calibrate(
    model: ModelArgument,
    data: DataArgument,
    out: OutOption = None,
    split: FitSplitOption = "train",
    report_split: ReportSplitOption = "val",
    clips: ClipsOption = 40,
    limit: MeasuredOption = None,
    seed: SeedOption = 17,
    grammar: GrammarOption = None,
    other: OtherOption = None,
    no_fit: NoFitOption = False,
    json_out: JsonOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Fit a model's confidences and word times to prepared clips, and measure how true they are."""
    from avsr.base import outputs
    from avsr.decoding.grammar import load_grammar
    from avsr.eval.metrics.trust import calibration, domain
    from avsr.eval.metrics.trust.reliability import report, to_markdown
    from avsr.model import checkpoint
    from avsr.preprocessing.shards import ShardIndex
    from avsr.recognisers import ours

    _check_domain(grammar, other, no_fit)
    targets = [file for file in (out, json_out) if file is not None]
    _check_folders(targets)
    outputs.refuse(targets, [checkpoint.resolve(model)], overwrite=overwrite)

    before, index = ours.load(model, device), ShardIndex(data)
    after = before
    if not no_fit:
        with progress("fitting", unit="clips") as tell:
            after = calibration.calibrate(
                before, index, split=split, clips=clips, seed=seed, progress=tell
            )
        if grammar is not None:
            after.info["grammar"] = grammar
    if other is not None and grammar is not None:
        with progress("other speech", unit="pieces") as tell:
            after.info["domain"] = domain.fit_domain(
                after, index, other, load_grammar(grammar), split=split, seed=seed, progress=tell
            )
    rows = calibration.REPORT_ROWS
    with progress("measuring", unit="clips") as tell:
        unseen = calibration.observe(
            before, index, report_split, rows, clips=limit, seed=seed, progress=tell
        )
    results = report(before, after, unseen)
    if not no_fit:
        results["fitted"] = calibration.note_errors(after, results, report_split)
        if out is not None:
            calibration.save_calibrated(checkpoint.resolve(model), out, after)
    if json_out is not None:
        outputs.write(json_out, [json.dumps(results, indent=1, allow_nan=False).encode(), b"\n"])
    print(to_markdown(results), end="")
    if not no_fit and out is None:
        say("fitted for this report alone: --out FILE keeps it")


def _check_folders(targets: Sequence[Path]) -> None:
    """Refuses files that could not be written, now and not after all the work."""
    for file in targets:
        if not file.resolve().parent.is_dir():
            raise AvsrError(f"{file}: its folder does not exist: make it, or name another file")


def _check_domain(grammar: str | None, other: Path | None, no_fit: bool) -> None:
    """Refuses a grammar that is not known, and other speech that nothing is fitted to."""
    from avsr.decoding.grammar import GRAMMARS

    if other is not None and (grammar is None or no_fit):
        raise typer.BadParameter("goes with --grammar, and not with --no-fit", param_hint="--other")
    if grammar is not None and grammar not in GRAMMARS:
        known = ", ".join(GRAMMARS)
        raise typer.BadParameter(f"{grammar!r}: use {known}", param_hint="--grammar")
