"""Sound and pictures that come by themselves, from devices or as a stream of bytes, on one clock.

A thread reads each container and decodes. Nothing is awaited for long: where one stream lags behind
the other by more than PATIENCE_S, it is absent.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.media.container import confined
from avsr.preprocessing.media.streams import Piece
from avsr.preprocessing.media.ticks import HOLD_S, ROUNDING_S, Picture, Shape

PIECE_FRAMES = 8  # at most, so that whoever is late is so by little
PATIENCE_S = 0.5  # that one stream waits for the other
JUMP_S = 0.1  # sound that is further off than this from where it should go on was lost in between
POLL_S = 0.2  # how often a closed source is noticed
MOST_WAITING = 16  # frames of a stream that were decoded and not looked at: they may be large
MOST_AT_ONCE = 250  # pictures that come while the clock stands still, and as many
PER_PICTURE = 40  # blocks of sound for each, which are smaller
# FFmpeg judges a stream by its first bytes: few, or the first caption comes late
QUICK = {"probesize": "100000", "analyzeduration": "200000"}
ALSA_SETTINGS = Path("/usr/share/alsa")  # PyAV's own copy of ALSA looks elsewhere

# FFmpeg's input formats for (camera, microphone), by the platform
FORMATS = {
    "linux": ("v4l2", "alsa"),
    "darwin": ("avfoundation", "avfoundation"),
    "win32": ("dshow", "dshow"),
}

Open = Callable[[], Any]
"""Opens a container of PyAV; may wait until there is something to read."""


@dataclass(frozen=True)
class _Event:
    """A decoded picture, or samples; None for the value says that a stream has ended."""

    kind: str
    start_s: float
    value: Any


class Inbox:
    """Bytes that somebody writes and FFmpeg reads, as they come."""

    def __init__(self) -> None:
        self._parts: queue.Queue[bytes | None] = queue.Queue()
        self._rest = b""
        self._ended = False
        self._came = self._gone = 0

    @property
    def waiting(self) -> int:
        """Bytes that were written and not read."""
        return self._came - self._gone

    def write(self, data: bytes) -> None:
        if data:
            self._came += len(data)
            self._parts.put(data)

    def finish(self) -> None:
        """Says that nothing follows."""
        self._parts.put(None)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, at least one; none at the end."""
        if not self._rest and not self._ended:
            part = self._parts.get()
            self._rest, self._ended = part or b"", part is None
        data, self._rest = self._rest[:size], self._rest[size:]
        self._gone += len(data)
        return data


class Arriving:
    """Pieces of what comes in, as soon as it is there; a context manager that ends its threads.

    The clock begins with what comes first. Timestamps of one container are on one clock; those of
    several are brought together by when their first frame came.

    Args:
        sources: containers to open, each with what is wanted of it, "video", "audio" or both.
        most: frames that wait for whoever iterates, 0 for any number; then reading waits, which a
            file can do and a device cannot.

    Attributes:
        began_s: by `time.monotonic`, when the clock was at 0.

    Raises:
        MediaError: (while iterating) a container that cannot be opened or read.
    """

    def __init__(self, sources: list[tuple[Open, tuple[str, ...]]], most: int = 0) -> None:
        self._events: queue.Queue[_Event | Exception] = queue.Queue(most)
        self._stop = threading.Event()
        self._streams = _Streams([kind for _, kinds in sources for kind in kinds])
        self._alone = len(sources) == 1
        self.began_s = time.monotonic()
        self._threads = [
            threading.Thread(target=self._read, args=source, daemon=True, name="avsr-arriving")
            for source in sources
        ]

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reading; whoever iterates comes to the end."""
        self._stop.set()

    def __iter__(self) -> Iterator[Piece]:
        for thread in self._threads:
            thread.start()
        try:
            while not self._stop.is_set() and not self._streams.ended:
                for event in self._waiting():
                    if isinstance(event, Exception):
                        raise event
                    if self._streams.empty:
                        self.began_s = time.monotonic()
                    self._streams.add(event)
                yield from self._streams.ready()
            yield from self._streams.ready()
        finally:
            self.close()

    def _waiting(self) -> Iterator[_Event | Exception]:
        """What is there; waits for the first of it, but not for long."""
        try:
            yield self._events.get(timeout=POLL_S)
            for _ in range(self._events.qsize()):
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def _put(self, event: _Event | Exception) -> None:
        """Hands something on, as soon as there is room for it."""
        while not self._stop.is_set():
            try:
                self._events.put(event, timeout=POLL_S)
            except queue.Full:
                continue
            return

    def _read(self, open_it: Open, kinds: tuple[str, ...]) -> None:
        """Decodes a container until it ends; runs in a thread of its own."""
        import av

        try:
            with open_it() as container:
                for event in _decoded(container, kinds, shared=self._alone):
                    self._put(event)
                    if self._stop.is_set():
                        return
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._put(MediaError(f"the stream cannot be read as media ({reason})"))
        except Exception as error:
            self._put(error)
        finally:
            for kind in kinds:
                self._put(_Event(kind, 0.0, None))


def stream(inbox: Inbox) -> Arriving:
    """What a recorder writes into an inbox, such as the WebM of a browser."""
    import av

    def opened() -> Any:
        return av.open(inbox, mode="r", container_options={**confined(), **QUICK})

    return Arriving([(opened, ("video", "audio"))], most=MOST_WAITING)


def devices(opened: dict[str, Any]) -> Arriving:
    """A camera and a microphone, or one of them.

    Args:
        opened: "video" and "audio", each as `open_device` opens it.
    """
    return Arriving([(partial(_itself, device), (kind,)) for kind, device in opened.items()])


def _itself(container: Any) -> Any:
    return container


def open_device(kind: str, name: str) -> Any:
    """A device as a container of PyAV.

    Args:
        kind: "video" or "audio".
        name: its number from 0 on, or what the system calls it.

    Raises:
        MediaError: it cannot be opened; tells which there are, where the system says.
    """
    import av

    what = "camera" if kind == "video" else "microphone"
    platform = FORMATS.get(sys.platform)
    if platform is None:
        raise MediaError(f"{what} {name}: {sys.platform} has no devices that avsr can open")
    format = platform[kind == "audio"]
    if format == "alsa" and ALSA_SETTINGS.is_dir():
        os.environ.setdefault("ALSA_CONFIG_DIR", str(ALSA_SETTINGS))
    found = _names(kind, format)
    there = f"there are {', '.join(found)}" if found else "there is none that can be seen"
    if format == "alsa" and not found:  # ALSA would say so in nine lines
        raise MediaError(f"{what} {name}: {there}; connect one, or name a media file")
    try:
        return av.open(
            _address(kind, name, format), format=format, mode="r", options=_options(kind)
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{what} {name}: cannot be opened ({reason}); {there}; name a device, or a media file"
        ) from error


def _address(kind: str, name: str, format: str) -> str:
    """What FFmpeg calls a device of that number or name."""
    if format == "avfoundation":
        return f"{name}:none" if kind == "video" else f"none:{name}"
    if format == "dshow":
        return f"{kind}={name}"
    if not name.isdecimal():
        return name
    if format == "v4l2":
        return f"/dev/video{name}"
    return "default" if name == "0" else f"hw:{name}"


def _options(kind: str) -> dict[str, str]:
    return {"framerate": "30"} if kind == "video" and sys.platform == "darwin" else {}


def _names(kind: str, format: str) -> list[str]:
    """What the system has, for people; empty where it does not say."""
    if sys.platform == "linux":
        pattern = "video*" if kind == "video" else "snd/pcm*c"
        return sorted(str(path) for path in Path("/dev").glob(pattern))
    import av

    try:
        return [found.description for found in av.enumerate_input_devices(format)]
    except (av.FFmpegError, ValueError):  # the format has no list
        return []


def _decoded(container: Any, kinds: tuple[str, ...], *, shared: bool) -> Iterator[_Event]:
    """The pictures and samples of a container.

    Args:
        container: of PyAV.
        kinds: which streams.
        shared: the timestamps of its streams are the clock; else when they came.
    """
    import av

    streams = [found[0] for kind in kinds if (found := getattr(container.streams, kind))]
    for kind in kinds:
        if not getattr(container.streams, kind):
            yield _Event(kind, 0.0, None)
    if not streams:
        raise MediaError("the stream has neither sound nor picture")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    begins_s: float | None = 0.0 if shared else None
    for packet in container.demux(streams):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # a damaged packet; the next one may be well
            continue
        for frame in frames:
            start_s = frame.time if frame.time is not None else 0.0
            if begins_s is None:
                begins_s = start_s - time.monotonic()
            start_s -= begins_s
            if isinstance(frame, av.VideoFrame):
                yield _Event("video", start_s, Picture(frame, Shape.of(packet.stream, frame)))
                continue
            blocks = [block.to_ndarray()[0] for block in resampler.resample(frame) if block]
            samples = np.concatenate([np.empty(0, np.int16), *blocks])
            yield _Event("audio", start_s, samples.astype(np.float32) / 32768)


class _Streams:
    """Pictures and sound that have come, and the frames of 1 / 25 s that are complete."""

    def __init__(self, kinds: list[str]) -> None:
        self._origin_s: float | None = None
        self._reach_s = dict.fromkeys(kinds, 0.0)  # up to where each has come
        self._last = set(kinds)  # streams that go on
        self._count = 0.0  # of what came since the clock went on
        self._pictures: list[tuple[float, Picture]] = []
        self._sound: list[tuple[int, np.ndarray]] = []  # first sample, samples; in order
        self._next = 0  # where sound goes on, samples
        self._tick = 0

    @property
    def empty(self) -> bool:
        return self._origin_s is None

    @property
    def ended(self) -> bool:
        return not self._last

    def add(self, event: _Event) -> None:
        if event.value is None:
            self._last.discard(event.kind)
            return
        self._count += 1 if event.kind == "video" else 1 / PER_PICTURE
        if self._count > MOST_AT_ONCE:
            raise MediaError("the stream cannot be read as media (its clock stands still)")
        if self._origin_s is None:
            self._origin_s = event.start_s
        start_s = event.start_s - self._origin_s
        if event.kind == "video":
            self._pictures.append((start_s, event.value))
            self._reach_s["video"] = start_s + 1 / FPS
            return
        first = round(start_s * SAMPLE_RATE)
        if abs(first - self._next) <= JUMP_S * SAMPLE_RATE and self._next:
            first = self._next
        self._next = first + len(event.value)
        self._sound.append((first, event.value))
        self._reach_s["audio"] = self._next / SAMPLE_RATE

    def ready(self) -> Iterator[Piece]:
        """The frames that are complete, in pieces."""
        # an ended stream holds nobody up; what lags behind is not waited for
        reach_s = max(self._reach_s.values())
        if self._last:
            slowest_s = min(self._reach_s[kind] for kind in self._last)
            reach_s = max(slowest_s, reach_s - PATIENCE_S)
        end = int(reach_s * FPS + ROUNDING_S)
        while self._tick < end:
            self._count = 0.0
            frames = min(end - self._tick, PIECE_FRAMES)
            times = [tick / FPS for tick in range(self._tick, self._tick + frames)]
            pictures = [self._picture(time_s) for time_s in times]
            audio, present = self._samples(frames)
            yield Piece(self._tick, pictures, audio, present)
            self._tick += frames

    def _picture(self, time_s: float) -> Picture | None:
        """What is on screen at a time; what lies before it is let go."""
        while len(self._pictures) > 1 and self._pictures[1][0] <= time_s + ROUNDING_S:
            self._pictures.pop(0)
        if not self._pictures:
            return None
        start_s, picture = self._pictures[0]
        return picture if start_s <= time_s + ROUNDING_S and time_s < start_s + HOLD_S else None

    def _samples(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """The sound of the next frames, (640 n,), and where there is any, (n,) bool."""
        begin = self._tick * SAMPLES_PER_FRAME
        end = begin + frames * SAMPLES_PER_FRAME
        audio, known = np.zeros(end - begin, np.float32), np.zeros(end - begin, np.bool_)
        for first, samples in self._sound:
            low, high = max(first, begin), min(first + len(samples), end)
            if low < high:
                audio[low - begin : high - begin] = samples[low - first : high - first]
                known[low - begin : high - begin] = True
        self._sound = [part for part in self._sound if part[0] + len(part[1]) > end]
        return audio, known.reshape(frames, SAMPLES_PER_FRAME).mean(1) > 0.5
