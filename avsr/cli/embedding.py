"""avsr embedding: how well a model's contrastive embedding of sound and lips works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import progress
from avsr.cli.options import (
    DataArgument,
    DeviceOption,
    LimitOption,
    ModelArgument,
    OverwriteOption,
    SeedOption,
    SplitOption,
)


def embedding(
    model: ModelArgument,
    data: DataArgument,
    split: SplitOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 17,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the results as JSON.")
    ] = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model's audio-visual embedding: whose lips go with a sound, and how far apart are
    the two."""
    from avsr.base import outputs
    from avsr.eval.metrics.embedding import measure, to_markdown
    from avsr.recognisers import ours

    if out is not None:
        outputs.refuse([out], [model], overwrite=overwrite)
        outputs.make_folder(out.absolute().parent, "choose another with --out")
    recogniser = ours.load(model, device)
    with progress(f"{recogniser.name} on {data}", unit="clips") as tell:
        results = measure(recogniser, data, split=split, limit=limit, seed=seed, progress=tell)
    if out is not None:
        body = json.dumps(results, ensure_ascii=False, indent=1, allow_nan=False)
        outputs.write(out, [body.encode(), b"\n"])
    print(to_markdown(results), end="")
