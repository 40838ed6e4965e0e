"""avsr ngram: texts to an n-gram model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable
from avsr.cli.options import OverwriteOption


def ngram(
    texts: Annotated[
        str,
        typer.Argument(
            metavar="TEXTS",
            help="A text file with a sentence a line, or shards: a folder or a URL.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .arpa file to write.")],
    order: Annotated[int, typer.Option(min=1, max=5, help="Longest n-gram, in words.")] = 3,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Clips of the shards to take.")
    ] = "train",
    overwrite: OverwriteOption = False,
) -> None:
    """Make an n-gram model of the words of texts, for `avsr transcribe --lm`."""
    from avsr.base import outputs
    from avsr.decoding.ngram import estimate, texts_of, write_arpa

    outputs.refuse([out], [texts], overwrite=overwrite)
    write_arpa(out, estimate(texts_of(texts, split), order))
    print(printable(str(out)))
