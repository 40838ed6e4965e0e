"""avsr train: shards to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import log, printable
from avsr.base.errors import UsageError


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A bundled recipe's name, or a .toml file.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR|URL", help="Shards made by `avsr prepare`; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the run; runs/<recipe> by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the data; measure memory and speed; say how long the run takes.",
        ),
    ] = False,
    set_values: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of the recipe; may be repeated."
        ),
    ] = None,
) -> None:
    """Train a model: one run, one command."""
    overrides = list(set_values or [])
    for pair in overrides:
        if not pair.partition("=")[0] or "=" not in pair:
            raise typer.BadParameter(f"{pair!r}: write KEY=VALUE", param_hint="--set")
    if dry_run:
        if resume:
            raise UsageError("--dry-run measures a run that begins: leave --resume out")
        from avsr.training.tools.estimate import estimate

        print(estimate(recipe, list(data or []), overrides, say=log))
        return
    from avsr.training.train import train as run

    folder = out or Path("runs") / Path(recipe).stem
    path = run(recipe, list(data or []), folder, resume, overrides, say=log)
    if path is not None:
        print(printable(str(path)))
