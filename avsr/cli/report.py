"""avsr report: what an evaluation found, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.options import OverwriteOption


def report(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="Folder of `avsr evaluate --out`, or its results.json."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write report.md, report.html (without the worst clips) and a plot of each axis.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the report of an evaluation again, without recognising anything.

    Standard output gets the report.
    """
    from avsr.eval.metrics.results import read_results
    from avsr.eval.report.files import save_report
    from avsr.eval.report.markdown import to_markdown

    found = read_results(results)
    if out is not None:
        save_report(found, out, overwrite=overwrite)
    print(to_markdown(found), end="")
