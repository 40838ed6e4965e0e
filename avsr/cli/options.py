"""The choices that options offer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    txt = "txt"
    srt = "srt"
    vtt = "vtt"
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


class Suite(StrEnum):
    clean = "clean"
    quick = "quick"
    speakers = "speakers"
    masked = "masked"
    full = "full"


class Normalizer(StrEnum):
    none = "none"
    basic = "basic"
    grid = "grid"


FACES = ("main", "largest", "left", "right")
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
