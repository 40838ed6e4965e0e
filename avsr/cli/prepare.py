"""avsr prepare: a corpus to shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import note, printable, progress
from avsr.base.errors import UsageError
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
    download: Annotated[
        str | None,
        typer.Option(
            metavar="s1,s2,...|all",
            help="Fetch these speakers of grid to SRC first, from its official archive.",
        ),
    ] = None,
    max_skipped: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the clips over which the run fails."),
    ] = 0.2,
) -> None:
    """Cut a corpus into shards of lips and sound, ready to train on. Run it again to go on after a
    stop."""
    from avsr.preprocessing.prepare import prepare as run

    if download is not None:
        _fetch(corpus, src, download)
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


def _fetch(corpus: Corpus, src: Path, parts: str) -> None:
    """Fetches parts of a corpus, which say what is allowed where they are none."""
    from avsr.preprocessing.corpora import corpus as find_corpus

    module = find_corpus(corpus.value)
    if not hasattr(module, "fetch"):
        raise UsageError(f"{corpus.value} cannot be fetched: its makers ask for more than a click")
    names = [name.strip() for name in parts.split(",") if name.strip()]
    with progress(f"fetching {corpus.value}", unit="MB") as tell:
        fetched = module.fetch(src, names, tell)
    note(f"fetched to {src}: {', '.join(fetched) or 'nothing, all of it is there'}")
