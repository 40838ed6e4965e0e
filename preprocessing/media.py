"""Any media file as 25 pictures and 16 000 samples a second on one clock; the only file that opens media.

Times come from the timestamps in the file, never from counting frames at a nominal rate. Sound and picture are read
through a container each, so that a badly interleaved file needs no more memory than a well interleaved one.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.errors import MediaError
from avsr.preprocessing.ticks import Shape, picture_ticks, resampled, sound_ticks

if TYPE_CHECKING:
    import av

LEAP_S = 3600.0  # a longer step in the timestamps is a fault in the file, not silence
BROADCAST_LEAP_S = 10.0  # the same for transport and program streams, whose clocks may restart (FFmpeg's limit) ...
BROADCAST_RETURN_S = 1.0  # ... and how far they must step back for that; joined recordings begin again at 0

# FFmpeg's flags AV_DISPOSITION_DEFAULT, AV_DISPOSITION_ATTACHED_PIC (cover art) and AVFMT_TS_DISCONT
DEFAULT, ATTACHED_PICTURE, CLOCK_RESTARTS = 0x1, 0x400, 0x200

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds, as `read` will deliver it.

    Attributes:
        path: the file.
        duration_s: seconds, as the file declares them (a file that was cut off may hold less).
        has_audio, has_video: whether at least one frame of sound, of picture could be decoded.
        width, height: pixels of the pictures that `read` yields: upright, square pixels, long side at most 1920.
        rotation: degrees counter-clockwise that were applied to make the picture upright: 0, 90, 180 or 270.
        fps: average pictures a second in the file; 0.0 without video.
        sample_rate, channels: of the sound in the file; 0 without audio.
    """

    path: Path
    duration_s: float
    has_audio: bool
    has_video: bool
    width: int
    height: int
    rotation: int
    fps: float
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Piece:
    """A stretch of n frames (n / 25 s); frame i of it is frame `first_frame + i` of the file.

    Attributes:
        first_frame: index of the first frame on the file's clock.
        frames: n pictures, (H, W, 3) uint8 RGB, contiguous and of one size throughout the file; None where absent.
            A picture that stays on screen is the same array again: copy before writing into it.
        audio: (n * 640,) float32 in [-1, 1], 16 kHz mono; zero where absent.
        audio_present: (n,) bool.
        damaged: packets of the file that could not be read or decoded and were skipped so far.
    """

    first_frame: int
    frames: list[np.ndarray | None]
    audio: np.ndarray
    audio_present: np.ndarray
    damaged: int = 0

    @property
    def video_present(self) -> np.ndarray:
        """(n,) bool, false where no picture is on screen."""
        return np.array([frame is not None for frame in self.frames], dtype=bool)


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """Looks into a file and decodes the first frame of each stream.

    Raises:
        MediaError: the file is missing, a folder, empty, not media, or has neither sound nor picture to decode.
    """
    pictures, sound = _open_tracks(path)
    try:
        shape = Shape.of(pictures) if pictures else Shape(0, 0, 0)
        width, height = (shape.height, shape.width) if shape.quarter_turns % 2 else (shape.width, shape.height)
        return MediaInfo(
            path=Path(path),
            duration_s=_duration_s([track for track in (pictures, sound) if track]),
            has_audio=sound is not None,
            has_video=pictures is not None,
            width=width,
            height=height,
            rotation=shape.quarter_turns * 90,
            fps=pictures.fps if pictures else 0.0,
            sample_rate=sound.first.sample_rate if sound else 0,
            channels=len(sound.first.layout.channels) if sound else 0,
        )
    finally:
        _close(pictures, sound)


def read(
    path: str | os.PathLike[str],
    *,
    piece_frames: int = 25,
    video: bool = True,
    audio: bool = True,
    report: bool = True,
) -> Iterator[Piece]:
    """Decodes a file piece by piece, in memory that does not grow with its length.

    The clock starts with the stream that starts first, whichever streams are asked for. Frame t shows the picture that
    is on screen at t / 25 s. Where the video runs at 25 pictures a second but out of phase with that clock, it is moved
    onto it (by 20 ms at most), so that each of its pictures is used once. Sound is placed to the sample.

    Args:
        path: any container FFmpeg reads.
        piece_frames: frames in each piece but the last.
        video: False leaves the pictures out (None, and not decoded); the file then ends with its sound.
        audio: False leaves the sound out (zeros, absent); the file then ends with its pictures.
        report: log, at the end, how much was damaged; False for the first of two passes over a file.

    Returns:
        Pieces in order. What is missing, lost or damaged is marked absent; trailing absence is not delivered.

    Raises:
        MediaError: as `probe`, at once and not at the first piece.
    """
    if piece_frames < 1:
        raise ValueError(f"piece_frames is {piece_frames}, must be at least 1")
    pictures, sound = _open_tracks(path)
    starts = [track.start_s for track in (pictures, sound) if track]
    related = max(starts) - min(starts) <= LEAP_S  # else the streams' clocks have nothing to do with each other
    for track in (pictures, sound):
        if track:
            track.origin_s = min(starts) if related else track.start_s
    if not video:
        _close(pictures)
    if not audio:
        _close(sound)
    return _pieces(Path(path), pictures if video else None, sound if audio else None, piece_frames, report)


def _pieces(
    path: Path, pictures: Track | None, sound: Track | None, piece_frames: int, report: bool
) -> Iterator[Piece]:
    """Pairs the ticks of both streams and packs them; the shorter stream is absent for the rest."""
    silence = np.zeros(SAMPLES_PER_FRAME, np.float32)
    ticks = zip_longest(
        picture_ticks(pictures) if pictures else (),
        sound_ticks(resampled(sound)) if sound else (),
    )
    first = 0
    try:
        while part := list(islice(ticks, piece_frames)):
            yield Piece(
                first_frame=first,
                frames=[frame for frame, _ in part],
                audio=np.concatenate([silence if samples is None else samples for _, samples in part]),
                audio_present=np.array([samples is not None for _, samples in part]),
                damaged=sum(track.damaged for track in (pictures, sound) if track),
            )
            first += len(part)
    finally:
        for track in (pictures, sound):
            if report and track and track.damaged:
                log.warning("%s: skipped %d damaged %s packets", path, track.damaged, track.kind)
        _close(pictures, sound)


def read_lips(source: bytes | str | os.PathLike[str]) -> np.ndarray:
    """The crops that `mp4.write_lips` stored.

    Args:
        source: the file's bytes, or its path.

    Returns:
        (T, H, W) uint8 grey; T in the order and number written.

    Raises:
        MediaError: it is not a video.
    """
    import av

    name = f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)
    planes = []
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else name, mode="r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # pictures this small gain nothing from threads
            for frame in container.decode(stream):
                luma = frame.planes[0]  # rows are padded to the decoder's alignment
                rows = np.frombuffer(memoryview(luma), np.uint8)[: luma.line_size * frame.height]
                planes.append(rows.reshape(frame.height, luma.line_size)[:, : frame.width])
            return np.stack(planes) if planes else np.empty((0, CROP_SIZE, CROP_SIZE), np.uint8)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{name}: cannot be read as a video of lips ({error}); prepare the clip again") from error


# ---------------------------------------------------------------------------------------------- opening and decoding


def _open_tracks(path: str | os.PathLike[str]) -> tuple[Track | None, Track | None]:
    """The picture and the sound of a file, each None if not one frame of it can be decoded; at least one is not."""
    path = Path(path)
    pictures = Track(path, "video")
    try:
        sound = Track(path, "audio")
    except BaseException:
        pictures.close()
        raise
    found = [track if track.first is not None else None for track in (pictures, sound)]
    _close(*(track for track in (pictures, sound) if track.first is None))
    if found == [None, None]:
        raise MediaError(
            f"{path}: holds neither sound nor picture that can be decoded (cut off before its first frame, or its "
            "streams are empty); give a complete media file"
        )
    return found[0], found[1]


def _open(path: Path) -> av.container.InputContainer:
    """Opens a file for demuxing.

    Raises:
        MediaError: it is missing, not a file, empty, unreadable, or no film or recording.
    """
    import av

    try:
        if not path.exists():
            raise MediaError(f"{path}: no such file; check the name")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise MediaError(f"{path}: is {kind}; give a media file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty (0 bytes); give a complete media file")
        # "file:" keeps a colon in a name from being read as a protocol; the whitelist keeps a playlist from being
        # fetched from the network. Tags in an old encoding must not stop the reading.
        container = av.open(
            f"file:{path.absolute()}",
            mode="r",
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise MediaError(
            f"{path}: cannot be read as media ({reason}); give a video (mp4, mkv, webm, mov, avi, mpg) "
            "or a sound file (wav, mp3, flac, ogg, m4a) that plays"
        ) from error
    name = container.format.name
    if name in ("tty", "image2") or name.endswith("_pipe"):  # text drawn as a picture, or a photograph
        container.close()
        raise MediaError(f"{path}: is a {'text' if name == 'tty' else 'picture'}, not a recording; give a media file")
    return container


class Track:
    """One decoded stream of a file, in a container of its own, with its times in seconds.

    Iterating yields (start, duration, frame), times in seconds after `origin_s`. Damaged packets are skipped and
    counted; where the file breaks off, the iteration ends.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        self.damaged = 0
        self.origin_s = 0.0
        self.container = _open(path)
        streams = [
            stream
            for stream in getattr(self.container.streams, kind)
            if stream.codec_context is not None and not stream.disposition.value & ATTACHED_PICTURE
        ]
        self.first: Any = None
        self.start_s = 0.0
        if not streams:
            return
        self.stream = max(streams, key=lambda stream: (stream.disposition.value & DEFAULT, -stream.index))
        self.fps = _nominal_fps(self.stream) if kind == "video" else 0.0
        self._clock = _Clock(self.stream, bool(self.container.format.flags & CLOCK_RESTARTS))
        if kind == "video" and self.stream.width * self.stream.height > 1280 * 720:
            self.stream.thread_type = "AUTO"  # worth the extra frames in flight only where decoding is slow
        self._timed = self._decode()
        head = next(self._timed, None)
        if head is not None:
            self.start_s, _, self.first = head
            self._timed = chain([head], self._timed)

    def __iter__(self) -> Iterator[tuple[float, float, Any]]:
        for start_s, duration_s, frame in self._timed:
            yield start_s - self.origin_s, duration_s, frame

    def close(self) -> None:
        self.container.close()

    def _decode(self) -> Iterator[tuple[float, float, Any]]:
        import av

        for packet in chain(self._packets(), [None]):  # None empties the decoder at the end, however the file ended
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
                    duration_s = float((getattr(frame, "duration", 0) or 0) * self.stream.time_base) or 1 / self.fps
                yield self._clock.stamp(frame, duration_s), duration_s, frame

    def _packets(self) -> Iterator[Any]:
        """The stream's packets; goes on after a demuxing error until three come with no packet between them."""
        import av

        failures = 0
        while failures < 3:
            try:
                for packet in self.container.demux(self.stream):
                    if packet.size:  # the empty ones only say that the end has come
                        failures = 0
                        yield packet
                return
            except IndexError:  # PyAV trips at the end of a file in which a further stream turned up midway
                return
            except av.FFmpegError:
                self.damaged += 1
                failures += 1


class _Clock:
    """A stream's timestamps as seconds; mends the ones that are missing and the ones that leap.

    A missing timestamp (AVI, MPEG) follows from the decoding order or, failing that, from the frame before. A leap that
    no recording makes is closed up, as FFmpeg's own command line does.
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
            if leap_s > LEAP_S or (self._restarts and not -BROADCAST_RETURN_S < leap_s < BROADCAST_LEAP_S):
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
    """Pictures a second on average; 25 where the file says nothing believable (a clock rate, for instance)."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 1 <= rate <= 240 else float(FPS)


def _duration_s(tracks: list[Track]) -> float:
    """Seconds as the container declares them; counted from the packets (not decoded) where it does not."""
    container = tracks[0].container
    if container.duration and container.duration > 0:
        return container.duration / 1_000_000
    spans = []
    for track in tracks:
        unit_s, last_s = float(track.stream.time_base), track.start_s
        for packet in track._packets():
            length_s = (packet.duration or 0) * unit_s
            last_s = last_s + length_s if packet.pts is None else max(last_s, packet.pts * unit_s + length_s)
        spans.append((track.start_s, last_s))
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _close(*tracks: Track | None) -> None:
    for track in tracks:
        if track is not None:
            track.close()
