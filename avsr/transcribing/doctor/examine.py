"""A media file measured: its streams, its times, its sound, its faces. What that means is said
elsewhere (advice).

The file is decoded once (a second time only where it is long and nobody leads among its faces, see
ClipReader), in memory that does not grow but for a few dozen bytes a frame.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from avsr import sync
from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.media.tracks import StreamInfo
from avsr.transcribing.doctor.raw import Channels, PictureTimes
from avsr.transcribing.voice.activity import SILENCE, heard, level, moving, runs

if TYPE_CHECKING:
    from avsr.decoding.domain import Domain
    from avsr.decoding.words import Hypothesis
    from avsr.preprocessing.reader import ClipReader


class Recogniser(sync.Recogniser, Protocol):
    """What is needed of the bundled model: its embedding, and whether it knows what is said."""

    @property
    def domain(self) -> Domain | None: ...

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Hypothesis]: ...


WINDOW_S = 20.0  # looked at together
LOOKS, LOOK_FRAMES = 3, 10 * FPS  # stretches of speech by which offset and language are judged
FEWEST = FPS // 2  # frames of speech, and of its pauses, from which a noise level is told
SHEET = 16  # crops at most that are kept to be looked at
WHITE = 250  # grey levels from which a pixel counts as white


@dataclass(frozen=True)
class Picture:
    """The pictures of a file.

    Attributes:
        width, height: upright, pixels.
        rotation: degrees by which they were turned.
        fps: pictures a second, from their timestamps.
        varying: share of the steps between two pictures that differ from the usual one.
        range_ms: 5 % and 95 % of the steps between two pictures.
    """

    width: int
    height: int
    rotation: int
    fps: float
    varying: float
    range_ms: tuple[int, int]


@dataclass(frozen=True)
class Sound:
    """The sound of a file.

    Attributes:
        sample_rate: Hz, in the file.
        channels: their names.
        rms_db: of each channel, decibels of full scale.
        peak_db: of the loudest sample.
        clipped: share of samples at the peak or at full scale.
        correlation: the lowest of two channels.
        cancelled_s: seconds in which a plain mix of the channels would cancel.
        silent: (first second, end) of the longest stretch without any sound.
        level_db: of the frames in which a voice is heard; None where there are none.
        snr_db: that of the voice over what lies beneath, estimated; None where one of the two is
            not to be had.
    """

    sample_rate: int
    channels: list[str]
    rms_db: list[float]
    peak_db: float
    clipped: float
    correlation: float
    cancelled_s: float
    silent: tuple[float, float]
    level_db: float | None
    snr_db: float | None


@dataclass(frozen=True)
class Faces:
    """The faces of a file, and the mouth of the one that is read.

    Attributes:
        count: persons.
        who: all of them, in a line.
        seen: share of the pictures in which the one that is read has a face.
        readable: share of the pictures with a mouth that can be read.
        mouth_px: median width of the mouth, source pixels; 0 without a face.
        yaw_deg: median of how far the head is turned, without its side.
        roll_deg: the same of how far it is tilted.
        grey, white, sharpness: of the crops: median grey level, 0 to 255; share of white pixels;
            share of their contrast that is fine detail.
    """

    count: int
    who: str
    seen: float
    readable: float
    mouth_px: float
    yaw_deg: float
    roll_deg: float
    grey: float
    white: float
    sharpness: float


@dataclass(frozen=True)
class Speech:
    """Who speaks, and whether what is seen is what is heard.

    Attributes:
        voice: share of the sound in which a voice is heard.
        lips: share of the readable pictures in which the mouth moves as in speech.
        offset: by how much the sound lags behind the lips; None where that cannot be told.
        own_language: whether the speech is of the bundled model's language; None where it cannot
            be told.
    """

    voice: float
    lips: float
    offset: sync.Offset | None
    own_language: bool | None


@dataclass(frozen=True)
class Examination:
    """All that was measured; None for what is not there.

    Attributes:
        crops: a few crops of the mouth with their time in seconds.
    """

    file: str
    format: str
    size_bytes: int
    duration_s: float
    streams: tuple[StreamInfo, ...]
    cut_off: str | None
    damaged: int
    picture: Picture | None
    sound: Sound | None
    faces: Faces | None
    speech: Speech
    crops: list[tuple[float, np.ndarray]] = field(default_factory=list, repr=False)


def examine(
    path: Path, recogniser: Recogniser, progress: Callable[[float, float], None]
) -> Examination:
    """Measures a file.

    Args:
        path: any container that FFmpeg reads.
        recogniser: the bundled model, whose embedding tells the offset.
        progress: told the seconds done and those there are.

    Raises:
        MediaError: the file cannot be read.
    """
    from avsr.preprocessing.reader import ClipReader, OtherFace

    times, channels = PictureTimes(), Channels()
    with ClipReader(path, window_s=WINDOW_S, insist=False) as reader:
        reader.media.watch("video", times)
        reader.media.watch("audio", channels)
        total_s = reader.info.duration_s
        reader.progress = lambda seconds: progress(seconds, total_s)
        try:
            seen = _seen(reader)
        except OtherFace:  # the face that led at first is not the one meant over the whole file
            seen = _seen(reader)
    media, info = reader.media, reader.info
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise MediaError(f"{path}: is gone; check the name") from error
    picture = sound = faces = None
    if info.has_video:
        shape = (info.width, info.height, info.rotation)
        picture = Picture(*shape, times.fps, times.varying, times.range_ms)
        faces = _faces(reader, seen)
    if info.has_audio:
        sound = _sound(info.sample_rate, channels, media.cancelled_s, seen)
    offset, own = _judged(recogniser, seen.looks)
    speech = Speech(seen.share("voice", "audio"), seen.share("moves", "video"), offset, own)
    return Examination(
        str(path),
        media.format,
        size_bytes,
        seen.frames / FPS,
        media.streams,
        media.missing,
        media.damaged,
        picture,
        sound,
        faces,
        speech,
        seen.crops,
    )


class _Seen:
    """What is kept of the clips of a file: a few bytes a frame, and a few crops."""

    def __init__(self) -> None:
        self.frames = 0
        self.looks: list[Clip] = []
        self.crops: list[tuple[float, np.ndarray]] = []
        self._every = 5  # frames from one crop that is measured to the next
        self._keep = 1  # of these, every so many is kept
        self._number = 0
        self.measures: list[tuple[float, float, float]] = []
        self._parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("audio", "video", "voice", "moves", "level")
        }

    def add(self, clip: Clip) -> None:
        found = {
            "audio": clip.audio_present.copy(),
            "video": clip.video_present.copy(),
            "voice": heard(clip),
            "moves": moving(clip),
            "level": level(clip).astype(np.float32),
        }
        for name, values in found.items():
            self._parts[name].append(values)
        self.frames += clip.frames
        self._look(clip, found["voice"])
        for at in np.flatnonzero(clip.video_present)[:: self._every].tolist():
            self._crop(clip.start_s + at / FPS, clip.lips[at])

    def __getitem__(self, name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.bool_), *self._parts[name]])

    def share(self, what: str, of: str) -> float:
        """Of the frames where one thing is there, those with the other; 0 where there are none."""
        there = self[of].astype(bool)
        return float(self[what][there].mean()) if there.any() else 0.0

    def _look(self, clip: Clip, voice: np.ndarray) -> None:
        """Keeps the first seconds in which a voice is heard."""
        at = np.flatnonzero(voice)
        if len(self.looks) < LOOKS and len(at) >= FEWEST:
            first = max(0, int(at[0]) - FPS)
            part = clip.window(first, min(clip.frames, first + LOOK_FRAMES))
            own = {name: getattr(part, name).copy() for name in ("audio", "lips")}
            self.looks.append(
                Clip(
                    part.id,
                    **own,
                    audio_present=part.audio_present.copy(),
                    video_present=part.video_present.copy(),
                    start_s=part.start_s,
                )
            )

    def _crop(self, time_s: float, crop: np.ndarray) -> None:
        self.measures.append(crop_measures(crop))
        if self._number % self._keep == 0:
            self.crops.append((time_s, crop.copy()))
            if len(self.crops) > 2 * SHEET:  # half of them, spread as evenly
                self.crops, self._keep = self.crops[::2], 2 * self._keep
        self._number += 1


def _seen(reader: ClipReader) -> _Seen:
    seen = _Seen()
    for clip in reader:
        seen.add(clip)
    return seen


def crop_measures(crop: np.ndarray) -> tuple[float, float, float]:
    """Of a crop, (96, 96) uint8: median grey level, share of white pixels, sharpness.

    Sharpness is the part of the contrast that a blur of 2 pixels takes away.
    """
    import cv2

    values = crop.astype(np.float32)
    fine = values - cv2.GaussianBlur(values, (0, 0), 2.0)
    sharpness = float(fine.std() / max(float(values.std()), 1.0))
    return float(np.median(values)), float((crop >= WHITE).mean()), sharpness


def _faces(reader: ClipReader, seen: _Seen) -> Faces:
    from avsr.preprocessing.faces.face import CORNERS, POINTS
    from avsr.preprocessing.faces.persons import list_persons

    chosen, pictured = reader.chosen, max(1, reader.pictured)
    if chosen is None:
        return Faces(0, "no face found", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    points = np.concatenate([track.points for track in chosen.tracks])
    yaw_deg = np.concatenate([track.yaw_deg for track in chosen.tracks])
    left, right = POINTS.index(33), POINTS.index(263)  # the outer corners of the eyes
    eyes = points[:, right] - points[:, left]
    roll_deg = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    mouths = np.linalg.norm(points[:, CORNERS[0]] - points[:, CORNERS[1]], axis=1)
    crops = np.median(seen.measures, axis=0) if seen.measures else np.zeros(3)
    return Faces(
        len(reader.persons),
        list_persons(reader.persons),
        min(1.0, chosen.duration / pictured),
        float(seen["video"].sum()) / pictured,
        float(np.median(mouths)),
        float(np.median(np.abs(yaw_deg))),
        float(np.median(np.abs(roll_deg))),
        *(float(value) for value in crops),
    )


def _sound(rate: int, channels: Channels, cancelled_s: float, seen: _Seen) -> Sound:
    levels, voice, there = seen["level"], seen["voice"].astype(bool), seen["audio"].astype(bool)
    quiet = runs(levels <= SILENCE, gap=0)
    first, last = max(quiet, key=lambda run: run[1] - run[0]) if quiet else (0, 0)
    speech = 10 * np.log10(np.mean(levels[voice] ** 2)) if voice.any() else None
    return Sound(
        rate,
        channels.names,
        channels.rms_db.tolist(),
        channels.peak_db,
        channels.clipped,
        channels.correlation,
        cancelled_s,
        (first / FPS, last / FPS),
        None if speech is None else float(speech),
        snr_db(levels, voice, there & ~voice),
    )


def snr_db(levels: np.ndarray, voice: np.ndarray, pauses: np.ndarray) -> float | None:
    """How far a voice stands above what is there in its pauses, which is taken off it first.

    The median of the pauses counts: with their mean, a voice that was missed in one of 48 clips of
    GRID makes 15 dB of noise.

    Args:
        levels: (T,) root mean square of each frame.
        voice, pauses: (T,) bool, frames with a voice, and with sound and none.

    Returns:
        Decibels; None with less than half a second of either, or with pauses of digital silence.
    """
    pauses = pauses & (levels > SILENCE)
    if voice.sum() < FEWEST or pauses.sum() < FEWEST:
        return None
    noise = float(np.median(levels[pauses] ** 2))
    speech = float(np.mean(levels[voice] ** 2)) - noise
    return float(10 * np.log10(max(speech, noise / 100) / noise))


def _judged(recogniser: Recogniser, looks: list[Clip]) -> tuple[sync.Offset | None, bool | None]:
    """The offset of sound and lips, and whether the speech is of the model's language."""
    apart = [part for look in looks for part in (look, _absent(sync.FAR_FRAMES))]
    both = any((look.audio_present & look.video_present).any() for look in looks)
    offset = sync.offset_of(recogniser, apart) if both else None
    domain = recogniser.domain
    if domain is None or not looks:
        return offset, None
    found = recogniser.recognise(looks, "audio")
    own = [
        domain.judge(hypothesis.words, recogniser.activity(look)[0], look.start_s)
        for look, hypothesis in zip(looks, found, strict=True)
    ]
    told = [fits for fits in own if fits is not None]
    return offset, 2 * sum(told) >= len(told) if told else None


def _absent(frames: int) -> Clip:
    """Parts two looks, so that no lag joins them."""
    from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME

    nothing = np.zeros(frames, np.bool_)
    lips = np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8)
    return Clip("", np.zeros(frames * SAMPLES_PER_FRAME, np.float32), lips, nothing, nothing)
