"""Live captions of what a browser records: bytes come in, captions go back."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from avsr.app.room import DISK_FULL, NoRoom, Room, is_full
from avsr.app.shelf import Shelf, word_fields
from avsr.app.work import Models
from avsr.base.console import one_line
from avsr.base.errors import AvsrError, MediaError
from avsr.live.captions import Caption
from avsr.live.session import Latency, live
from avsr.preprocessing.media import arriving, copies
from avsr.recognisers.base import Recogniser
from avsr.recognisers.protocol import stream_for

ABANDONED_S = 20.0  # without a byte: whoever recorded is gone
END_S = 30.0  # that the last captions may take
MOST_WAITING = 20_000_000  # bytes of a recording that were not looked at yet, about a minute


class Stream:
    """One recording in the making.

    Args:
        recording: the file that it is kept in.
        most_bytes: that it may have.
        room: for all files.
    """

    def __init__(self, recording: Path, most_bytes: int, room: Room) -> None:
        self.recording, self._most_bytes, self._room = recording, most_bytes, room
        self._file = recording.open("wb")
        self._inbox = arriving.Inbox()
        self._captions: list[dict[str, Any]] = []
        self._latency = Latency()
        self._ended = threading.Event()
        self._error = ""
        self.heard_s = time.monotonic()
        self.ending = False

    def listen(self, recogniser: Recogniser, modality: str) -> None:
        """Captions what is written, until `finish`; in a thread of its own."""

        def run() -> None:
            try:
                source = arriving.stream(self._inbox)
                for caption in live(source, recogniser, modality, self._latency):
                    self._captions.append(_fields(caption))
            except AvsrError as error:
                self._error = str(error)
            except Exception as error:  # the page is the only place where somebody would see it
                self._error = f"unexpected {type(error).__name__}: {one_line(str(error))}"
            finally:
                self._ended.set()

        threading.Thread(target=run, daemon=True, name="avsr-stream").start()

    def write(self, data: bytes) -> None:
        """Takes what was recorded since the last call.

        Raises:
            AvsrError: the recording is too long or too fast, has ended, or there is no room for it.
        """
        self.heard_s = time.monotonic()
        if self._file.closed:
            raise AvsrError("these live captions have ended: start again")
        if self._file.tell() + len(data) > self._most_bytes:
            raise AvsrError(f"the recording is larger than {self._most_bytes / 1e6:.0f} MB: stop")
        if self._inbox.waiting + len(data) > MOST_WAITING:
            raise AvsrError("captions come much later than the recording: stop, transcribe it")
        self._room.check(len(data))
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise NoRoom(DISK_FULL if is_full(error) else str(error)) from None
        self._inbox.write(data)

    def news(self) -> dict[str, Any]:
        """The captions since the last call, what went wrong, and the seconds of pictures that were
        left out to keep up."""
        count = len(self._captions)
        found, self._captions[:count] = self._captions[:count], []
        return {"captions": found, "error": self._error, "unseen_s": self._latency.unseen_s}

    def finish(self) -> None:
        """Ends the recording."""
        self._inbox.finish()
        with suppress(OSError):  # the disk is full: that was told
            self._file.close()

    def wait(self) -> None:
        """Waits for the last captions."""
        self._ended.wait(END_S)


class Streams:
    """The streams of everybody.

    Args:
        models: to recognise with.
        shelf: keeps the recordings.
        most: streams at a time.
        most_bytes: of a recording.
    """

    def __init__(self, models: Models, shelf: Shelf, most: int, most_bytes: int) -> None:
        self._models, self._shelf = models, shelf
        self._most, self._most_bytes = most, most_bytes
        self._streams: dict[str, Stream] = {}
        self._recordings: dict[str, tuple[float, Path]] = {}
        self._whole: set[Path] = set()  # recordings with an index
        self._lock = threading.Lock()

    def begin(self, model: str, modality: str) -> str:
        """Begins a stream; returns its name.

        Raises:
            AvsrError: as many as there may be run already, or no such model.
        """
        recogniser = self._models.load(model)
        stream_for(recogniser, modality)
        with self._lock:
            if len(self._streams) >= self._most:
                raise AvsrError(
                    f"{self._most} live captions at a time: wait until another one has ended"
                )
            name = secrets.token_urlsafe(16)
            room = self._shelf.room
            room.check(0)
            stream = Stream(self._shelf.new_file(".webm"), self._most_bytes, room)
            self._streams[name] = stream
        stream.listen(recogniser, modality)
        return name

    def get(self, name: str) -> Stream:
        """
        Raises:
            AvsrError: there is none.
        """
        if name not in self._streams:
            raise AvsrError("these live captions have ended: start again")
        return self._streams[name]

    def end(self, name: str) -> tuple[dict[str, Any], str]:
        """Ends a stream; returns its last news, and the name of its recording.

        Raises:
            AvsrError: there is none, or it is being ended.
        """
        stream = self.get(name)
        with self._lock:
            if stream.ending:
                raise AvsrError("these live captions are being ended")
            stream.ending = True
        stream.finish()
        stream.wait()
        with self._lock:
            self._streams.pop(name, None)
            self._recordings[name] = time.monotonic(), stream.recording
        return stream.news(), name

    def recording(self, name: str) -> Path:
        """A recording that has ended, as a file that can be searched; a recorder writes no index.

        Raises:
            AvsrError: it is gone, or is no recording.
        """
        if name not in self._recordings:
            raise AvsrError("this recording is no longer there: record again")
        ended_s, raw = self._recordings[name]
        if raw in self._whole:
            return raw
        with raw.open("rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        whole = self._shelf.new_file(".mp4" if is_mp4 else ".webm")
        _indexed(raw, whole)
        raw.unlink()
        self._whole.add(whole)
        self._recordings[name] = ended_s, whole
        return whole

    def seen(self, name: str) -> None:
        """A recording is still on somebody's page.

        Raises:
            AvsrError: it is gone.
        """
        if name not in self._recordings:
            raise AvsrError("this recording is no longer there: record again")
        _, path = self._recordings[name]
        self._recordings[name] = time.monotonic(), path
        self._shelf.touch(path)

    def tidy(self, keep_s: float) -> None:
        """Ends streams whose recorder is gone, and forgets recordings that nobody has asked for;
        their files are the shelf's to remove."""
        now_s = time.monotonic()
        for name, stream in list(self._streams.items()):
            if stream.heard_s < now_s - ABANDONED_S:
                stream.finish()
                with self._lock:
                    self._streams.pop(name, None)
        for name, (seen_s, _) in list(self._recordings.items()):
            if seen_s < now_s - keep_s:
                self._recordings.pop(name, None)
        self._whole &= {path for _, path in self._recordings.values()}


def _indexed(raw: Path, whole: Path) -> None:
    """Copies a recording into a file with an index.

    Raises:
        MediaError: it is no recording, or cannot be kept.
    """
    import av

    try:
        with copies.opened(raw) as film, av.open(whole, mode="w") as copy:
            streams = copies.streams_of(film)
            added = {stream.index: copies.copied_stream(copy, stream) for stream in streams}
            for packet in copies.packets(film, set(added)):
                packet.stream = added[packet.stream_index]
                copy.mux(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"the recording cannot be kept ({reason}): record again") from error


def _fields(caption: Caption) -> dict[str, Any]:
    return {
        "final": [word_fields(word) for word in caption.final],
        "partial": [word_fields(word) for word in caption.partial],
        "ended": caption.ended,
        "heard_s": caption.heard_s,
    }
