"""A media file of any length to a transcript, by any recogniser, in memory that does not grow.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.base.errors import AvsrError, MediaError
from avsr.base.inputs import path_of, whole_number
from avsr.base.processes.machine import release_memory
from avsr.decoding.words import Hypothesis, Word, join, mean
from avsr.model.batches import mask
from avsr.preprocessing.clip import FPS, Clip, in_seconds, to_runs
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.recognisers.protocol import Recogniser, stream_for
from avsr.transcribing.domains import judged, told
from avsr.transcribing.kept import Hear, remembering
from avsr.transcribing.pauses import between_pauses
from avsr.transcribing.transcript import Segment, Transcript, segments
from avsr.transcribing.voice.activity import SILENCE, SURE, level, spoken, stretches
from avsr.transcribing.voice.gated import ungated
from avsr.transcribing.windows import in_windows, passages

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.media.streams import MediaInfo
    from avsr.preprocessing.reader import ClipReader

FACE_SHARE = 0.6  # of the time a video takes, for progress alone: that finding faces counts for
UNHEARD_S = 1.0  # a silence of so long is told where words were found in it
SILENT_S = 10.0  # and of so long anywhere: a gate in a pause, or a cut, is mostly shorter
TRIM_FRAMES = 15 * FPS  # after so much of a recording, a window or two, memory is given back

Progress = Callable[[float, float], None]
"""Called with the seconds of media done and the seconds there are."""


def transcribe(
    recogniser: Recogniser,
    path: str | Path,
    modality: str = "auto",
    face: str | int = "main",
    progress: Progress | None = None,
    reader: ClipReader | None = None,
    audio_track: int | None = None,
    hear: Hear | None = None,
    partial: Partial | None = None,
) -> Transcript:
    """Recognises a media file of any length; see `avsr.Recogniser.transcribe`.

    Args:
        recogniser: of any family.
        path, modality, face, progress, reader, audio_track, partial: as there.
        hear: asked in place of the recogniser, by those who share it between files.

    Raises:
        AvsrError: as there.
        MediaError: the file cannot be read.
    """
    from avsr.preprocessing.reader import ClipReader, OtherFace

    stream, path = stream_for(recogniser, modality), path_of(path)
    check_progress(progress)
    if reader is not None and not isinstance(reader, ClipReader):
        raise AvsrError(f"reader {reader!r}: must be a ClipReader of the file, or left out")
    if reader is not None and reader.crops != recogniser.crops:
        reader.close()  # it began before anybody knew how the recogniser wants its mouths cut out
        reader = None
    how = modality, face, audio_track, recogniser.crops, partial
    with reader or open_reader(path, *how) as reader:
        reader.set_window(size_s(recogniser))
        media = reader.info
        insist(path, modality, sound=media.has_audio, picture=media.has_video)
        only_hears, only_reads = (
            modality == "auto" and stream == only for only in ("audio", "video")
        )
        if only_hears and not media.has_audio:
            raise AvsrError(f"{path}: no sound, and {recogniser.name} takes nothing else")
        if only_reads and not media.has_video:
            raise AvsrError(f"{path}: no picture, and {recogniser.name} takes nothing else")
        tell = _both_told(progress, media.duration_s, faces=modality != "audio" and media.has_video)
        reader.progress = lambda seconds: tell(seconds, None)
        ask = remembering(hear or recogniser.recognise_part, partial, media.duration_s)
        listener = Listener(recogniser, stream, ask)
        try:
            _, present = listener.read(reader, tell)
        except OtherFace:  # the face that led at first is not the one meant over the whole file
            _, present = listener.read(reader, tell)
    heard, seen = bool(present.audio.any()), bool(present.video.any())
    if only_reads and not seen:
        raise MediaError(f"{path}: no face found, and {recogniser.name} reads nothing else")
    # that there are no lips is no loss to who does not read them
    warnings = [] if only_hears else _missing(path, modality, media, heard=heard, seen=seen)
    warnings += [*reader.faults, *reader.remarks, *listener.remarks]
    return written(path, recogniser, listener.segments(), present, warnings)


def check_progress(progress: Progress | None) -> None:
    """Refuses what cannot be told how far it is.

    Raises:
        AvsrError: it is no function.
    """
    if progress is not None and not callable(progress):
        raise AvsrError(
            f"progress {progress!r}: must be a function of the seconds done and those there are"
        )


def written(
    path: Path,
    recogniser: Recogniser,
    found: list[Segment],
    present: Presence,
    warnings: list[str],
) -> Transcript:
    """The transcript of a file's segments, which are told whether they are of the model's
    language."""
    own = None
    warnings += _silences(found, present)
    if not found:
        warnings.append("no words recognised")
    domain = recogniser.domain
    if domain is not None and present.audio.any():  # lips alone are too unsure to tell
        found, own = judged(found, present.speaking, domain)
        warnings += told(own, recogniser.name, domain.language)
    duration_s = present.frames / FPS
    return Transcript(str(path), recogniser.name, duration_s, found, warnings, own)


def _silences(found: Sequence[Segment], present: Presence) -> list[str]:
    """Where a file that has sound is silent, in a line for people: for long, or while words were
    read from the lips."""
    if not present.audio.any():  # is told of the whole file
        return []
    words = [word for segment in found for word in segment.words]
    told, lips_alone = [], False
    for first, last in to_runs(~present.sound):
        first_s, last_s = first / FPS, last / FPS
        said = any(first_s <= word.start_s and word.end_s <= last_s for word in words)
        if last_s - first_s >= (UNHEARD_S if said else SILENT_S):
            told.append((first, last))
            lips_alone |= said
    if not told:
        return []
    total_s = sum(last - first for first, last in told) / FPS
    line = f"no sound for {total_s:.1f} of {present.frames / FPS:.1f} s: {in_seconds(told)}"
    return [line + (": what is said there is read from the lips alone" if lips_alone else "")]


def size_s(recogniser: Recogniser) -> float:
    """Seconds of a recording that a recogniser is given at once."""
    return recogniser.window_s or recogniser.longest_s


def open_reader(
    path: str | Path,
    modality: str = "auto",
    face: str | int = "main",
    audio_track: int | None = None,
    crops: str = OWN.name,
    partial: Partial | None = None,
) -> ClipReader:
    """Opens a file for what transcribe is asked for, with the crops of a recogniser."""
    from avsr.preprocessing.reader import ClipReader

    path = path_of(path)
    if not isinstance(face, str):
        face = whole_number(face, "face", "a rule or a number")
    streams: dict[str, Any] = {"audio": modality != "video", "video": modality != "audio"}
    streams |= {"crops": crops, "partial": partial}
    return ClipReader(path, face=face, audio_track=audio_track, **streams)


class Listener:
    """Goes through the clips of one file and collects the words.

    Args:
        recogniser: of any family.
        modality: what it is asked with, one of its modalities.
        hear: finds the words of parts of the recording, see Hear.

    Attributes:
        remarks: what was done, in lines for people; complete once the file was read.
        words: those found so far.
        present: which frames so far have what.
    """

    def __init__(self, recogniser: Recogniser, modality: str, hear: Hear) -> None:
        self.remarks: list[str] = []
        self.words: list[Word] = []
        self.present = Presence()
        self._recogniser, self._modality, self._hear = recogniser, modality, hear
        self._activity = recogniser.activity
        self._dropped = 0
        self._spoken: list[tuple[float, np.ndarray]] = []

    def read(
        self, clips: Iterable[Clip], tell: Callable[[float | None, float | None], None]
    ) -> tuple[list[Word], Presence]:
        """The words of a stream of clips, and which of its frames have what."""
        for seconds in self.steps(clips):
            tell(None, seconds)
        return self.words, self.present

    def steps(self, clips: Iterable[Clip]) -> Iterator[float]:
        """Goes through a stream of clips step by step; yields the seconds that are done."""
        self.remarks.clear()
        self.words, self.present = [], Presence()
        self._dropped = 0
        self._spoken.clear()
        trimmed = 0
        for clip, hypothesis in self.parts(self._recogniser.synchronised(clips, self.remarks)):
            # where their letters are was for the seams; it takes more memory than all else of them
            self.words += [replace(word, letters=()) for word in hypothesis.words]
            self.present.add(clip)
            yield self.present.frames / FPS
            if self.present.frames >= trimmed + TRIM_FRAMES:
                release_memory()
                trimmed = self.present.frames
        self.present.speaks(self._spoken)
        if self._dropped:
            noun = "word" if self._dropped == 1 else "words"
            self.remarks.append(
                f"{self._dropped} {noun} dropped where no voice was heard and no mouth moved"
            )

    def segments(self) -> list[Segment]:
        """The words in segments, once all were found."""
        return segments(passages(self.words), self.present.audio, self.present.video)

    def parts(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Hypothesis]]:
        """The stream as parts that follow each other, each with its words."""
        masked = (mask(clip, self._modality) for clip in clips)
        recogniser = self._recogniser
        if recogniser.window_s is None:
            return between_pauses(
                clips, self._segment, self._activity, round(recogniser.longest_s * FPS)
            )
        size = round(recogniser.window_s * FPS)
        return in_windows(masked, self._window, recogniser.language, size)

    def _window(self, clip: Clip, closed: bool) -> Hypothesis:
        """A window: silence is not recognised, and no word lies where nobody speaks."""
        speaking, perceptible = self._activity(clip)
        self._spoken.append((clip.start_s, speaking))
        present = clip.audio_present | clip.video_present
        given = ungated(clip)
        parts = [given.window(first, last) for first, last in stretches(perceptible, present)]
        # then nothing that is said goes on after the clip
        ended = clip.frames > 0 and not perceptible[-1]
        found = [*self._hear(parts[:-1], self._modality, True)] if parts[1:] else []
        found += self._hear(parts[-1:], self._modality, closed or ended) if parts else []
        words = [word for part in found for word in part.words]
        # only a calibrated confidence is worth believing
        sure = SURE if self._recogniser.calibrated else 1.0
        words = spoken(words, clip, speaking, sure=sure)
        return Hypothesis(join(words), words, mean([word.confidence for word in words]))

    def _segment(self, clip: Clip, speaking: np.ndarray) -> Hypothesis:
        """What lies between two pauses: words where nobody speaks are made up, and dropped."""
        self._spoken.append((clip.start_s, speaking))
        (found,) = self._hear([ungated(mask(clip, self._modality))], self._modality, True)
        said = timed(found, clip, speaking)
        words = spoken(said, clip, speaking, sure=SURE if self._recogniser.calibrated else 1.0)
        self._dropped += len(said) - len(words)
        return Hypothesis(join(words), words, mean([word.confidence for word in words]))


def timed(found: Hypothesis, clip: Clip, speaking: np.ndarray) -> list[Word]:
    """The words of a hypothesis with times; those of one without are spread over where somebody
    speaks, longer words longer.

    Args:
        found: of the clip.
        clip: where it was found.
        speaking: (T,) bool.
    """
    if found.words or not found.text.strip():
        return within(found.words, clip)
    written = found.text.split()
    frames = np.flatnonzero(speaking)
    if len(frames) == 0:
        frames = np.arange(clip.frames)
    sizes = np.array([len(word) + 1 for word in written], np.float64)
    edges = np.concatenate([[0.0], sizes.cumsum() / sizes.sum() * len(frames)])
    heard = float(clip.audio_present.any())
    words = []
    for word, (begin, end) in zip(written, pairwise(edges.tolist()), strict=True):
        first = min(round(begin), len(frames) - 1)
        last = max(first, round(end) - 1)
        start_s, end_s = (
            clip.start_s + float(at) / FPS for at in (frames[first], frames[last] + 1)
        )
        words.append(Word(word, start_s, end_s, found.confidence, heard))
    return words


def within(words: Sequence[Word], clip: Clip) -> list[Word]:
    """Words none of which begins before the one before it, or lies outside their clip, wherever a
    recogniser places them."""
    found: list[Word] = []
    earliest_s, latest_s = clip.start_s, clip.start_s + clip.duration_s
    for word in words:
        earliest_s = min(max(word.start_s, earliest_s), latest_s)
        end_s = min(max(word.end_s, earliest_s), latest_s)
        found.append(replace(word, start_s=earliest_s, end_s=end_s))
    return found


class Presence:
    """Which frames of a file have sound and which have lips, collected clip by clip, and in which
    there is more than silence, or somebody seems to speak.

    Attributes:
        speaking: (T,) bool.
    """

    def __init__(self) -> None:
        self.speaking = np.zeros(0, np.bool_)
        self._start_s = 0.0
        self._audio: list[np.ndarray] = []
        self._sound: list[np.ndarray] = []
        self._video: list[np.ndarray] = []
        self.frames = 0

    def add(self, clip: Clip) -> None:
        if not self._audio:
            self._start_s = clip.start_s
        self._audio.append(clip.audio_present.copy())  # a view would keep all of the clip
        self._sound.append(level(clip) > SILENCE)
        self._video.append(clip.video_present.copy())
        self.frames += clip.frames

    def speaks(self, stretches: Iterable[tuple[float, np.ndarray]]) -> None:
        """Takes what voice activity found, once all clips are there.

        Args:
            stretches: where each begins, in seconds, and its (T,) bool; they may overlap.
        """
        self.speaking = np.zeros(self.frames, np.bool_)
        for start_s, speaking in stretches:
            first = max(round((start_s - self._start_s) * FPS), 0)
            here = self.speaking[first : first + len(speaking)]
            here |= speaking[: len(here)]

    def join(self, other: Presence) -> None:
        """Takes what is there in another stream of the same frames as well."""
        both = [
            (self.audio, other.audio),
            (self.sound, other.sound),
            (self.video, other.video),
            (self.speaking, other.speaking),
        ]
        audio, sound, video, self.speaking = (own | added for own, added in both)
        self._audio, self._sound, self._video = [audio], [sound], [video]

    @property
    def audio(self) -> np.ndarray:
        """(T,) bool."""
        return np.concatenate([np.zeros(0, np.bool_), *self._audio])

    @property
    def sound(self) -> np.ndarray:
        """(T,) bool, where that is no silence."""
        return np.concatenate([np.zeros(0, np.bool_), *self._sound])

    @property
    def video(self) -> np.ndarray:
        """(T,) bool."""
        return np.concatenate([np.zeros(0, np.bool_), *self._video])


def _both_told(
    progress: Progress | None, duration_s: float, *, faces: bool
) -> Callable[[float | None, float | None], None]:
    """Takes the seconds searched for faces and those recognised, each as it grows, and tells
    progress of both."""
    share, done = (FACE_SHARE if faces else 0.0), [0.0, 0.0]

    def tell(searched_s: float | None, recognised_s: float | None) -> None:
        for kind, seconds in enumerate((searched_s, recognised_s)):
            done[kind] = max(done[kind], seconds or 0.0)
        if progress is not None:
            progress(share * done[0] + (1 - share) * done[1], duration_s)

    return tell


def insist(
    path: str | Path, modality: str, *, sound: bool, picture: bool, what: str = "picture"
) -> None:
    """Raises unless everything the modality names is there."""
    if modality in ("av", "audio") and not sound:
        raise AvsrError(f"{path}: no sound, which modality {modality!r} needs: use video or auto")
    if modality in ("av", "video") and not picture:
        raise AvsrError(f"{path}: no {what}, which modality {modality!r} needs: use audio or auto")


def _missing(
    path: str | Path, modality: str, media: MediaInfo, *, heard: bool, seen: bool
) -> list[str]:
    """What was not there in the whole file, in words; raises where it was insisted on."""
    insist(path, modality, sound=heard, picture=seen, what="face found")
    if modality != "auto":
        return []
    if not seen:
        return ["no face found: audio only" if media.has_video else "no picture: audio only"]
    if not heard:
        return [
            "no sound could be read: lips only" if media.has_audio else "no sound track: lips only"
        ]
    return []
