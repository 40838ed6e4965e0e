"""A media file measured: its streams, its times, its sound, its faces. What that means is said
elsewhere (advice).

The file is decoded once (a second time where it is long and nobody leads among its faces, see
ClipReader; once more for who speaks among several people, and again for the lips of who does), in
memory that does not grow but for a few dozen bytes a frame.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from avsr import sync
from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.media.container import StreamInfo
from avsr.transcribing.doctor.raw import Blackness, Channels, PictureTimes
from avsr.transcribing.doctor.seen import Seen, snr_db
from avsr.transcribing.doctor.talk import Talk, who_talks
from avsr.transcribing.voice.activity import SILENCE, runs

if TYPE_CHECKING:
    from avsr.decoding.domain import Domain
    from avsr.decoding.words import Hypothesis
    from avsr.preprocessing.faces.persons import Person
    from avsr.preprocessing.reader import ClipReader


class Recogniser(sync.Recogniser, Protocol):
    """What is needed of the bundled model: its embedding, and whether it knows what is said."""

    @property
    def domain(self) -> Domain | None: ...

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Hypothesis]: ...


Language = Callable[[Clip], tuple[str, float] | None]
"""Which language is spoken in a clip, as a code, and how likely that is; None where it cannot be
told."""

WINDOW_S = 20.0  # looked at together
LONG_S = 1.0  # of lips that are lost, of silence or of a voice off screen, from which it is told

Spans = tuple[tuple[float, float], ...]
"""(first second, end) of each stretch."""


@dataclass(frozen=True)
class Picture:
    """The pictures of a file.

    Attributes:
        width, height: as the file has them, upright; pixels.
        rotation: degrees by which they were turned.
        fps: pictures a second, from their timestamps.
        varying: share of the steps between two pictures that differ from the usual one.
        range_ms: 5 % and 95 % of the steps between two pictures.
        black: (first second, end) of the stretches in which they show nothing.
    """

    width: int
    height: int
    rotation: int
    fps: float
    varying: float
    range_ms: tuple[int, int]
    black: Spans = ()


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
        chosen: the number of the person who is read.
        lost: (first second, end) of the stretches in which there is a picture and no lips can be
            read.
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
    chosen: int = 0
    lost: Spans = ()


@dataclass(frozen=True)
class Speech:
    """Who speaks, and whether what is seen is what is heard.

    Attributes:
        voice: share of the sound in which a voice is heard.
        lips: share of the readable pictures in which the mouth moves as in speech.
        offset: by how much the sound lags behind the lips; None where that cannot be told.
        own_language: whether the speech is of the bundled model's language; None where it cannot
            be told.
        mouthed: of the frames with a voice and readable lips, the share in which the mouth moves;
            None where there are too few.
        language: its code, and how likely it is that; None where nobody can tell.
    """

    voice: float
    lips: float
    offset: sync.Offset | None
    own_language: bool | None
    mouthed: float | None = None
    language: tuple[str, float] | None = None


@dataclass(frozen=True)
class Examination:
    """All that was measured; None for what is not there.

    Attributes:
        talk: who speaks, where there are several people.
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
    talk: Talk | None = None
    crops: list[tuple[float, np.ndarray]] = field(default_factory=list, repr=False)


def examine(
    path: Path,
    recogniser: Recogniser,
    progress: Callable[[float, float], None],
    language: Language | None = None,
) -> Examination:
    """Measures a file.

    Args:
        path: any container that FFmpeg reads.
        recogniser: the bundled model, whose embedding tells the offset.
        progress: told the seconds done and those there are.
        language: asked where the bundled model does not know what is said.

    Raises:
        MediaError: the file cannot be read.
    """
    from avsr.preprocessing.reader import ClipReader, OtherFace

    times, black, channels = PictureTimes(), Blackness(), Channels()

    def watched(start_s: float, duration_s: float, frame: Any) -> None:
        times(start_s, duration_s, frame)
        black(start_s, duration_s, frame)

    with ClipReader(path, window_s=WINDOW_S, insist=False) as reader:
        reader.media.watch("video", watched)
        reader.media.watch("audio", channels)
        total_s = reader.info.duration_s
        reader.progress = lambda seconds: progress(seconds, total_s)
        try:
            seen = Seen(reader)
        except OtherFace:  # the face that led at first is not the one meant over the whole file
            seen = Seen(reader)
    media, info = reader.media, reader.info
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise MediaError(f"{path}: is gone; check the name") from error
    talk = None
    if reader.chosen is not None and len(reader.persons) > 1:
        talk = who_talks(path, recogniser, reader, WINDOW_S)
        if talk is not None and talk.most not in (None, reader.chosen.id):
            reader, seen = _read_again(path, reader, reader.persons[talk.most])
    picture = sound = faces = None
    if info.has_video:
        shape = (*info.stored, info.rotation)
        picture = Picture(*shape, times.fps, times.varying, times.range_ms, black.spans)
        faces = _faces(reader, seen)
    if info.has_audio:
        sound = _sound(info.sample_rate, channels, media.cancelled_s, seen)
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
        _speech(recogniser, seen, language),
        talk,
        seen.crops,
    )


def _read_again(path: Path, reader: ClipReader, person: Person) -> tuple[ClipReader, Seen]:
    """The same file once more, with the lips of somebody else in it."""
    with type(reader)(path, window_s=WINDOW_S, insist=False) as other:
        other.take(reader.persons, person, reader.pictured)
        return other, Seen(other)


def _speech(recogniser: Recogniser, seen: Seen, language: Language | None) -> Speech:
    offset, own = _judged(recogniser, seen.looks)
    both = seen["voice"].astype(bool) & seen["video"].astype(bool)
    mouthed = float(seen["moves"][both].mean()) if both.sum() >= FPS else None
    told = None
    if language is not None and seen.looks and own is not True:
        told = language(max(seen.looks, key=lambda look: look.frames))
    voice, lips = seen.share("voice", "audio"), seen.share("moves", "video")
    return Speech(voice, lips, offset, own, mouthed, told)


def _faces(reader: ClipReader, seen: Seen) -> Faces:
    from avsr.preprocessing.faces.face import CORNERS, POINTS
    from avsr.preprocessing.faces.persons import list_persons

    chosen, pictured, video = reader.chosen, reader.pictured, seen["video"].astype(bool)
    lost = tuple(
        (first / FPS, end / FPS)
        for first, end in runs(pictured[: len(video)] & ~video, gap=0)
        if end - first >= LONG_S * FPS
    )
    shown = max(1, int(pictured.sum()))
    if chosen is None:
        return Faces(0, "no face found", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    points = np.concatenate([track.points for track in chosen.tracks])
    yaw_deg = np.concatenate([track.yaw_deg for track in chosen.tracks])
    left, right = POINTS.index(33), POINTS.index(263)  # the outer corners of the eyes
    eyes = points[:, right] - points[:, left]
    roll_deg = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    mouths = np.linalg.norm(points[:, CORNERS[0]] - points[:, CORNERS[1]], axis=1)
    measures = np.median(seen.measures, axis=0) if seen.measures else np.zeros(3)
    grey, white, sharpness = measures.tolist()
    return Faces(
        len(reader.persons),
        list_persons(reader.persons),
        min(1.0, chosen.duration / shown),
        float(video.sum()) / shown,
        float(np.median(mouths)),
        float(np.median(np.abs(yaw_deg))),
        float(np.median(np.abs(roll_deg))),
        grey,
        white,
        sharpness,
        chosen.id,
        lost,
    )


def _sound(rate: int, channels: Channels, cancelled_s: float, seen: Seen) -> Sound:
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
