"""Any media file as 25 pictures and 16 000 samples a second on one clock.

Times come from the timestamps in the file, never from counting frames at a nominal rate.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from avsr.base.errors import MediaError
from avsr.base.inputs import whole_number
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.media.container import (
    MOST_PIXELS,
    Demuxer,
    confined,
    describe_streams,
)
from avsr.preprocessing.media.cutoff import cut_off
from avsr.preprocessing.media.ticks import Picture, Shape, picture_ticks, resampled, sound_ticks
from avsr.preprocessing.media.tracks import LEAP_S, Track, Watch, declared_s

log = logging.getLogger(__name__)

MOST_TOLD = 10  # sound tracks that a line names
RUN_UP_S = 1.0  # decoded before a stretch begins: until then decoders of sound have settled

Span = tuple[float, float | None]
"""Where a stretch of a file begins and ends, in seconds; None is the end of the file."""


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds, as `Media.pieces` will deliver it.

    Attributes:
        path: the file.
        duration_s: seconds, as the file declares them (a file that was cut off may hold less).
        has_audio, has_video: whether at least one frame of sound, of picture could be decoded.
        width, height: pixels of the pictures: upright, square pixels, long side at most 1920.
        stored: (width, height) of the pictures as the file has them, upright.
        rotation: degrees counter-clockwise that were applied to make the picture upright: 0, 90,
            180 or 270.
        fps: average pictures a second in the file; 0.0 without video.
        sample_rate, channels: of the sound in the file; 0 without audio.
    """

    path: Path
    duration_s: float
    has_audio: bool
    has_video: bool
    width: int
    height: int
    stored: tuple[int, int]
    rotation: int
    fps: float
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Piece:
    """A stretch of n frames (n / 25 s); frame i of it is frame `first_frame + i` of the file.

    Attributes:
        first_frame: index of the first frame on the file's clock.
        pictures: n pictures of one size throughout the file, converted when `rgb()` is called; None
            where absent. A picture that stays on screen is the same object again.
        audio: (n * 640,) float32 in [-1, 1], 16 kHz mono; zero where absent.
        audio_present: (n,) bool.
        damaged: packets of the file that could not be read or decoded and were skipped so far.
    """

    first_frame: int
    pictures: list[Picture | None]
    audio: np.ndarray
    audio_present: np.ndarray
    damaged: int = 0

    def __len__(self) -> int:
        """n."""
        return len(self.pictures)

    @property
    def frames(self) -> list[np.ndarray | None]:
        """All pictures as (H, W, 3) uint8 RGB, contiguous; copy before writing into one."""
        return [None if picture is None else picture.rgb() for picture in self.pictures]

    @property
    def video_present(self) -> np.ndarray:
        """(n,) bool, false where no picture is on screen."""
        return np.array([picture is not None for picture in self.pictures], dtype=bool)


class Media:
    """A media file that was opened: what it holds, then its pieces. Made by open_media; a context
    manager.

    Attributes:
        path: the file.
        info: what it holds.
        format: FFmpeg's name of its container.
        streams: all of its streams, used or not.
    """

    def __init__(
        self, path: Path, audio_track: int | None = None, span: Span | None = None
    ) -> None:
        self.path, self._audio_track = path, audio_track
        self._span = span or (0.0, None)
        # not read yet but for their first frames
        self._opened: dict[str, Track]
        self._opened, self._faults = self._open()
        self._missed: list[str] = []  # of these, what was asked for
        self._read: dict[str, Track] = {}  # the last that were read of either kind
        self.info = self._info()
        container = next(iter(self._opened.values())).container
        self.format = container.format.name
        self.streams = describe_streams(container)
        self._declared_s = (container.duration or 0) / 1e6
        self._start_s = (container.start_time or 0) / 1e6

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; pieces that were handed out stay good."""
        _close(*self._opened.values(), *self._read.values())

    def watch(self, kind: str, watch: Watch) -> None:
        """Shows every decoded frame of the "video" or "audio" to somebody, the first time it is
        read."""
        if kind in self._opened:
            self._opened[kind].watch = watch

    @property
    def damaged(self) -> int:
        """Packets that could not be read or decoded and were skipped, of all that was read."""
        return sum(track.damaged for track in self._read.values())

    @property
    def cancelled_s(self) -> float:
        """Seconds in which a plain mix of the sound's channels would have cancelled."""
        return self._read["audio"].remarks.cancelled_s if "audio" in self._read else 0.0

    @property
    def missing(self) -> str | None:
        """One line about what a file that was cut off lacks; complete when the pieces are."""
        ended = [track for track in self._read.values() if track.ended]
        there_s = max([track.passed_s - self._start_s for track in ended], default=0.0)
        if not ended:
            return None
        return cut_off(self.path, self.format, self._declared_s, there_s, self._start_s)

    @property
    def warnings(self) -> list[str]:
        """What was wrong with the streams that were read, a line each; complete when the pieces
        are."""
        found = list(self._missed)
        sound = self._read.get("audio")
        if sound and sound.others and self._audio_track is None:
            told = ", ".join(sound.others[:MOST_TOLD])
            if len(sound.others) > MOST_TOLD:
                told += f" and {len(sound.others) - MOST_TOLD} more"
            found.append(
                f"sound tracks: {told}; {sound.number} was used, choose with --audio-track"
            )
        for kind in ("video", "audio"):
            track = self._read.get(kind)
            if track and track.damaged:
                found.append(f"skipped {track.damaged} damaged {kind} packets")
            if track and track.remarks.cancelled_s:
                seconds = f"{track.remarks.cancelled_s:.1f} s"
                found.append(
                    f"the sound's channels cancel each other in {seconds}: mixed so that they do "
                    "not"
                )
        return [*found, missing] if (missing := self.missing) else found

    def pieces(
        self, *, video: bool = True, audio: bool = True, piece_frames: int = 25
    ) -> Iterator[Piece]:
        """Decodes the file piece by piece, in memory that does not grow with its length.

        The clock starts with the stream that starts first, whichever streams are asked for. Frame t
        shows the picture that is on screen at t / 25 s. Where the video runs at 25 pictures a
        second but out of phase with that clock, it is moved onto it (by 20 ms at most), so that
        each of its pictures is used once. Sound is placed to the sample.

        A stream that was read once is opened anew when it is asked for again.

        Args:
            video: False leaves the pictures out (None, and not decoded); the file then ends with
                its sound.
            audio: False leaves the sound out (zeros, absent); the file then ends with its pictures.
            piece_frames: frames in each piece but the last.

        Returns:
            Pieces in order. What is missing, lost or damaged is marked absent; trailing absence is
            not delivered.
        """
        if piece_frames < 1:
            raise ValueError(f"piece_frames is {piece_frames}, must be at least 1")
        asked = {"video": video, "audio": audio}
        self._missed = [fault for kind, fault in self._faults.items() if asked[kind]]
        wanted = {"video": video and self.info.has_video, "audio": audio and self.info.has_audio}
        if any(wanted[kind] and kind not in self._opened for kind in wanted):
            _close(*self._opened.values())
            self._opened, _ = self._open()
        tracks = {kind: self._opened.pop(kind) for kind in wanted if wanted[kind]}
        _close(*self._opened.values())
        self._opened.clear()
        self._read |= tracks
        start_s, end_s = self._span
        if start_s > RUN_UP_S:
            for track in tracks.values():
                track.skip_to(start_s - RUN_UP_S)
        frames = slice(round(start_s * FPS), None if end_s is None else round(end_s * FPS))
        return _pieces(tracks.get("video"), tracks.get("audio"), piece_frames, frames)

    def take(self, kind: str) -> Track:
        """The "video" or "audio" that `info` says is there, frame by frame as it is in the file, on
        the file's clock; in place of pieces. It is closed with the file."""
        track = self._opened.pop(kind)
        self._read[kind] = track
        return track

    def _open(self) -> tuple[dict[str, Track], dict[str, str]]:
        """The tracks that can be used, and why others cannot."""
        # each stream goes on at a place of its own where a stretch begins midway
        apart = self._span[0] > RUN_UP_S
        return _open_tracks(self.path, self._audio_track, apart)

    def _info(self) -> MediaInfo:
        pictures, sound = self._opened.get("video"), self._opened.get("audio")
        shape = Shape.of(pictures.stream, pictures.first) if pictures else Shape(0, 0, 0)
        height, width = shape.upright
        stored = (pictures.first.width, pictures.first.height) if pictures else (0, 0)
        whole_s = declared_s(self.path, [track for track in (pictures, sound) if track])
        start_s, end_s = self._span
        ends_s = whole_s if end_s is None else min(end_s, whole_s)
        return MediaInfo(
            path=self.path,
            duration_s=max(0.0, ends_s - start_s),
            has_audio=sound is not None,
            has_video=pictures is not None,
            width=width,
            height=height,
            stored=stored[::-1] if shape.quarter_turns % 2 else stored,
            rotation=shape.quarter_turns * 90,
            fps=pictures.fps if pictures else 0.0,
            sample_rate=sound.first.sample_rate if sound else 0,
            channels=len(sound.first.layout.channels) if sound else 0,
        )


def open_media(
    path: str | os.PathLike[str], *, audio_track: int | None = None, span: Span | None = None
) -> Media:
    """Opens a media file and decodes the first frame of each stream.

    Args:
        path: any container FFmpeg reads.
        audio_track: which of several sound tracks, counted from 1; the file's own default where
            None.
        span: the stretch to read, in seconds of the file; its first frame then counts as 0. All of
            it where None.

    Raises:
        MediaError: the file is missing, a folder, empty, not media, has neither sound nor picture
            to decode, or no such track.
        AvsrError: audio_track is no number.
    """
    if audio_track is not None:
        audio_track = whole_number(audio_track, "audio track", "a number, from 1 on")
    return Media(Path(path), audio_track, span)


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """What a file holds; raises as open_media."""
    with open_media(path) as media:
        return media.info


def read(
    path: str | os.PathLike[str],
    *,
    piece_frames: int = 25,
    video: bool = True,
    audio: bool = True,
) -> Iterator[Piece]:
    """The pieces of a file, see Media.pieces; what was wrong with it is logged at the end.

    Args:
        path, piece_frames, video, audio: as in open_media and Media.pieces.

    Raises:
        MediaError: as open_media, at once and not at the first piece.
    """
    media = open_media(path)
    pieces = media.pieces(video=video, audio=audio, piece_frames=piece_frames)

    def told() -> Iterator[Piece]:
        try:
            yield from pieces
        finally:
            for warning in media.warnings:
                log.warning("%s: %s", path, warning)
            media.close()

    return told()


def _pieces(
    pictures: Track | None, sound: Track | None, piece_frames: int, frames: slice
) -> Iterator[Piece]:
    """Pairs the ticks of both streams and packs them; the shorter stream is absent for the rest."""
    silence = np.zeros(SAMPLES_PER_FRAME, np.float32)
    all_ticks = zip_longest(
        picture_ticks(pictures) if pictures else (),
        sound_ticks(resampled(sound)) if sound else (),
    )
    ticks = islice(all_ticks, frames.start, frames.stop)
    first = 0
    try:
        while part := list(islice(ticks, piece_frames)):
            yield Piece(
                first_frame=first,
                pictures=[picture for picture, _ in part],
                audio=np.concatenate(
                    [silence if samples is None else samples for _, samples in part]
                ),
                audio_present=np.array([samples is not None for _, samples in part]),
                damaged=sum(track.damaged for track in (pictures, sound) if track),
            )
            first += len(part)
    finally:
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
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        with av.open(io.BytesIO(data), mode="r", container_options=confined()) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # pictures this small gain nothing from threads
            for frame in container.decode(stream):
                luma = frame.planes[0]  # rows are padded to the decoder's alignment
                rows = np.frombuffer(memoryview(luma), np.uint8)[: luma.line_size * frame.height]
                planes.append(rows.reshape(frame.height, luma.line_size)[:, : frame.width])
            return np.stack(planes) if planes else np.empty((0, CROP_SIZE, CROP_SIZE), np.uint8)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise MediaError(
            f"{name}: cannot be read as a video of lips ({error}); prepare the clip again"
        ) from error


def _open_tracks(
    path: Path, audio_track: int | None, apart: bool
) -> tuple[dict[str, Track], dict[str, str]]:
    """The picture and the sound of a file by kind, on one clock, and `apart` where either is read
    in a container of its own; only those that can be used, and why others cannot."""
    demuxers = [Demuxer(path)]
    try:
        demuxers.append(Demuxer(path) if apart else demuxers[0])
        numbers = {"video": None, "audio": audio_track}
        tracks = {
            kind: Track(demuxer, kind, numbers[kind])
            for kind, demuxer in zip(numbers, demuxers, strict=True)
        }
        for track in tracks.values():
            track.begin()
    except BaseException:
        for demuxer in demuxers:
            demuxer.close()
        raise
    if audio_track is not None and not tracks["audio"].number:
        _close(*tracks.values())
        raise MediaError(f"{path}: has no audio track {audio_track}: it has no sound")
    faults = {kind: fault for kind, track in tracks.items() if (fault := _fault(track))}
    nothing = f"{path}: {'; '.join(faults.values()) or _nothing(tracks['audio'])}"
    for kind, track in list(tracks.items()):
        if track.unusable or track.first is None:
            tracks.pop(kind).close()
    if not tracks:
        raise MediaError(nothing)
    starts = [track.start_s for track in tracks.values()]
    # else the streams' clocks have nothing to do with each other
    related = max(starts) - min(starts) <= LEAP_S
    for track in tracks.values():
        track.origin_s = min(starts) if related else track.start_s
    return tracks, faults


def _fault(track: Track) -> str:
    """Why a stream is of no use; empty where it is of use, or nothing came of it."""
    if track.unusable or track.first is not None or not track.number:
        return track.unusable
    if track.kind == "video" and track.stream.width * track.stream.height > MOST_PIXELS:
        size = f"{track.stream.width} x {track.stream.height}"
        most = f"{MOST_PIXELS / 1e6:.0f} million"
        return f"its pictures have {size} pixels, at most {most} are decoded: make them smaller"
    if not track.damaged:
        return ""
    what = "picture" if track.kind == "video" else "sound"
    codec = track.stream.codec_context.name
    return f"its {what} ({codec}) cannot be decoded: it is damaged, encrypted or too large"


def _nothing(track: Track) -> str:
    """What to say of a file of which nothing can be decoded."""
    kinds = {stream.kind for stream in describe_streams(track.container)}
    others = ", ".join(sorted(kinds - {"video", "audio"}))
    held = f"there is only: {others}" if others else "cut off before its first frame, or empty"
    return (
        f"holds neither sound nor picture that can be decoded ({held}); give a complete media file"
    )


def _close(*tracks: Track | None) -> None:
    for track in tracks:
        if track is not None:
            track.close()
