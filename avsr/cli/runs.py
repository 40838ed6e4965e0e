"""avsr runs: training runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable, say
from avsr.cli.options import OverwriteOption


def runs(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Runs, or folders of runs.")
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw losses and error rates as SVG (extra report)."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare training runs: what was set, losses, error rates, time.

    Standard output gets a Markdown table.
    """
    from avsr.base import outputs
    from avsr.training.tools.runs import find_runs, table
    from avsr.training.tools.runs import plot as drawn

    if plot is not None:
        outputs.refuse([plot], overwrite=overwrite)
    found = find_runs(folders, say)
    if plot is not None:
        outputs.write(plot, [drawn(found).encode()])
    for line in table(found).splitlines():
        print(printable(line))
