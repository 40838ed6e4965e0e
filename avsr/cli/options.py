"""The choices that options offer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsr.base.errors import UsageError

MANY = "Many recordings"  # a part of the help


class Format(StrEnum):
    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    ass = "ass"
    tsv = "tsv"
    json = "json"
    all = "all"


class Modality(StrEnum):
    auto = "auto"
    av = "av"
    audio = "audio"
    video = "video"


class Corpus(StrEnum):
    grid = "grid"
    folder = "folder"
    lombardgrid = "lombardgrid"
    lrs2 = "lrs2"
    lrs3 = "lrs3"
    lrw = "lrw"
    muavic = "muavic"
    tcdtimit = "tcdtimit"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine, typer.Option(help="Processes of this machine, or actors of a Ray cluster.")
]


class Splits(StrEnum):
    unseen = "unseen"
    overlapped = "overlapped"


class Crops(StrEnum):
    own = "own"
    research = "research"


class Suite(StrEnum):
    clean = "clean"
    quick = "quick"
    release = "release"
    speakers = "speakers"
    masked = "masked"
    full = "full"


class Normalizer(StrEnum):
    none = "none"
    basic = "basic"
    grid = "grid"


CAPTIONS = "Subtitles, films and pages"  # a part of the help
DEVICES = ("auto", "cpu", "cuda", "mps")


def device_name(text: str) -> str:
    """A device's name, also cuda:1 and the like; whether the machine has it is found out where it
    is used."""
    kind, _, index = text.partition(":")
    if kind not in DEVICES or (":" in text and not (kind == "cuda" and index.isdecimal())):
        names = ", ".join(map(repr, DEVICES))
        raise typer.BadParameter(f"{text!r}: use one of {names}, or a certain card as in 'cuda:1'")
    return text


DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        callback=device_name,
        help="Where to compute; auto takes the best there is.",
    ),
]


def model_file(path: Path | None) -> Path | None:
    """The path of a model to write."""
    if path is not None and path.suffix != ".safetensors":
        raise typer.BadParameter(f"{path}: must end in .safetensors, as all models do")
    return path


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name from `avsr models`, or a .safetensors file.")
]
DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="Shards made by `avsr prepare`: a folder or a URL.")
]
ModelOutArgument = Annotated[
    Path,
    typer.Argument(metavar="OUT", callback=model_file, help="The .safetensors file to write."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that avsr did not write; never an input."),
]
SplitOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only clips of this part of the corpus, for example val."),
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the first so many clips.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, metavar="S", help="Of draws and noise: same seed, same result.")
]
KeepOption = Annotated[
    float | None,
    typer.Option(
        "--keep",
        min=0.01,
        max=1,
        metavar="SHARE",
        help="In place of --min-confidence: this share of the recognised texts, the surest ones.",
    ),
]
LayoutOption = Annotated[
    str,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="Of subtitles: some of chars=42,lines=2,shortest=1,longest=7,speed=20.",
        rich_help_panel=CAPTIONS,
    ),
]
HighlightOption = Annotated[
    bool,
    typer.Option(
        "--highlight",
        help="Words of vtt and ass in colours: heard or lip-read, sure or not.",
        rich_help_panel=CAPTIONS,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Processes that share the cores, each with a recording and a model of its own.",
        rich_help_panel=MANY,
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=1,
        metavar="SECONDS",
        help="That one recording may take at most.",
        rich_help_panel=MANY,
    ),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        min=1,
        metavar="MB",
        help="Memory that one recording may take at most.",
        rich_help_panel=MANY,
    ),
]


def least_of(min_confidence: float | None, keep: float | None, usual: float) -> float:
    """The confidence from which on texts are kept, where no share is asked for.

    Raises:
        UsageError: both are given.
    """
    if min_confidence is not None and keep is not None:
        raise UsageError("--keep stands in place of --min-confidence: leave one of the two out")
    return usual if min_confidence is None else min_confidence


def adapted(model: str, adapter: Path | None) -> str:
    """A model with what `avsr adapt` learnt for it; itself where there is none.

    Raises:
        UsageError: it is no network of ours.
    """
    if adapter is None:
        return model
    from avsr.recognisers.ours import with_adapter
    from avsr.recognisers.registry import takes_adapter

    if not takes_adapter(model):
        raise UsageError(
            f"--adapter {adapter}: is for a network that avsr adapt can adapt, and model "
            f"{model!r} is none: leave one of the two out"
        )
    return with_adapter(model, adapter)
