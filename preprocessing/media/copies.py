"""Copies of films whose streams are not encoded anew."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from avsr.base import outputs
from avsr.base.errors import MediaError
from avsr.preprocessing.media.container import ATTACHED_PICTURE, LocalFile, open_container

# Containers that say when a stream begins; anything else is copied into Matroska, which takes all.
KEPT = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
OTHER = ".mkv"
COPIED = ("video", "audio", "subtitle")


def name_of_copy(source: Path, what: str, *, encoded: bool = False) -> str:
    """The name of a copy, such as "talk.synced.mp4"; WebM does not take what we encode."""
    suffix = source.suffix.lower()
    kept = suffix in KEPT and not (encoded and suffix == ".webm")
    return f"{source.stem}.{what}{suffix if kept else OTHER}"


def shifted(source: Path, target: Path, sound_s: float) -> None:
    """Copies a film with its sound so much later, without encoding anything anew.

    Pictures, sound and subtitles are copied, with their turns, tags and languages. What comes too
    early is delayed, so nothing is cut off.

    Args:
        source: the film.
        target: with a suffix of KEPT; is there whole or not at all.
        sound_s: seconds by which the sound moves against all else; earlier where negative.

    Raises:
        MediaError: the source cannot be read, or the target's container does not take a stream.
        OSError: the target cannot be written.
    """
    delays = {"audio": max(sound_s, 0.0)}
    with opened(source) as film, film_at(source, target) as copy:
        copy.metadata.update(film.metadata)
        added = {stream.index: copied_stream(copy, stream) for stream in streams_of(film)}
        for packet in packets(film, set(added)):
            delay_s = delays.get(packet.stream.type, max(-sound_s, 0.0))
            delayed(packet, delay_s)
            packet.stream = added[packet.stream_index]
            copy.mux(packet)


@contextmanager
def opened(source: Path) -> Iterator[Any]:
    """A film for demuxing, closed at the end."""
    import av

    file = LocalFile(source)
    try:
        container = open_container(source, file)
        flag: Any = av.container.Flags.gen_pts  # AVI and MPEG leave times out
        container.flags |= flag.value
        with container:
            yield container
    finally:
        file.close()


@contextmanager
def film_at(source: Path, target: Path) -> Iterator[Any]:
    """A container to write into, beside its place; at the end it is there whole, and ours.

    Raises:
        MediaError: what was put into it does not go there.
        OSError: the target cannot be written; names it.
    """
    import av

    beside = outputs.unfinished(target, os.getpid())
    with ExitStack() as stack:
        stack.callback(beside.unlink, missing_ok=True)
        on_disk = stack.enter_context(_OnDisk(beside, target))
        file = io.BufferedWriter(on_disk)
        try:
            with av.open(file, mode="w", format=KEPT[target.suffix]) as container:
                yield container
        except (av.FFmpegError, ValueError) as error:
            if on_disk.failure is None:
                reason = getattr(error, "strerror", None) or str(error)
                told = f"{source}: cannot be copied to {target.name} ({reason})"
                raise MediaError(told) from error
        file.flush()
        if on_disk.failure is not None:
            raise on_disk.failure
        os.fsync(file.fileno())
        os.replace(beside, target)
    outputs.remember(target)


class _OnDisk(io.FileIO):
    """A file to write, which remembers why that failed, and raises it once. PyAV, which calls it,
    may say no more than that a callback failed, or nothing; a second error it would print.

    Args:
        beside: the file.
        target: what it will be called.
    """

    failure: OSError | None = None

    def __init__(self, beside: Path, target: Path) -> None:
        super().__init__(beside, "wb")
        self._target = target

    def write(self, data: Any) -> int:
        if self.failure is not None:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            error.filename = str(self._target)
            self.failure = error
            raise


def streams_of(film: Any) -> list[Any]:
    """What is copied of a film: no covers, and no data that only cameras know."""
    return [
        stream
        for stream in film.streams
        if stream.type in COPIED and not stream.disposition.value & ATTACHED_PICTURE
    ]


def copied_stream(copy: Any, stream: Any) -> Any:
    """A stream of a copy that takes the packets of another as they are."""
    added = copy.add_stream_from_template(stream, opaque=True)
    added.disposition = stream.disposition
    added.metadata.update(stream.metadata)
    return added


def packets(film: Any, wanted: set[int]) -> Iterator[Any]:
    """The packets of some streams, up to the end or to where the film breaks off; all have times.

    Matroska does not say when the first packets must be decoded. They wait for one that does.
    """
    waiting: dict[int, list[Any]] = {}
    for packet in _demuxed(film):
        if packet.stream_index not in wanted or packet.pts is packet.dts is None:
            continue
        held = waiting.setdefault(packet.stream_index, [])
        held.append(packet)
        if packet.dts is not None:
            for earlier, later in zip(held[-2::-1], held[:0:-1], strict=True):
                earlier.dts = later.dts - max(earlier.duration or 0, 1)
            yield from held
            held.clear()
    for held in waiting.values():
        for packet in held:
            packet.dts = packet.pts
            yield packet


def _demuxed(film: Any) -> Iterator[Any]:
    import av

    try:
        for packet in film.demux():
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError, IndexError):
        return  # that it breaks off was said where it was recognised


def delayed(packet: Any, delay_s: float) -> None:
    """Moves a packet's times."""
    delay = round(Fraction(delay_s) / packet.time_base)
    packet.dts += delay
    if packet.pts is not None:
        packet.pts += delay
