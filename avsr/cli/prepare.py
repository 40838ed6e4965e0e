"""avsr prepare: a corpus to shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable, progress
from avsr.cli.options import Corpus, Crops, Splits


def prepare(
    corpus: Annotated[
        Corpus, typer.Argument(help="How SRC is laid out; folder: videos with .txt beside them.")
    ],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The corpus.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the shards.")],
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; one for each core by default, 0 works in this one."),
    ] = None,
    crops: Annotated[
        Crops,
        typer.Option(
            help="How mouths are cut out: own for training, research for imported models."
        ),
    ] = Crops.own,
    splits: Annotated[
        Splits | None,
        typer.Option(help="Standard splits of grid, in place of lists in SRC; see the corpora."),
    ] = None,
    max_skipped: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the clips over which the run fails."),
    ] = 0.2,
) -> None:
    """Cut a corpus into shards of lips and sound, ready to train on. Run it again to go on after a
    stop."""
    from avsr.preprocessing.prepare import prepare as run

    with progress(f"{corpus.value} {src}", unit="clips") as tell:
        summary = run(
            corpus.value,
            src,
            dst,
            workers=workers,
            crops=crops.value,
            splits=splits.value if splits else None,
            max_loss=max_skipped,
            progress=lambda done, total, _: tell(done, total),
        )
    print(*map(printable, str(summary).splitlines()), sep="\n")
