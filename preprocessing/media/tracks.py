"""One stream of a media file, decoded, with its times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.media.container import (
    ATTACHED_PICTURE,
    LIMITED,
    Demuxer,
    PacketReader,
)

# samples a second; with less there is no speech, and a small file could last for days
LOWEST_RATE = 2000
LEAP_S = 3600.0  # a longer step in the timestamps is a fault in the file, not silence
# the same for transport and program streams, whose clocks may restart (FFmpeg's limit) ...
BROADCAST_LEAP_S = 10.0
# ... and how far they must step back for that; joined recordings begin again at 0
BROADCAST_RETURN_S = 1.0

DEFAULT, CLOCK_RESTARTS = 0x1, 0x200  # FFmpeg's AV_DISPOSITION_DEFAULT and AVFMT_TS_DISCONT
LOSSLESS = 0x4  # AV_CODEC_PROP_LOSSLESS
INDEXED = {"mov", "mp4", "matroska", "webm"}  # formats in which seeking is sure to arrive


@dataclass
class Remarks:
    """What was found in the sound of a track.

    Attributes:
        cancelled_s: seconds in which a plain mix of the channels would have cancelled.
    """

    cancelled_s: float = 0.0


Watch = Callable[[float, float, Any], None]
"""Is shown a frame: its start and duration in seconds, and the frame as FFmpeg has it."""


class Track:
    """One decoded stream of a file, with its times in seconds.

    Iterating yields (start, duration, frame), times in seconds after `origin_s`. Damaged packets
    are skipped and counted; where the file breaks off, the iteration ends. The track is the one
    with that number among those of its kind, counted from 1; by default the one the file says is
    usual, or the first. Before anything is decoded, `begin` is called on all tracks of a demuxer.
    """

    def __init__(self, demuxer: Demuxer, kind: str, number: int | None = None) -> None:
        self.kind = kind
        self.remarks = Remarks()
        self.ended = False  # whether all of it was read
        # is shown every frame as it comes out of the decoder, with its start and duration
        self.watch: Watch | None = None
        self.unusable = ""  # why, where a frame was decoded that is of no use
        self.origin_s = 0.0
        self.first: Any = None
        self.start_s = 0.0
        self.number = 0  # among the tracks of its kind, from 1 on
        self.others: list[str] = []  # all tracks of its kind, where there are several
        self.container = demuxer.container
        self._demuxer = demuxer
        self._spoilt = 0
        self._packets: PacketReader | None = None
        self._timed: Iterator[tuple[float, float, Any]] = iter(())
        demuxer.users.add(self)
        streams = [
            stream
            for stream in getattr(self.container.streams, kind)
            if stream.codec_context is not None and not stream.disposition.value & ATTACHED_PICTURE
        ]
        if not streams:
            return
        self.others = (
            [_label(place, stream) for place, stream in enumerate(streams, 1)]
            if len(streams) > 1
            else []
        )
        usual = max(streams, key=lambda stream: (stream.disposition.value & DEFAULT, -stream.index))
        self.number = streams.index(usual) + 1 if number is None else number
        if not 1 <= self.number <= len(streams):
            raise MediaError(
                f"{demuxer.path}: has no {kind} track {number}: {_count(streams, kind)}"
            )
        self.stream = streams[self.number - 1]
        self.fps = _nominal_fps(self.stream) if kind == "video" else 0.0
        # Exact samples that go beyond full scale were meant so; lossy ones overshoot.
        self.lossless = bool(self.stream.codec_context.codec.properties & LOSSLESS)
        self._clock = _Clock(self.stream, bool(self.container.format.flags & CLOCK_RESTARTS))
        self.stream.codec_context.options = LIMITED
        if kind == "video" and self.stream.width * self.stream.height > 1280 * 720:
            # worth the extra frames in flight only where decoding is slow
            self.stream.thread_type = "AUTO"
        self._packets = PacketReader(demuxer, self.stream.index)

    def begin(self) -> None:
        """Decodes the first frame."""
        if self._packets is None:
            return
        self._timed = self._decode(self._packets)
        head = next(self._timed, None)
        if head is not None:
            self.start_s, _, self.first = head
            if self.kind == "audio" and self.first.sample_rate < LOWEST_RATE:
                rate = self.first.sample_rate
                self.unusable = (
                    f"its sound has {rate} samples a second, speech takes at least {LOWEST_RATE}"
                )
            self._timed = chain([head], self._timed)

    @property
    def damaged(self) -> int:
        """Packets that could not be read or decoded, and frames that were of no use."""
        return self._spoilt + (self._packets.failures if self._packets else 0)

    @property
    def passed_s(self) -> float:
        """The end of the last packet of sound or picture read, of whichever stream."""
        return self._packets.passed_s if self._packets else 0.0

    def count_damaged(self, count: int = 1) -> None:
        """Says that so many more frames were of no use."""
        self._spoilt += count

    def __iter__(self) -> Iterator[tuple[float, float, Any]]:
        for start_s, duration_s, frame in self._timed:
            if self.watch is not None:
                self.watch(start_s - self.origin_s, duration_s, frame)
            yield start_s - self.origin_s, duration_s, frame

    def skip_to(self, time_s: float) -> None:
        """Goes on with a frame that begins at a time or somewhat before, where the container has an
        index to go by; elsewhere all frames still come.

        Args:
            time_s: seconds after `origin_s`.
        """
        indexed = INDEXED & set(self.container.format.name.split(","))
        if self._packets is None or not indexed:
            return
        for target_s in (time_s + self.origin_s, self.start_s):
            self._demuxer.seek(self.stream, target_s)
            self._clock = _Clock(self.stream, False)
            self._timed = self._decode(self._packets)
            head = next(self._timed, None)
            self._timed = chain([head] if head else [], self._timed)
            if head is not None and head[0] - self.origin_s <= time_s:
                return

    def close(self) -> None:
        """Lets the file go, after which the stream must not be touched."""
        if self._packets is not None:
            self._packets.close()
        self._demuxer.release(self)

    def _decode(self, packets: PacketReader) -> Iterator[tuple[float, float, Any]]:
        import av

        # None empties the decoder at the end, however the file ended
        for packet in chain(packets, [None]):
            self.ended = packet is None
            try:
                frames = self.stream.codec_context.decode(packet)
            except av.EOFError:
                continue  # already emptied
            except av.FFmpegError:
                self.count_damaged()
                continue
            for frame in frames:
                if self.kind == "audio":
                    duration_s = frame.samples / frame.sample_rate
                else:
                    duration_s = float((getattr(frame, "duration", 0) or 0) * self.stream.time_base)
                    if not 0 < duration_s <= LEAP_S:  # unknown, or a clock that runs absurdly
                        duration_s = 1 / self.fps
                yield self._clock.stamp(frame, duration_s), duration_s, frame


def _label(number: int, stream: Any) -> str:
    """A track for people: number, language, title, channels."""
    tags = stream.metadata
    about = [tags.get("language", ""), tags.get("title", "") and f'"{tags["title"]}"']
    if stream.type == "audio":
        about.append(stream.codec_context.layout.name)
    return f"{number} ({', '.join(text for text in about if text and text != 'und')})"


def _count(streams: list[Any], kind: str) -> str:
    if len(streams) == 1:
        return f"it has one {kind} track, number 1"
    return f"use {', '.join(_label(place, stream) for place, stream in enumerate(streams, 1))}"


class _Clock:
    """A stream's timestamps as seconds; mends the ones that are missing and the ones that leap.

    A missing timestamp (AVI, MPEG) follows from the decoding order or, failing that, from the frame
    before. A leap that no recording makes is closed up, as FFmpeg's own command line does.
    """

    def __init__(self, stream: Any, restarts: bool) -> None:
        self._unit_s = float(stream.time_base)
        self._expected_s = (stream.start_time or 0) * self._unit_s
        self._restarts = restarts
        self._lag: int | None = None  # presentation minus decoding time, in units
        self._offset_s: float | None = None

    def stamp(self, frame: Any, duration_s: float) -> float:
        """Start of the frame in seconds; frames come in the order of presentation."""
        time_s = self._stated_s(frame)
        if self._offset_s is None:
            self._offset_s = 0.0
        else:
            time_s += self._offset_s
            leap_s = time_s - self._expected_s
            if leap_s > LEAP_S or (
                self._restarts and not -BROADCAST_RETURN_S < leap_s < BROADCAST_LEAP_S
            ):
                self._offset_s -= leap_s
                time_s = self._expected_s
        self._expected_s = time_s + duration_s
        return time_s

    def _stated_s(self, frame: Any) -> float:
        if frame.pts is not None:
            if frame.dts is not None:
                self._lag = frame.pts - frame.dts
            return frame.pts * self._unit_s
        expected_s = self._expected_s - (self._offset_s or 0.0)
        if frame.dts is None:
            return expected_s
        if self._lag is None:
            self._lag = round(expected_s / self._unit_s) - frame.dts
        return (frame.dts + self._lag) * self._unit_s


def _nominal_fps(stream: Any) -> float:
    """Pictures a second on average; 25 where the file says nothing believable (a clock rate, for
    instance)."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 1 <= rate <= 240 else float(FPS)


def declared_s(path: Path, tracks: list[Track]) -> float:
    """Seconds as the container declares them; counted from the packets (not decoded) where it does
    not."""
    container = tracks[0].container
    if container.duration and container.duration > 0:
        return container.duration / 1_000_000
    spans = []
    for track in tracks:
        # in the file opened once more: what is counted here is gone
        packets = PacketReader(Demuxer(path), track.stream.index)
        unit_s, last_s = float(track.stream.time_base), track.start_s
        for packet in packets:
            length_s = (packet.duration or 0) * unit_s
            last_s = (
                last_s + length_s
                if packet.pts is None
                else max(last_s, packet.pts * unit_s + length_s)
            )
        spans.append((track.start_s, last_s))
        packets.close()
    return max(end for _, end in spans) - min(start for start, _ in spans)
