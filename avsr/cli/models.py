"""avsr models: what can be named, and how more comes to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable, say
from avsr.base.errors import UsageError
from avsr.cli.options import ModelOutArgument, OverwriteOption

app = typer.Typer()


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that can be named: bundled with avsr, or in your data folder."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table

    from avsr.model import checkpoint

    found = checkpoint.list_models()
    if not found:
        say(f"no model is installed; put one into {checkpoint.data_folder()}")
    columns = ("name", "where", "MB", "parameters", "tokens", "knows", "sha256")
    table = Table(*columns, box=None, pad_edge=False)
    for entry in found:
        knows = entry.problem or str(entry.info.get("knows", ""))
        default = " (default)" if entry.name == checkpoint.DEFAULT else ""
        row = (
            entry.name + default,
            entry.where,
            f"{entry.size_bytes / 1e6:.1f}",
            f"{entry.parameters:,}",
            str(entry.vocabulary),
            knows,
        )
        table.add_row(*row, entry.sha256[:16])
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


@app.command()
def encoder(
    whisper: Annotated[
        Path,
        typer.Argument(
            metavar="WHISPER",
            help="Folder with the model.bin of Whisper tiny or tiny.en, as faster-whisper has it.",
        ),
    ],
    out: ModelOutArgument,
    init: Annotated[
        str | None, typer.Option(metavar="MODEL", help="All else comes from this model.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="All else starts anew, for the texts of these shards."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a model to train from, whose audio encoder is that of Whisper.

    Train it with `avsr train grid-whisper --set init=OUT`.
    """
    from avsr.base import outputs
    from avsr.model import checkpoint
    from avsr.training.tools.whisper import FILE, start_from

    if bool(init) == bool(data):
        raise UsageError("the rest of the network: give either --init MODEL or --data DIR")
    inputs = [whisper / FILE, *([checkpoint.resolve(init)] if init else [])]
    outputs.refuse([out], inputs, overwrite=overwrite)
    model, info = start_from(whisper, init, data or [])
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, model, info)
    print(printable(str(out)))
