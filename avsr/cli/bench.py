"""avsr bench: speed on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import note


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
) -> None:
    """Measure the speed of every step on this machine, and what whole calls cost."""
    from avsr.eval.metrics.speed import bench as run

    print(run(file, calls=calls.value, progress=note).to_markdown(), end="")
