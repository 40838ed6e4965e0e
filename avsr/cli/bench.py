"""avsr bench: speed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.console import note


def bench(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A video; a synthetic clip by default.")] = None,
) -> None:
    """Measure the speed of every step on this machine."""
    from avsr.eval.speed import bench as run

    print(run(file, progress=note).to_markdown(), end="")
