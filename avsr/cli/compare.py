"""avsr compare: two evaluations, condition by condition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[
        Path,
        typer.Argument(metavar="A", help="Folder of `avsr evaluate --out`, or its results.json."),
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same clips.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write compare.json, compare.md and the plot compare.svg here as well.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in DIR that avsr did not write.")
    ] = False,
) -> None:
    """Tell which differences between two evaluations are real, condition by condition."""
    from avsr.eval.metrics.compare import compare_runs
    from avsr.eval.report.comparison import to_markdown
    from avsr.eval.report.files import save_comparison

    comparison = compare_runs(a, b)
    if out is not None:
        save_comparison(comparison, out, overwrite)
    print(to_markdown(comparison), end="")
