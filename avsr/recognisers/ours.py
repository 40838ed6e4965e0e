"""The recogniser: clips and media files to words, any length, bounded memory, either modality
missing or both there.

B  clips in a batch        T  frames, 25 a second        N  audio samples, 640 T        U  tokens
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, whole_number
from avsr.base.threads import enough_threads
from avsr.model.batches import batches_by_length, collate, mask
from avsr.preprocessing.clip import FPS, Clip
from avsr.sync import Synchroniser
from avsr.transcribing.activity import SURE, Activity, everything, spoken, stretches
from avsr.transcribing.transcript import Hypothesis, Transcript, Word, join, mean, segments
from avsr.transcribing.windows import in_windows, passages

if TYPE_CHECKING:
    import torch

    from avsr.decoding.alignment import WordSpan
    from avsr.decoding.language import Decoding, Language
    from avsr.model.network import AVSR
    from avsr.preprocessing.media.streams import MediaInfo
    from avsr.preprocessing.reader import ClipReader

MODALITIES = ("auto", "av", "audio", "video")
WINDOW_S = 20.0  # a model may name its own in its checkpoint's info ("window_s") ...
# ... between these: a shorter one cuts words, a longer one has no bound on memory
WINDOW_RANGE_S = (1.0, 120.0)
FACE_SHARE = 0.6  # of the time a video takes, for progress alone: that finding faces counts for

Progress = Callable[[float, float], None]
"""Called with the seconds of media done and the seconds there are."""


class Recogniser:
    """A loaded model with its tokenizer, on its device. Made by load_model.

    Attributes:
        name: what the model is called in transcripts.
        config: the model's frozen configuration.
        info: what its maker says about it (data, numbers, limits).
        device: where it runs.
        window_s: longest stretch recognised at once in transcribe; shorter files are one window.
        decoding: how, where a call does not say; greedy unless made by with_decoding.
        activity: where in a clip transcribe looks for words: everywhere, or, for a model loaded by
            name or path, where somebody speaks.
    """

    def __init__(
        self,
        model: AVSR,
        name: str,
        info: dict[str, Any],
        device: torch.device,
        activity: Activity = everything,
    ) -> None:
        from avsr.decoding.alignment import Timing
        from avsr.decoding.confidence import Calibration
        from avsr.decoding.language import Decoding

        self.model = model
        self.name = name
        self.config = model.config
        self.info = info
        self.device = device
        self.tokens: list[str] = list(model.config.tokens)
        self.window_s = _window_s(info)
        self.timing = Timing.from_info(info)
        self.calibration = Calibration.from_info(info)
        self.decoding = Decoding()
        self.activity = activity

    def with_decoding(
        self, beam: int | None = None, language: Language | None = None
    ) -> Recogniser:
        """The same recogniser with another decoding than greedy where a call does not name one.

        Args:
            beam: width of the prefix beam search; None for the usual one.
            language: from `avsr.decoding.language.load`; None for none.

        Raises:
            AvsrError: as in `Decoding.choose`.
        """
        from avsr.decoding.language import Decoding

        other = copy.copy(self)
        other.decoding = Decoding.choose(beam, language, self.tokens)
        return other

    def recognise(
        self,
        clips: Sequence[Clip],
        modality: str = "auto",
        beam: int | None = None,
        language: Language | None = None,
    ) -> list[Hypothesis]:
        """Recognises clips short enough for one window each, several at a time.

        Args:
            clips: what to recognise; word times count from their start_s.
            modality: "auto" and "av" use all that is present, "audio" and "video" hide the other.
            beam: width of the prefix beam search, 0 for greedy; None for the usual one.
            language: an n-gram model or a grammar, see `avsr.decoding.language.load`.

        Returns:
            One hypothesis per clip, in the order given. A clip in which nothing is present says
            nothing.

        Raises:
            AvsrError: unknown modality, or a beam or language that cannot be used.
        """
        decoding = self._decoding(modality, beam, language)
        if not isinstance(clips, Sequence) or not all(isinstance(clip, Clip) for clip in clips):
            raise AvsrError(
                "clips must be a list of avsr.preprocessing.clip.Clip: for media files use "
                "transcribe"
            )
        return self._recognise(clips, modality, decoding)

    def _recognise(
        self, clips: Sequence[Clip], modality: str, decoding: Decoding, closed: bool = True
    ) -> list[Hypothesis]:
        """As recognise; not closed: what is said goes on after the clips."""
        visible = [mask(clip, modality) for clip in clips]
        found = [Hypothesis("", [], 0.0)] * len(visible)
        usable = [
            i
            for i, clip in enumerate(visible)
            if clip.audio_present.any() or clip.video_present.any()
        ]
        for batch in batches_by_length(usable, [clip.frames for clip in visible]):
            hypotheses = self._forward([visible[i] for i in batch], decoding, closed)
            for i, hypothesis in zip(batch, hypotheses, strict=True):
                found[i] = hypothesis
        return found

    def _decoding(self, modality: str, beam: int | None, language: Language | None) -> Decoding:
        """How to decode, from what a call names; raises where that, or the modality, makes no
        sense."""
        from avsr.decoding.language import Decoding

        if not isinstance(modality, str) or modality not in MODALITIES:
            raise AvsrError(f"modality {modality!r} is unknown: use one of {', '.join(MODALITIES)}")
        if beam is None and language is None:
            return self.decoding
        return Decoding.choose(beam, language, self.tokens)

    def transcribe(
        self,
        path: str | Path,
        modality: str = "auto",
        beam: int | None = None,
        face: str | int = "main",
        progress: Progress | None = None,
        language: Language | None = None,
        reader: ClipReader | None = None,
        audio_track: int | None = None,
    ) -> Transcript:
        """Recognises a media file of any length; memory does not grow with it.

        Args:
            path: any container that FFmpeg reads.
            modality: "auto" uses what is there; "av", "audio" and "video" insist on it.
            beam: width of the prefix beam search, 0 for greedy; None for the usual one.
            face: whose lips: "main", "largest", "left", "right" or the number of a person, see
                persons.
            progress: told how far it is.
            language: an n-gram model or a grammar, see `avsr.decoding.language.load`.
            reader: of this file, face and modality, which began to read while the model was loaded;
                is closed.
            audio_track: which of several sound tracks, counted from 1; the file's own default where
                None.

        Returns:
            The words with their times, and warnings: what is missing, cut off, damaged or in doubt.

        Raises:
            AvsrError: unknown modality, a modality insisted on is missing, neither sound nor a
                face, or a beam or language that cannot be used.
            MediaError: the file cannot be read.
        """
        from avsr.preprocessing.reader import ClipReader, OtherFace

        decoding, path = self._decoding(modality, beam, language), path_of(path)
        if progress is not None and not callable(progress):
            raise AvsrError(
                f"progress {progress!r}: must be a function of the seconds done and those there are"
            )
        if reader is not None and not isinstance(reader, ClipReader):
            raise AvsrError(f"reader {reader!r}: must be a ClipReader of the file, or left out")
        with reader or self._reader(path, modality, face=face, audio_track=audio_track) as reader:
            reader.set_window(self.window_s)
            media = reader.info
            _insist(path, modality, sound=media.has_audio, picture=media.has_video)
            tell = _both_told(
                progress, media.duration_s, faces=modality != "audio" and media.has_video
            )
            reader.progress = lambda seconds: tell(seconds, None)
            synchroniser = Synchroniser(self)
            try:
                words, present = self._read(synchroniser(reader), modality, decoding, tell)
            # the face that led at first is not the one that is meant over the whole file
            except OtherFace:
                words, present = self._read(synchroniser(reader), modality, decoding, tell)
        warnings = _missing(
            path, modality, media, heard=bool(present.audio.any()), seen=bool(present.video.any())
        )
        warnings += [*reader.faults, *reader.remarks, *synchroniser.remarks]
        if not words:
            warnings.append("no words recognised")
        found = segments(passages(words), present.audio, present.video)
        return Transcript(str(path), self.name, present.frames / FPS, found, warnings)

    def transcribe_many(
        self, paths: Sequence[str | Path], **options: Any
    ) -> Generator[Transcript | Exception]:
        """Recognises several files faster than one after the other; see `transcribing.together`."""
        from avsr.transcribing.together import transcribe_many

        return transcribe_many(self, paths, **options)

    def _reader(
        self,
        path: str | Path,
        modality: str = "auto",
        face: str | int = "main",
        audio_track: int | None = None,
        **_: Any,
    ) -> ClipReader:
        """Opens a file for what transcribe is asked for; the options that do not matter here are
        left alone."""
        from avsr.preprocessing.reader import ClipReader

        path = path_of(path)
        if not isinstance(face, str):
            face = whole_number(face, "face", "a rule or a number")
        streams: dict[str, Any] = {"audio": modality != "video", "video": modality != "audio"}
        return ClipReader(path, face=face, audio_track=audio_track, **streams)

    def _read(
        self,
        stream: Iterable[Clip],
        modality: str,
        decoding: Decoding,
        tell: Callable[[float | None, float | None], None],
    ) -> tuple[list[Word], _Presence]:
        """The words of a stream of clips, and which of its frames have what."""
        words: list[Word] = []
        present = _Presence()
        for clip, hypothesis in self._windows(stream, modality, decoding):
            words += hypothesis.words
            present.add(clip)
            tell(None, present.frames / FPS)
        return words, present

    def _windows(
        self, stream: Iterable[Clip], modality: str, decoding: Decoding
    ) -> Iterator[tuple[Clip, Hypothesis]]:
        """The clips of a stream as parts that follow each other, each with its words; see
        `transcribing.windows`."""

        def recognise(clip: Clip, closed: bool) -> Hypothesis:
            return self._spoken(clip, modality, decoding, closed)

        masked = (mask(clip, modality) for clip in stream)
        return in_windows(masked, recognise, decoding.language, round(self.window_s * FPS))

    def _spoken(self, clip: Clip, modality: str, decoding: Decoding, closed: bool) -> Hypothesis:
        """As _recognise, but silence is not recognised, and no word lies where nobody speaks."""
        speaking, perceptible = self.activity(clip)
        present = clip.audio_present | clip.video_present
        parts = [clip.window(first, last) for first, last in stretches(perceptible, present)]
        # then nothing that is said goes on after the clip
        ended = clip.frames > 0 and not perceptible[-1]
        found = self._recognise(parts[:-1], modality, decoding)
        found += self._recognise(parts[-1:], modality, decoding, closed or ended)
        words = [word for part in found for word in part.words]
        calibrated = self.calibration is not None  # only then is a confidence worth believing
        words = spoken(words, clip, speaking, sure=SURE if calibrated else 1.0)
        return Hypothesis(join(words), words, mean([word.confidence for word in words]))

    def spans(
        self, clips: Sequence[Clip], decoding: Decoding | None = None, closed: bool = True
    ) -> list[tuple[list[WordSpan], list[float]]]:
        """The words of clips on their own clock, echoes dropped, as the posteriors have them, from
        one forward pass.

        Args:
            clips: in which something is present; together they must fit into memory.
            decoding: the recogniser's own by default.
            closed: what is said ends with the clips.

        Returns:
            Per clip its words, their confidence not calibrated, and the audio_weight of each: over
            its letters, because what lies around them belongs to it only more or less.
        """
        import torch

        from avsr.decoding.alignment import forced_align_batch, without_echoes, word_times
        from avsr.model.tokenizer import Tokenizer

        decoding = decoding or self.decoding
        with torch.inference_mode(), enough_threads(sum(clip.frames for clip in clips)):
            output = self.model(*(tensor.to(self.device) for tensor in collate(clips)))
        log_probs, lens, weight = (
            output.log_probs.float().cpu(),
            output.lens.cpu(),
            output.audio_weight.float().cpu(),
        )
        texts = decoding.ids(log_probs, lens, self.tokens, closed)
        posteriors = [
            clip[:outputs] for clip, outputs in zip(log_probs, lens.tolist(), strict=True)
        ]
        placed = forced_align_batch(posteriors, texts)
        found = []
        for i, (own, ids, outputs) in enumerate(zip(posteriors, texts, placed, strict=True)):
            about = self.tokens, self.timing, self.config.outputs_per_frame
            words = word_times(own, ids, *about, outputs)
            once = without_echoes(words)
            # a language says itself what may be said twice
            if decoding.language is None and len(once) < len(words):
                words = word_times(own, Tokenizer(self.tokens).encode(join(once)), *about)
            letters = [
                slice(math.floor(word.letters[0]), math.ceil(word.letters[1])) for word in words
            ]
            found.append((words, [float(weight[i, frames].mean()) for frames in letters]))
        return found

    def _forward(self, clips: list[Clip], decoding: Decoding, closed: bool) -> list[Hypothesis]:
        """One forward pass over clips in which something is present."""
        found = []
        for clip, (spans, heard) in zip(clips, self.spans(clips, decoding, closed), strict=True):
            words = self._words(spans, heard, clip)
            found.append(Hypothesis(join(words), words, mean([w.confidence for w in words])))
        return found

    def _words(self, spans: Sequence[WordSpan], heard: Sequence[float], clip: Clip) -> list[Word]:
        """Words in seconds of the source, their confidence calibrated where the model says how."""
        from avsr.decoding.confidence import word_features

        sure = [span.confidence for span in spans]
        if self.calibration is not None:
            sure = [self.calibration(features) for features in word_features(spans, heard)]
        found = []
        for span, confidence, weight in zip(spans, sure, heard, strict=True):
            start_s, end_s = (clip.start_s + at / FPS for at in (span.first, span.last))
            letters = tuple(
                (clip.start_s + first / FPS, clip.start_s + last / FPS)
                for first, last in span.places
            )
            found.append(Word(span.word, start_s, end_s, confidence, weight, span.glued, letters))
        return found


class _Presence:
    """Which frames of a file have sound and which have lips, collected clip by clip."""

    def __init__(self) -> None:
        self._audio: list[np.ndarray] = []
        self._video: list[np.ndarray] = []
        self.frames = 0

    def add(self, clip: Clip) -> None:
        self._audio.append(clip.audio_present.copy())  # a view would keep all of the clip
        self._video.append(clip.video_present.copy())
        self.frames += clip.frames

    @property
    def audio(self) -> np.ndarray:
        """(T,) bool."""
        return np.concatenate([np.zeros(0, np.bool_), *self._audio])

    @property
    def video(self) -> np.ndarray:
        """(T,) bool."""
        return np.concatenate([np.zeros(0, np.bool_), *self._video])


def _window_s(info: dict[str, Any]) -> float:
    """The window that a model asks for, or the usual one.

    Raises:
        AvsrError: it is no number, or out of range.
    """
    value, (low, high) = info.get("window_s", WINDOW_S), WINDOW_RANGE_S
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise AvsrError(
            f"the model's window_s is {value!r}: must be {low:g} to {high:g} seconds; use another "
            "model"
        )
    return float(value)


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


def _insist(
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
    _insist(path, modality, sound=heard, picture=seen, what="face found")
    if modality != "auto":
        return []
    if not seen:
        return ["no face found: audio only" if media.has_video else "no picture: audio only"]
    if not heard:
        return [
            "no sound could be read: lips only" if media.has_audio else "no sound track: lips only"
        ]
    return []
