"""avsr bench: speed on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import note
from avsr.base.errors import UsageError


class Calls(StrEnum):
    none = "none"
    short = "short"
    long = "long"


def bench(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A video; a synthetic clip by default.")
    ] = None,
    calls: Annotated[
        Calls,
        typer.Option(
            help="Whole calls on 3 s and 1 min of video, or on 10 min too, which takes minutes."
        ),
    ] = Calls.short,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Time the training of this recipe instead."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR|URL", help="With --recipe: shards; may be repeated."),
    ] = None,
    set_values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --recipe: change a value of it."),
    ] = None,
    batches: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --recipe: how many to time.")
    ] = 6,
) -> None:
    """Measure the speed of every step on this machine: of transcribing, or of training a recipe."""
    if recipe is None:
        if data or set_values:
            raise UsageError("--data and --set are for training: give --recipe RECIPE as well")
        from avsr.eval.metrics.cost.speed import bench as run

        print(run(file, calls=calls.value, progress=note).to_markdown(), end="")
        return
    if file is not None or not data:
        raise UsageError("--recipe RECIPE takes shards, --data DIR, and no FILE")
    from avsr.training.tools.speed import measure

    print(measure(recipe, data, set_values or [], batches))
