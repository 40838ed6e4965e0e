"""Any media file as 25 pictures and 16 000 samples a second on one clock; the only file that opens media.

Times come from the timestamps in the file, never from counting frames at a nominal rate. Sound and picture are read
through a container each, so that a badly interleaved file needs no more memory than a well interleaved one.
"""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.errors import MediaError

if TYPE_CHECKING:
    import av

MAX_SIDE = 1920  # longer pictures are scaled down: no face needs more, and 4K would cost four times the memory
ROUNDING_S = 0.001  # containers that count in milliseconds round a timestamp by up to this much
JITTER_S = 1 / FPS  # sound timestamps may stray this far from the sample count before they are believed
HOLD_S = 2.0  # a picture that declares no duration stays on screen at most this long; after that the stream is lost
LEAP_S = 3600.0  # a longer step in the timestamps is a fault in the file, not silence
BROADCAST_LEAP_S = 10.0  # the same for transport and program streams, whose clocks may restart (FFmpeg's limit) ...
BROADCAST_RETURN_S = 1.0  # ... and how far they must step back for that; joined recordings begin again at 0
MIN_SAMPLES = SAMPLES_PER_FRAME // 8  # a frame with less sound than this (5 ms) has none

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
        shape = _Shape.of(pictures) if pictures else _Shape(0, 0, 0)
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
    path: str | os.PathLike[str], *, piece_frames: int = 25, video: bool = True, audio: bool = True
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
    return _pieces(Path(path), pictures if video else None, sound if audio else None, piece_frames)


def _pieces(path: Path, pictures: _Track | None, sound: _Track | None, piece_frames: int) -> Iterator[Piece]:
    """Pairs the ticks of both streams and packs them; the shorter stream is absent for the rest."""
    silence = np.zeros(SAMPLES_PER_FRAME, np.float32)
    ticks = zip_longest(
        _picture_ticks(pictures) if pictures else (),
        _sound_ticks(_resampled(sound)) if sound else (),
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
            if track and track.damaged:
                log.warning("%s: skipped %d damaged %s packets", path, track.damaged, track.kind)
        _close(pictures, sound)


# ---------------------------------------------------------------------------------------------- opening and decoding


def _open_tracks(path: str | os.PathLike[str]) -> tuple[_Track | None, _Track | None]:
    """The picture and the sound of a file, each None if not one frame of it can be decoded; at least one is not."""
    path = Path(path)
    pictures = _Track(path, "video")
    try:
        sound = _Track(path, "audio")
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


class _Track:
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


def _duration_s(tracks: list[_Track]) -> float:
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


def _close(*tracks: _Track | None) -> None:
    for track in tracks:
        if track is not None:
            track.close()


# ------------------------------------------------------------------------------------------------- pictures and sound


@dataclass(frozen=True)
class _Shape:
    """How a decoded picture becomes an upright one with square pixels: its size before turning, and the turns."""

    width: int
    height: int
    quarter_turns: int  # counter-clockwise

    @classmethod
    def of(cls, track: _Track) -> _Shape:
        frame, aspect = track.first, track.stream.sample_aspect_ratio or track.stream.codec_context.sample_aspect_ratio
        aspect = float(aspect) if aspect and 0.2 < aspect < 5 else 1.0
        width, height = frame.width * aspect, float(frame.height)
        scale = min(1.0, MAX_SIDE / max(width, height))
        return cls(max(1, round(width * scale)), max(1, round(height * scale)), round((frame.rotation or 0) / 90) % 4)

    def rgb(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8, contiguous: rows are padded in FFmpeg's memory at widths such as 360."""
        import av

        try:
            picture = frame.reformat(self.width, self.height, "rgb24")
        except av.FFmpegError:  # a damaged header names a colour space that does not exist
            picture = frame.reformat(self.width, self.height, "rgb24", src_colorspace="ITU601")
        return np.ascontiguousarray(np.rot90(picture.to_ndarray(), self.quarter_turns))


def _picture_ticks(track: _Track) -> Iterator[np.ndarray | None]:
    """For t = 0, 1, 2...: the picture on screen at t / 25 s, None where there is none; ends with the last picture."""
    shape = _Shape.of(track)
    # Two streams rarely start at the same instant. A 25 fps video 2 ms behind the clock would show each picture 38 ms
    # late, and one whose timestamps are rounded would drop and double pictures: put it on the clock's own grid.
    phase_s = 0.0
    if abs(track.fps - FPS) < 0.5:
        first_s = track.start_s - track.origin_s
        phase_s = math.floor(first_s * FPS + 0.5) / FPS - first_s
    tick, held, rgb, ends_s, lost_s = 0, None, None, 0.0, 0.0
    for start_s, duration_s, frame in track:
        start_s += phase_s
        while tick / FPS + ROUNDING_S < start_s:
            if held is not None and tick / FPS < lost_s:
                rgb = shape.rgb(held) if rgb is None else rgb
                yield rgb
            else:
                yield None
            tick += 1
        held, rgb, ends_s = frame, None, start_s + duration_s
        lost_s = max(ends_s, start_s + HOLD_S)
    while tick / FPS + ROUNDING_S < ends_s:
        rgb = shape.rgb(held) if rgb is None else rgb
        yield rgb
        tick += 1


def _resampled(track: _Track) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of 16 kHz mono sound with the sample each begins at; a jump in the timestamps begins a new run.

    Within a run samples are counted and timestamps only watched, since containers round them.
    """
    import av

    resampler: _Resampler | None = None
    kind, position, expected_s = None, 0, 0.0
    for start_s, duration_s, frame in track:
        jumped = kind is None or abs(start_s - expected_s) > JITTER_S
        this_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or jumped or this_kind != kind:
            if resampler is not None:
                samples = resampler.mono(None)
                yield position, samples
                position += len(samples)
            if jumped:
                position, expected_s = round(start_s * SAMPLE_RATE), start_s
            resampler, kind = _Resampler(), this_kind
        try:
            samples = resampler.mono(frame)
        except av.FFmpegError:  # a damaged header names a layout that cannot be mixed
            track.damaged += 1
            resampler = kind = None
            continue
        yield position, samples
        position += len(samples)
        expected_s += duration_s
    if resampler is not None:
        yield position, resampler.mono(None)


class _Resampler:
    """Frames of any rate, layout and format to 16 kHz mono; swresample, whose filter adds no delay.

    It goes through 16-bit samples: only then does swresample scale a downmix so that it cannot overflow.
    """

    def __init__(self) -> None:
        from av.audio.resampler import AudioResampler

        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def mono(self, frame: av.AudioFrame | None) -> np.ndarray:
        """(n,) float32 in [-1, 1]; None for a frame hands out what the filter still holds."""
        blocks = [block.to_ndarray()[0] for block in self._resampler.resample(frame) if block is not None]
        return np.concatenate([np.empty(0, np.int16), *blocks]).astype(np.float32) / 32768


def _sound_ticks(blocks: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray | None]:
    """For t = 0, 1, 2...: the 640 samples from t / 25 s on, None where there are none; what overlaps is cut."""
    tick, cell, end, covered = 0, np.zeros(SAMPLES_PER_FRAME, np.float32), 0, 0
    for position, samples in blocks:
        late = max(0, tick * SAMPLES_PER_FRAME + end - position)
        position, samples = position + late, samples[late:]
        while len(samples):
            while tick < position // SAMPLES_PER_FRAME:
                yield cell if covered >= MIN_SAMPLES else None
                tick, cell, end, covered = tick + 1, np.zeros(SAMPLES_PER_FRAME, np.float32), 0, 0
            begin = position - tick * SAMPLES_PER_FRAME
            end = min(SAMPLES_PER_FRAME, begin + len(samples))
            cell[begin:end] = samples[: end - begin]
            covered += end - begin
            position, samples = position + end - begin, samples[end - begin :]
    if covered >= MIN_SAMPLES:
        yield cell


# ------------------------------------------------------------------------------------------------------------ writing


def write_lips(target: str | os.PathLike[str] | BinaryIO, lips: np.ndarray, *, crf: int = 12) -> None:
    """Stores grey crops as an H.264 mp4 that any player shows; `read_lips` gives them back nearly unchanged.

    Grey goes into the luma plane at full range, with neutral chroma.

    Args:
        target: a path (written beside and renamed) or a seekable binary file such as `io.BytesIO`.
        lips: (T, H, W) uint8 grey, T at least 1, H and W even; 96 x 96 by convention.
        crf: x264 quality, lower is better; 12 keeps the mean error of real crops below one grey level.
    """
    if lips.ndim != 3 or lips.dtype != np.uint8 or not len(lips) or lips.shape[1] % 2 or lips.shape[2] % 2:
        raise ValueError(f"lips are {lips.dtype} {lips.shape}, must be uint8 (T >= 1, even H, even W)")
    frames, height, width = lips.shape
    planes = np.full((frames, height * 3 // 2, width), 128, np.uint8)
    planes[:, :height] = lips
    _write_mp4(target, planes, "yuv420p", FPS, {"crf": str(crf), "preset": "fast", "x264-params": "threads=1:mbtree=0"})


def read_lips(source: bytes | str | os.PathLike[str]) -> np.ndarray:
    """The crops that `write_lips` stored.

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


def write_video(
    target: str | os.PathLike[str] | BinaryIO,
    frames: Iterable[np.ndarray],
    audio: np.ndarray | None = None,
    *,
    fps: int = FPS,
    sample_rate: int = SAMPLE_RATE,
    crf: int = 18,
) -> None:
    """Writes an mp4 with H.264 pictures and AAC sound.

    Args:
        target: a path (written beside and renamed) or a seekable binary file.
        frames: (H, W, 3) uint8 RGB pictures of one size, at least one; an odd last row or column is cut off.
        audio: (N,) float32 in [-1, 1] mono, or None for a silent film.
        fps: pictures a second.
        sample_rate: of the audio, in Hz.
        crf: x264 quality, lower is better.
    """
    even = (frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames)
    _write_mp4(target, even, "rgb24", fps, {"crf": str(crf), "preset": "veryfast"}, audio, sample_rate)


def _write_mp4(
    target: str | os.PathLike[str] | BinaryIO,
    pictures: Iterable[np.ndarray],
    layout: str,
    fps: int,
    options: dict[str, str],
    audio: np.ndarray | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Encodes pictures (numpy arrays in the pixel format `layout`) and sound into an mp4; a path appears when done."""
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with beside.open("wb") as file:
                _write_mp4(file, pictures, layout, fps, options, audio, sample_rate)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return
    import av

    with av.open(target, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        audio = np.empty(0, np.float32) if audio is None else audio
        sound = container.add_stream("aac", rate=sample_rate, layout="mono") if len(audio) else None
        done = 0  # samples handed to the encoder: sound follows the pictures, so that players need not search for it
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
                if layout == "yuv420p":
                    stream.height = stream.height * 2 // 3
                    stream.codec_context.color_range = 2  # full range: grey 0 to 255 is luma 0 to 255
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
            frame.pts = index
            container.mux(stream.encode(frame))
            if sound is not None:
                until = round((index + 1) * sample_rate / fps)
                container.mux(_encode(sound, audio, done, until))
                done = until
        if sound is not None:
            container.mux(_encode(sound, audio, done, len(audio)))
            container.mux(sound.encode(None))
        container.mux(stream.encode(None))


def _encode(stream: Any, audio: np.ndarray, begin: int, end: int) -> list[Any]:
    """Packets for the samples begin to end (exclusive), if there are any."""
    import av

    samples = np.ascontiguousarray(audio[begin:end], np.float32)[None]
    if not samples.size:
        return []
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = stream.rate, begin
    return stream.encode(frame)
