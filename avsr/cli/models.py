"""avsr models: what can be named, and how more comes to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from avsr.base import settings
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

    rows = [*_own(), *_imported(), *_others()]
    if not rows:
        say(f"no model is installed; put one into {checkpoint.data_folder()}")
    default = settings.default_model() or checkpoint.DEFAULT
    columns = ("name", "where", "MB", "parameters", "tokens", "knows", "sha256")
    table = Table(*columns, box=None, pad_edge=False)
    for name, *rest in rows:
        table.add_row(f"{name} (default)" if name == default else name, *rest)
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def _own() -> Iterator[tuple[str, ...]]:
    """Models of avsr's own kind, a row each."""
    from avsr.model import checkpoint

    for entry in checkpoint.list_models():
        yield (
            entry.name,
            entry.where,
            f"{entry.size_bytes / 1e6:.1f}",
            f"{entry.parameters:,}",
            str(entry.vocabulary),
            entry.problem or str(entry.info.get("knows", "")),
            entry.sha256[:16],
        )


def _imported() -> Iterator[tuple[str, ...]]:
    """Models that the user imported, a row each."""
    from avsr.imported import store

    for entry in store.list_installed():
        found = entry.description
        knows = entry.problem or ""
        if found is not None:
            knows = f"{found.network.family}: {', '.join(found.network.modalities)}"
        yield (
            entry.name,
            "imported",
            f"{entry.size_bytes / 1e6:.1f}",
            f"{entry.size_bytes // store.BYTES:,}",
            "" if found is None else str(found.network.vocabulary),
            knows,
            "",
        )


def _others() -> Iterator[tuple[str, ...]]:
    """Models of other families, a row each."""
    from avsr.recognisers import registry

    for name, about in registry.others().items():
        yield name, "installed", "", "", "", about, ""


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="Checkpoint of Auto-AVSR or USR 2.0: .pth, .ckpt or .safetensors."),
    ],
    units: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The list of its tokens, if not beside the checkpoint."),
    ] = None,
    lm: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A language model over the same tokens."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call it; after its file if not told."),
    ] = None,
) -> None:
    """Install a research checkpoint that you have; nothing in it is run."""
    from avsr.imported.importing import import_checkpoint
    from avsr.imported.store import licence_note
    from avsr.recognisers import registry

    taken = [*registry.known(), *registry.offered()]
    name, found = import_checkpoint(file, units, lm, name, taken)
    say(licence_note(found.network.family))
    print(printable(name))


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As whisper-small.")],
) -> None:
    """Fetch a model of others; says first how large it is. What was stopped goes on."""
    from avsr.base.console import progress
    from avsr.recognisers import registry

    with progress(name, unit="MB") as bar:
        folder = registry.get(name, lambda done, of: bar(done / 1e6, of / 1e6), say)
    print(printable(str(folder)))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An imported or fetched model.")],
) -> None:
    """Take an imported or fetched model away."""
    from avsr.imported import store
    from avsr.recognisers import registry

    freed = registry.remove(name)
    if freed is None:
        freed = store.remove(name)
    if settings.default_model() == name:
        settings.choose_default_model(None)
        say(f"{name} was the default model; now that is the bundled one again")
    say(f"{name} is removed, {freed / 1e6:.0f} MB are free")


@app.command()
def default(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="As `avsr models` lists it, or A+B."),
    ] = None,
) -> None:
    """Choose the model that runs where none is named, and remember it; without NAME, tell it."""
    from avsr.model import checkpoint
    from avsr.recognisers import registry

    if name is None:
        print(printable(settings.default_model() or checkpoint.DEFAULT))
        return
    if not registry.is_known(name):
        known = ", ".join(registry.known())
        raise UsageError(f"model {name!r}: not installed (there are {known})")
    settings.choose_default_model(None if name == checkpoint.DEFAULT else name)
    say(f"{name} is the default model from now on")


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

    Train it with `avsr train grid --set init=OUT`.
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
