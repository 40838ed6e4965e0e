"""avsr live: captions while somebody speaks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsr.base.console import note, one_line, printable, say
from avsr.base.errors import MediaError, UsageError
from avsr.cli.options import DeviceOption, Modality, adapted
from avsr.cli.transcribe import AdapterOption, ModalityOption, ModelOption
from avsr.decoding.words import join

if TYPE_CHECKING:
    from avsr.decoding.words import Word
    from avsr.live.captions import Caption
    from avsr.live.session import Source

CLEAR_LINE = "\r\x1b[K"
WIDTH = 78  # columns of what may still change


def live(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Played as if it were a device; else the devices."),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="N|NAME", help="Which camera; the first one.")
    ] = None,
    microphone: Annotated[
        str | None, typer.Option(metavar="N|NAME", help="Which microphone; the usual one.")
    ] = None,
    modality: ModalityOption = Modality.auto,
    model: ModelOption = "default",
    adapter: AdapterOption = None,
    step: Annotated[
        float, typer.Option(min=0.1, max=5, metavar="S", help="Seconds between two looks.")
    ] = 0.4,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each change, its words with times.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Caption what is said while it is said, from a camera and a microphone, or from a file.

    Printed are lines that will not change; at a terminal also the words that still may. Ctrl-C ends
    it. At the end it is told how long the words took.
    """
    from avsr.live import session
    from avsr.transcribing.transcribe import load_model

    if file is not None and (camera is not None or microphone is not None):
        raise UsageError("give a file, or --camera and --microphone, not both")
    source = _source(file, camera, microphone, modality.value)  # what is not there is told at once
    try:
        recogniser = load_model(adapted(model, adapter), device)
        note(f"model {recogniser.name} on {recogniser.device}; Ctrl-C ends it")
        latency = session.Latency()
        try:
            _show(session.live(source, recogniser, modality.value, latency, step), as_json=as_json)
        except KeyboardInterrupt:  # the usual end
            say(str(latency))
            raise
    finally:
        source.close()
    say(str(latency))


def _show(captions: Iterable[Caption], *, as_json: bool) -> None:
    """Prints captions as they come."""
    line: list[Word] = []
    moves = sys.stderr.isatty() and not as_json
    for caption in captions:
        if moves:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
        line += caption.final
        if as_json:
            print(json.dumps(_fields(caption)), flush=True)
        elif caption.ended and line:
            print(f"{_clock(line[0].start_s)}  {printable(join(line))}", flush=True)
        if caption.ended:
            line = []
        if moves:
            text = one_line(join([*line, *caption.partial]))[-WIDTH:]
            print(text, end="", file=sys.stderr, flush=True)
    if moves:
        print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
    if line and not as_json:
        print(f"{_clock(line[0].start_s)}  {printable(join(line))}", flush=True)


def _fields(caption: Caption) -> dict[str, Any]:
    """A caption for programs."""
    return {
        "heard_s": round(caption.heard_s, 2),
        "final": [_word(word) for word in caption.final],
        "partial": [_word(word) for word in caption.partial],
        "ended": caption.ended,
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start_s": round(word.start_s, 3),
        "end_s": round(word.end_s, 3),
        "confidence": round(word.confidence, 4),
        "audio_weight": round(word.audio_weight, 4),
    }


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:d}:{seconds % 60:04.1f}"


def _source(file: Path | None, camera: str | None, microphone: str | None, modality: str) -> Source:
    """What is captioned: a file, or devices; without any named, those that can be opened.

    Raises:
        MediaError: none of them can.
    """
    from avsr.live.session import Played
    from avsr.preprocessing.media import arriving

    if file is not None:
        return Played(file, modality)
    wanted = {"video": (camera, modality != "audio"), "audio": (microphone, modality != "video")}
    opened: dict[str, Any] = {}
    for kind, (name, is_used) in wanted.items():
        if not is_used:
            continue
        try:
            opened[kind] = arriving.open_device(kind, name or "0")
        except MediaError as error:
            if name is not None or modality != "auto":
                raise
            trouble = error
            note(f"goes without: {error}")
    if not opened:
        raise MediaError(f"no device: {trouble}")
    return arriving.devices(opened)
