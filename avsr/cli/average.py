"""avsr average: a checkpoint and one that was trained on from it."""

from __future__ import annotations

from typing import Annotated

import typer

from avsr.base.console import printable
from avsr.cli.options import ModelOutArgument, OverwriteOption


def average(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A model.")],
    second: Annotated[
        str, typer.Argument(metavar="SECOND", help="One that was trained on from it.")
    ],
    out: ModelOutArgument,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the second.")] = 0.5,
    overwrite: OverwriteOption = False,
) -> None:
    """Average the weights of two checkpoints: what the second leg won, without all that it lost."""
    from avsr.base import outputs
    from avsr.model import checkpoint
    from avsr.training.tools.average import average as mean_of

    inputs = [checkpoint.resolve(name) for name in (first, second)]
    outputs.refuse([out], inputs, overwrite=overwrite)
    (old, _), (new, info) = checkpoint.load(first), checkpoint.load(second)
    checkpoint.save(out, mean_of(old, new, share), {**info, "averaged_share": share})
    print(printable(str(out)))
