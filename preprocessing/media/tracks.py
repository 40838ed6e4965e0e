"""One stream of a media file, opened and decoded, with its times in seconds; the only file that
opens media."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.media.cutoff import ends_midway

if TYPE_CHECKING:
    import av

# samples a second; with less there is no speech, and a small file could last for days
LOWEST_RATE = 2000
MOST_PIXELS = 8192 * 8192  # of a picture; a few bytes may claim more than fits any memory
LEAP_S = 3600.0  # a longer step in the timestamps is a fault in the file, not silence
# the same for transport and program streams, whose clocks may restart (FFmpeg's limit) ...
BROADCAST_LEAP_S = 10.0
# ... and how far they must step back for that; joined recordings begin again at 0
BROADCAST_RETURN_S = 1.0

# FFmpeg's flags AV_DISPOSITION_DEFAULT, AV_DISPOSITION_ATTACHED_PIC (cover art) and
# AVFMT_TS_DISCONT
DEFAULT, ATTACHED_PICTURE, CLOCK_RESTARTS = 0x1, 0x400, 0x200
MOST_IDLE = 1 << 28  # bytes without a packet; a picture of MOST_PIXELS that is not coded has 2e8
LOSSLESS = 0x4  # AV_CODEC_PROP_LOSSLESS
URL = re.compile(r"[a-z][a-z0-9]+:/", re.IGNORECASE)  # as a path: one slash is left of two
INDEXED = {"mov", "mp4", "matroska", "webm"}  # formats in which seeking is sure to arrive
# Formats that only say where sound and picture are, or that draw text
NAME_OTHER_FILES = {
    "concat",
    "dash",
    "hls",
    "image2",
    "imf",
    "lavfi",
    "rtp",
    "rtsp",
    "sap",
    "sbg",
    "sdp",
    "vobsub",
}
NAME_OTHER_FILES |= {"tty", "webm_dash_manifest"}
TEXT = (
    "is text, not a recording; if it is a playlist, give the media files that it names: only files "
    "that are given "
    "are read"
)


class LocalFile:
    """A regular file as FFmpeg gets to see it: bytes, without a name that an extension or a
    neighbour is taken from.

    Args:
        path: the file.
        most_idle: bytes that are read after the last packet before the file counts as ended; None
            for any number. FFmpeg looks for the next packet through a hundred gigabytes of zeros.

    Raises:
        MediaError: it is missing, not a regular file (a FIFO would hang), empty, or cannot be
            opened.
    """

    def __init__(self, path: Path, most_idle: int | None = None) -> None:
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                if stat.S_ISDIR(found.st_mode):
                    raise MediaError(f"{path}: is a folder; give the media files in it")
                raise MediaError(f"{path}: is not a regular file; give a media file")
            if found.st_size == 0:
                raise MediaError(f"{path}: is empty (0 bytes); give a complete media file")
            # Any: FFmpeg and `cutoff` want no more of it than these four.
            file: Any = io.FileIO(path)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            advice = "check the name"
            if URL.match(str(path)):
                advice = "a URL is not read: fetch it, and give its place on this machine"
            raise MediaError(f"{path}: no such file; {advice}") from error
        except OSError as error:  # a name too long, no permission, links in a circle
            raise MediaError(
                f"{path}: cannot be opened ({error.strerror}); check the name"
            ) from error
        self._file, self._most_idle = file, most_idle
        self._idle = 0  # bytes since the last packet
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; none at the end, or where nothing comes of them."""
        if self._most_idle is not None and self._idle > self._most_idle:
            return b""
        data: bytes = self._file.read(size)
        self._idle += len(data)
        return data

    def packet_came(self) -> None:
        """Something came of the bytes that were read."""
        self._idle = 0

    def is_text(self) -> bool:
        """Whether it begins with nothing but printable characters: a playlist, a cue sheet, a
        description."""
        self.seek(0)
        head = self.read(64)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return True
        return not any(byte < 32 and byte not in b"\t\r\n\f" for byte in head)

    def is_mp4(self) -> bool:
        """Whether it begins as an MP4 or QuickTime file does."""
        self.seek(0)
        return self.read(8)[4:] in (b"ftyp", b"wide", b"mdat")


LIMITED = {"max_pixels": str(MOST_PIXELS)}  # FFmpeg's options for decoders


@cache
def confined() -> dict[str, str]:
    """FFmpeg's options under which nothing but the bytes it is handed can be read."""
    import av

    return {
        "protocol_whitelist": "none",
        "format_whitelist": ",".join(av.formats_available - NAME_OTHER_FILES),
    }


def open_container(path: Path, file: LocalFile) -> av.container.InputContainer:
    """Opens a file for demuxing. Nothing but that file can be read: FFmpeg has neither its path nor
    any protocol.

    Raises:
        MediaError: it is unreadable, names other files, or is no film or recording.
    """
    import av

    try:
        container = av.open(
            file,
            mode="r",
            container_options=confined(),
            options=LIMITED,
            metadata_errors="replace",  # tags in an old encoding must not stop the reading
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if file.is_text():
            raise MediaError(f"{path}: {TEXT}") from error
        if file.is_mp4() and ends_midway(file, "mov"):
            raise MediaError(
                f"{path}: was cut off: its index is missing; give a complete media file"
            ) from error
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise MediaError(
            f"{path}: cannot be read as media ({reason}); give a video (mp4, mkv, webm, mov, avi, "
            "mpg) "
            "or a sound file (wav, mp3, flac, ogg, m4a) that plays"
        ) from error
    if container.format.name.endswith("_pipe"):
        container.close()
        raise MediaError(f"{path}: is a picture, not a recording; give a media file")
    if not container.streams and file.is_text():
        container.close()
        raise MediaError(f"{path}: {TEXT}")
    return container


@dataclass
class Remarks:
    """What was found in the sound of a track.

    Attributes:
        cancelled_s: seconds in which a plain mix of the channels would have cancelled.
    """

    cancelled_s: float = 0.0


Watch = Callable[[float, float, Any], None]
"""Is shown a frame: its start and duration in seconds, and the frame as FFmpeg has it."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file, as its header has it.

    Attributes:
        kind: "video", "audio", "subtitle", "data", ...; "picture" for cover art.
        codec: FFmpeg's name; empty where it knows none.
        language: as the file says it; empty where it does not.
    """

    kind: str
    codec: str
    language: str


def describe_streams(container: Any) -> tuple[StreamInfo, ...]:
    """All streams of a container, used or not, in their order."""
    found = []
    for stream in container.streams:
        cover = bool(stream.disposition.value & ATTACHED_PICTURE)
        codec = stream.codec_context.name if stream.codec_context is not None else ""
        language = stream.metadata.get("language", "")
        found.append(StreamInfo("picture" if cover else stream.type, codec, language))
    return tuple(found)


class Track:
    """One decoded stream of a file, in a container of its own, with its times in seconds.

    Iterating yields (start, duration, frame), times in seconds after `origin_s`. Damaged packets
    are skipped and counted; where the file breaks off, the iteration ends. The track is the one
    with that number among those of its kind, counted from 1; by default the one the file says is
    usual, or the first.
    """

    def __init__(self, path: Path, kind: str, number: int | None = None) -> None:
        self.kind = kind
        self.damaged = 0
        self.remarks = Remarks()
        self.ended = False  # whether all of it was read
        self.passed_s = 0.0  # the end of the last packet read, of whichever stream
        # is shown every frame as it comes out of the decoder, with its start and duration
        self.watch: Watch | None = None
        self.unusable = ""  # why, where a frame was decoded that is of no use
        self.origin_s = 0.0
        self._file = LocalFile(path, MOST_IDLE)
        try:
            self.container = open_container(path, self._file)
        except BaseException:
            self._file.close()
            raise
        streams = [
            stream
            for stream in getattr(self.container.streams, kind)
            if stream.codec_context is not None and not stream.disposition.value & ATTACHED_PICTURE
        ]
        self.first: Any = None
        self.start_s = 0.0
        self.number = 0  # among the tracks of its kind, from 1 on
        self.others: list[str] = []  # all tracks of its kind, where there are several
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
            message = f"{path}: has no {kind} track {number}: {_count(streams, kind)}"
            self.close()  # after which its streams must not be touched
            raise MediaError(message)
        self.stream = streams[self.number - 1]
        self.fps = _nominal_fps(self.stream) if kind == "video" else 0.0
        # Exact samples that go beyond full scale were meant so; lossy ones overshoot.
        self.lossless = bool(self.stream.codec_context.codec.properties & LOSSLESS)
        self._clock = _Clock(self.stream, bool(self.container.format.flags & CLOCK_RESTARTS))
        self.stream.codec_context.options = LIMITED
        if kind == "video" and self.stream.width * self.stream.height > 1280 * 720:
            # worth the extra frames in flight only where decoding is slow
            self.stream.thread_type = "AUTO"
        self._timed = self._decode()
        head = next(self._timed, None)
        if head is not None:
            self.start_s, _, self.first = head
            if kind == "audio" and self.first.sample_rate < LOWEST_RATE:
                rate = self.first.sample_rate
                self.unusable = (
                    f"its sound has {rate} samples a second, speech takes at least {LOWEST_RATE}"
                )
            self._timed = chain([head], self._timed)

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
        if not INDEXED & set(self.container.format.name.split(",")):
            return
        for target_s in (time_s + self.origin_s, self.start_s):
            self.container.seek(round(target_s / self.stream.time_base), stream=self.stream)
            self._clock = _Clock(self.stream, False)
            self._timed = self._decode()
            head = next(self._timed, None)
            self._timed = chain([head] if head else [], self._timed)
            if head is not None and head[0] - self.origin_s <= time_s:
                return

    def close(self) -> None:
        self.container.close()
        self._file.close()

    def _decode(self) -> Iterator[tuple[float, float, Any]]:
        import av

        # None empties the decoder at the end, however the file ended
        for packet in chain(self._packets(), [None]):
            try:
                frames = self.stream.codec_context.decode(packet)
            except av.EOFError:
                continue  # already emptied
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if self.kind == "audio":
                    duration_s = frame.samples / frame.sample_rate
                else:
                    duration_s = float((getattr(frame, "duration", 0) or 0) * self.stream.time_base)
                    if not 0 < duration_s <= LEAP_S:  # unknown, or a clock that runs absurdly
                        duration_s = 1 / self.fps
                yield self._clock.stamp(frame, duration_s), duration_s, frame

    def _packets(self) -> Iterator[Any]:
        """The stream's packets; goes on after a demuxing error until three come with no packet
        between them."""
        import av

        failures = 0
        while failures < 3:
            try:
                for packet in self.container.demux():
                    self._file.packet_came()
                    if not packet.size:  # it only says that the end has come
                        continue
                    if packet.stream.type in ("audio", "video") and packet.pts is not None:
                        self.passed_s = max(
                            self.passed_s,
                            float((packet.pts + (packet.duration or 0)) * packet.time_base),
                        )
                    if packet.stream_index == self.stream.index:
                        failures = 0
                        yield packet
                break
            # PyAV trips at the end of a file in which a further stream turned up midway
            except IndexError:
                break
            except (av.FFmpegError, OSError):  # OSError: the disk
                self.damaged += 1
                failures += 1
        self.ended = True


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
        track = Track(path, track.kind, track.number)  # another one: what is counted here is gone
        unit_s, last_s = float(track.stream.time_base), track.start_s
        for packet in track._packets():
            length_s = (packet.duration or 0) * unit_s
            last_s = (
                last_s + length_s
                if packet.pts is None
                else max(last_s, packet.pts * unit_s + length_s)
            )
        spans.append((track.start_s, last_s))
        track.close()
    return max(end for _, end in spans) - min(start for start, _ in spans)
