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


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


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
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes the best there is.")]
