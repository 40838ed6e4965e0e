"""A media file, opened so that nothing else can be read, and taken apart into the packets of its
streams; the only file that opens media."""

from __future__ import annotations

import io
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.errors import MediaError
from avsr.preprocessing.media.cutoff import ends_midway

if TYPE_CHECKING:
    import av

MOST_PIXELS = 8192 * 8192  # of a picture; a few bytes may claim more than fits any memory
ATTACHED_PICTURE = 0x400  # FFmpeg's flag AV_DISPOSITION_ATTACHED_PIC: cover art
MOST_IDLE = 1 << 28  # bytes without a packet; a picture of MOST_PIXELS that is not coded has 2e8
# Bytes of packets that wait for the reader of another stream; a film whose streams lie further
# apart is opened once more. A second of 4K has about 1e7.
MOST_WAITING = 1 << 24
PACKET_BYTES = 500  # taken by a packet beside its data
URL = re.compile(r"[a-z][a-z0-9]+:/", re.IGNORECASE)  # as a path: one slash is left of two
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


class Demuxer:
    """A media file whose streams are read packet by packet, each by a reader of its own.

    The index of a film of two hours takes 20 MB, so the file is opened once for all readers. What
    one of them comes across for another waits there.

    Args:
        path: the file.

    Raises:
        MediaError: as open_container.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed_s = 0.0  # the end of the last packet of sound or picture
        self._file = LocalFile(path, MOST_IDLE)
        try:
            self.container = open_container(path, self._file)
        except BaseException:
            self._file.close()
            raise
        self.users: set[object] = set()
        self.readers: dict[int, PacketReader] = {}  # by the index of their stream
        self._packets = self._demuxed()

    def release(self, user: object) -> None:
        """Closes the file when its last user says so."""
        self.users.discard(user)
        if not self.users:
            self.close()

    def close(self) -> None:
        self.container.close()
        self._file.close()

    def seek(self, stream: Any, time_s: float) -> None:
        """Goes on with a packet of the stream at that time or before; nothing waits any more."""
        self.container.seek(round(time_s / stream.time_base), stream=stream)
        self._packets = self._demuxed()
        for reader in self.readers.values():
            reader.forget()

    def advance(self) -> bool:
        """Hands the next packet to its reader; false at the end, or where the file breaks off."""
        packet = next(self._packets, None)
        if packet is None:
            return False
        if reader := self.readers.get(packet.stream_index):
            reader.hand(packet)
        return True

    def _demuxed(self) -> Iterator[Any]:
        """All packets; goes on after a demuxing error until three come with no packet for a reader
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
                    if packet.stream_index in self.readers:
                        failures = 0
                    yield packet
                return
            # PyAV trips at the end of a file in which a further stream turned up midway
            except IndexError:
                return
            except (av.FFmpegError, OSError):  # OSError: the disk
                failures += 1
                for reader in self.readers.values():
                    reader.failures += 1


class PacketReader:
    """The packets of one stream, in order; an iterator.

    Attributes:
        failures: demuxing errors that were passed over.
    """

    def __init__(self, demuxer: Demuxer, index: int) -> None:
        self.failures = 0
        self._demuxer, self._index = demuxer, index
        self._waiting: deque[Any] = deque()
        self._size = 0  # bytes that wait
        self._handed = 0  # packets so far
        demuxer.users.add(self)
        demuxer.readers[index] = self

    def __iter__(self) -> PacketReader:
        return self

    def __next__(self) -> Any:
        while not self._waiting:
            if self._demuxer.readers.get(self._index) is not self:
                self._open_anew()
            if not self._demuxer.advance():
                raise StopIteration
        packet = self._waiting.popleft()
        self._size -= packet.size + PACKET_BYTES
        return packet

    @property
    def passed_s(self) -> float:
        """The end of the last packet of sound or picture that was come across."""
        return self._demuxer.passed_s

    def hand(self, packet: Any) -> None:
        """Takes a packet. Where too many wait, the others go on without this reader."""
        self._waiting.append(packet)
        self._handed += 1
        self._size += packet.size + PACKET_BYTES
        if self._size > MOST_WAITING and len(self._demuxer.readers) > 1:
            del self._demuxer.readers[self._index]

    def forget(self) -> None:
        """Drops what waits."""
        self._waiting.clear()
        self._size = 0

    def close(self) -> None:
        self.forget()
        if self._demuxer.readers.get(self._index) is self:
            del self._demuxer.readers[self._index]
        self._demuxer.release(self)

    def _open_anew(self) -> None:
        """Goes on behind the packets it was handed, in the file opened once more."""
        path = self._demuxer.path
        self._demuxer.release(self)
        self._demuxer = Demuxer(path)
        self._demuxer.users.add(self)
        self._demuxer.readers[self._index] = self
        handed, self._handed, self.failures = self._handed, 0, 0
        while self._handed < handed and self._demuxer.advance():
            self.forget()
