"""avsr synth: clips made from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable


def synth(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the clips, made where missing.")
    ],
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 100,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Fixes all of them.")] = 0,
    voices: Annotated[
        bool, typer.Option("--voices", help="Sound alone, by several speech engines.")
    ] = False,
    engines: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="With --voices: these engines; by default those of Debian."
        ),
    ] = None,
) -> None:
    """Make talking-head clips, or voices alone, with their texts: `avsr prepare folder` reads them.

    A folder that was begun is gone on with.
    """
    from avsr.preprocessing.synthetic import corpus

    chosen = [name.strip() for name in engines.split(",")] if engines else []
    for name in chosen:
        if name not in corpus.SHARES:
            known = ", ".join(corpus.SHARES)
            raise typer.BadParameter(f"{name!r}: use some of {known}", param_hint="--engines")
    if chosen and not voices:
        raise typer.BadParameter("needs --voices", param_hint="--engines")
    if voices:
        corpus.make_voices(out, clips, seed, chosen or corpus.DEFAULT_ENGINES)
    else:
        corpus.make_corpus(out, clips, seed)
    print(printable(str(out)))
