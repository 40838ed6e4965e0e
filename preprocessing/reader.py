"""From a media file to clips: sound and lips on one clock, what is missing marked missing."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.base.errors import AvsrError, MediaError
from avsr.base.partial import is_long
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.faces.crop_styles import OWN, style_named
from avsr.preprocessing.faces.mouths import MOST_CROPS, Crops, Lead, Mouth

if TYPE_CHECKING:
    from avsr.base.ahead import Ahead
    from avsr.base.partial import Partial
    from avsr.preprocessing.faces.persons import Person
    from avsr.preprocessing.media.streams import Piece

PIECE_FRAMES = 8  # frames decoded at a time; about three times as many pictures are held
AHEAD_S = 60.0  # seconds of sound and crops that may be ready before they are asked for
# frames after which it is decided whose mouth is meant: a new face has shown itself by then
DELAY = 2 * FPS

log = logging.getLogger(__name__)


class OtherFace(Exception):
    """The clips of a ClipReader so far are void: over the whole file another face is meant. Iterate
    again."""


def load_clip(
    path: str | Path,
    *,
    id: str | None = None,
    face: str | int = "main",
    video: bool = True,
    audio: bool = True,
    text: str | None = None,
    speaker: str | None = None,
    model_path: str | Path | None = None,
    crops: str = OWN.name,
    longest_s: float = math.inf,
    span: tuple[float, float | None] | None = None,
) -> Clip:
    """Reads a short media file as one clip.

    Args:
        path: any container that FFmpeg reads.
        id: name of the clip; the file's stem by default.
        face: which face is meant; see persons.choose_person.
        video: look for a mouth; if false, every frame's video is marked absent.
        audio: read the sound; if false, every frame's audio is marked absent.
        text: what is said, where known.
        speaker: who says it, where known.
        model_path: the face landmark model; see face_model.face_model.
        crops: how mouths are cut out; see faces.crop_styles.
        longest_s: what is longer is refused before it is read.
        span: the stretch to read, in seconds of the file; None as its end is the end of the file.

    Returns:
        The whole file or stretch. Lips are zeros and video_present is false where there is no
        readable mouth.

    Raises:
        MediaError: not a media file, longer than longest_s, or neither a readable face nor sound in
            it.
        AvsrError: an unknown face rule or kind of crops, or no face model.
    """
    options: dict[str, Any] = {
        "id": id,
        "face": face,
        "video": video,
        "audio": audio,
        "text": text,
        "speaker": speaker,
        "crops": crops,
        "span": span,
    }
    with ClipReader(path, window_s=None, model_path=model_path, **options) as reader:
        duration_s = reader.info.duration_s
        if duration_s > longest_s:
            raise MediaError(
                f"{duration_s:.0f} s long, at most {longest_s:.0f} s: cut it into utterances"
            )
        clips = list(reader)
        reader.log_faults()
    (clip,) = clips
    return replace(clip, start_s=span[0]) if span else clip


def stream_clips(
    path: str | Path, *, window_s: float = 30.0, again: bool = False, **options: Any
) -> Iterator[Clip]:
    """The clips of a ClipReader, each of them certain: the first comes after all faces of the file
    were looked at.

    Args:
        path: any container that FFmpeg reads.
        window_s: seconds per clip.
        again: what is wrong with the file was said before.
        options: as in ClipReader.

    Raises:
        MediaError: as ClipReader.
        AvsrError: as ClipReader.
    """
    with ClipReader(path, window_s=window_s, guess=False, **options) as reader:
        yield from reader
        if not again:
            reader.log_faults()


class ClipReader:
    """A media file of any length as successive clips, in memory that does not grow with its length.

    Decoding, landmarks and crops run in a thread of their own, ahead of whoever iterates. Whose
    lips are meant is certain at the end of the file only. While one person leads clearly (LEADS)
    their crops are handed out at once. Where nobody does, the crops of everybody are held, up to
    MOST_CROPS. Beyond that, or where another turns out to be meant, the file is decoded again, with
    the landmarks that are known by then (a few hundred bytes a frame). The crops depend neither on
    that, nor on the window, nor on the pieces in which the file is decoded.

    Args:
        path: any container that FFmpeg reads.
        window_s: seconds per clip, a whole number of frames at least; None for the whole file in
            one.
        id: name of the clips; the file's stem by default.
        face: which face is meant; see persons.choose_person.
        video: look for a mouth; if false, every frame's video is marked absent.
        audio: read the sound; if false, every frame's audio is marked absent.
        audio_track: which of several sound tracks, counted from 1; the file's own default where
            None.
        text: what is said, where known.
        speaker: who says it, where known.
        model_path: the face landmark model; see face_model.face_model.
        progress: called with the seconds of media searched for faces so far, in the thread that
            iterates.
        guess: hand out crops of the face that leads; if false, none before the end of the file is
            known.
        crops: how mouths are cut out; see faces.crop_styles.
        insist: a file with neither a readable face nor sound is an error.
        span: the stretch to read, see media.streams.open_media.
        partial: keeps the landmarks of a long recording, and gives those of an earlier call.

    Attributes:
        info: what the file holds.
        crops: how mouths are cut out.
        media: the file itself.
        persons, chosen: complete once the file was read: everybody in it, and whose lips were read.
        faults: complete once the file was read: what was wrong with the file itself, see
            media.Media.warnings.
        remarks: complete once the file was read: other people, doubts about who is who, lips that
            were lost.

    Raises:
        MediaError: not a media file, or (while iterating) neither a readable face nor sound in it,
            or it ends before the stretch.
        AvsrError: an unknown face rule or kind of crops, a window shorter than a frame, or no face
            model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        window_s: float | None = 30.0,
        id: str | None = None,
        face: str | int = "main",
        video: bool = True,
        audio: bool = True,
        text: str | None = None,
        speaker: str | None = None,
        model_path: str | Path | None = None,
        progress: Callable[[float], None] | None = None,
        guess: bool = True,
        audio_track: int | None = None,
        crops: str = OWN.name,
        insist: bool = True,
        span: tuple[float, float | None] | None = None,
        partial: Partial | None = None,
    ) -> None:
        from avsr.preprocessing.media.streams import open_media

        if video:
            from avsr.preprocessing.faces.persons import check_rule

            check_rule(face)  # a mistyped rule is refused before the work, not after it
        self.set_window(window_s)
        self._style, self.crops = style_named(crops), crops
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self._path, self._model_path, self._span = path, model_path, span
        self._face = int(face) if isinstance(face, str) and face.isdecimal() else face
        self.progress, self._guess, self._insist = progress, guess, insist
        self._labels: dict[str, Any] = {
            "id": id or Path(path).stem,
            "text": text,
            "speaker": speaker,
        }
        self._wanted = {"video": video, "audio": audio}
        self._searched = 0  # frames
        self._told = 0
        self._begun: Ahead[Clip | None] | None = None
        self._mouth: Mouth | None = None if video else Mouth.nowhere()
        self._pictured = bytearray()  # a truth value a frame
        self.persons: list[Person] = []
        self.chosen: Person | None = None
        self.media = open_media(path, audio_track=audio_track, span=span)
        self.info = self.media.info
        self._partial = partial if is_long(self.info.duration_s) else None
        if not self.info.has_video:
            self._mouth = Mouth.nowhere()

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pictured(self) -> np.ndarray:
        """(T,) bool, frames with a picture, whatever it shows; complete once the file was read."""
        return np.frombuffer(bytes(self._pictured), np.bool_)

    def log_faults(self) -> None:
        """For callers who return nothing that could carry them."""
        for fault in self.faults:
            log.warning("%s: %s", self._path, fault)

    def close(self) -> None:
        """Ends the thread and closes the file."""
        if self._begun is not None:
            self._begun.close()
        self.media.close()

    def __iter__(self) -> Iterator[Clip]:
        """The clips from the beginning of the file, without a gap; start_s tells where, the last
        one may be shorter.

        Raises:
            OtherFace: what was yielded is void; at most once, so iterate again.
        """
        video, audio = self._wanted.values()
        if not ((video and self.info.has_video) or (audio and self.info.has_audio)):
            raise MediaError(f"{self._path}: {_nothing(video, audio)}")
        if self._window is not None:
            self.begin()
        parts = self._begun or self._pieces()
        present = bytearray()  # likewise, where there are lips

        def counted() -> Iterator[Clip | None]:
            for part in parts:
                self._tell()
                if part is None:
                    present.clear()
                else:
                    present.extend(part.video_present.tobytes())
                yield part

        anything = False
        try:
            for clip in _regroup(counted(), self._window):
                anything = anything or bool(clip.audio_present.any() or clip.video_present.any())
                # Whether there is neither is only known at the end of the file, but a long one is
                # not held back.
                if anything or self._window is not None:
                    yield clip
        finally:
            parts.close()  # ends the thread
            self._begun = None
        self._tell()
        self.faults = self.media.warnings
        if self._span is not None and not present:
            start_s = self._span[0]
            raise MediaError(f"{self._path}: ends too early for a stretch from {start_s:g} s on")
        if not anything and self._insist:
            raise MediaError(f"{self._path}: {_nothing(**self._wanted)}")
        if self.chosen is not None:
            from avsr.preprocessing.faces.persons import remarks

            self.remarks = remarks(
                self.persons, self.chosen, self.pictured, np.frombuffer(present, np.bool_)
            )

    def set_window(self, window_s: float | None) -> None:
        """Changes the seconds per clip; before anybody iterates.

        Raises:
            AvsrError: a window shorter than a frame.
        """
        self._window = None if window_s is None else round(window_s * FPS)
        if self._window is not None and self._window < 1:
            raise AvsrError(f"window {window_s} s: must be at least {1 / FPS} s, one frame")

    def take(self, persons: list[Person], chosen: Person | None, pictured: np.ndarray) -> None:
        """Reads the lips of a person who is known already, with no search; before anybody iterates.

        Args:
            persons: all of the file.
            chosen: one of them; None for nobody.
            pictured: (T,) bool, where there is a picture.
        """
        self.persons, self.chosen = persons, chosen
        self._pictured[:] = pictured.tobytes()
        self._mouth = Mouth.of(chosen, len(pictured), self._style)

    def begin(self) -> None:
        """Begins to read ahead before anybody iterates, while a model is loaded for instance."""
        from avsr.base.ahead import Ahead

        if self._begun is None:
            self._begun = Ahead(self._pieces(), round(AHEAD_S * FPS / PIECE_FRAMES), self._tell)

    def _pieces(self) -> Generator[Clip | None]:
        return self._search() if self._mouth is None else self._known(0)

    def _is_left(self) -> bool:
        """Whether nobody waits any more for what is read ahead: a film in which nobody leads may be
        searched to its end before there is a clip."""
        begun = self._begun
        return begun is not None and begun.stopped

    def _tell(self) -> None:
        if self.progress is not None and self._searched > self._told:
            self._told = self._searched
            self.progress(self._told / FPS)

    def _search(self) -> Generator[Clip | None]:
        """The first pass over the file, as pieces; None says that what came before is void."""
        from avsr.preprocessing.faces.face_tracks import FaceTracker
        from avsr.preprocessing.faces.persons import choose_person, find_persons

        lead = Lead(self._face, self._style)
        waiting: deque[Piece] = deque()  # pieces whose landmarks are not certain yet
        cut: deque[Crops] = deque()  # pieces of which it is not clear yet whose mouth is meant
        done, kept = 0, True  # frames handed out; whether all that follow are in `cut`
        with FaceTracker(model_path=self._model_path, partial=self._partial) as tracker:

            def cut_out(settled: int) -> None:
                while (
                    waiting
                    and settled >= waiting[0].first_frame + len(waiting[0]) + self._style.lag
                ):
                    cut.append(lead.cut(tracker.tracks, settled, waiting.popleft()))

            for piece in self.media.pieces(piece_frames=PIECE_FRAMES, **self._wanted):
                if self._is_left():
                    return
                for number, picture in enumerate(piece.pictures, piece.first_frame):
                    tracker.add(number, picture)
                self._searched = piece.first_frame + len(piece)
                self._pictured.extend(piece.video_present.tobytes())
                if not kept:
                    continue
                waiting.append(piece)
                cut_out(tracker.settled)
                while (
                    self._guess
                    and cut
                    and cut[0].end + DELAY <= tracker.settled
                    and lead.clear(tracker.tracks, tracker.settled)
                ):
                    yield cut[0].clip(lead.use(cut[0]), **self._labels)
                    done = cut.popleft().end
                if sum(1 + len(crops.mouths) for crops in cut) * PIECE_FRAMES > MOST_CROPS:
                    kept = False
                    waiting.clear()
                    cut.clear()
            tracker.finish()
            tracks = tracker.tracks
            if kept:
                cut_out(self._searched + self._style.lag)
        self.persons = find_persons(tracks)
        self.chosen = choose_person(self.persons, self._face)
        self._mouth = Mouth.of(self.chosen, self._searched, self._style)
        if not lead.was_right(self.chosen):
            yield None
            done, kept = 0, False
        if not kept:
            yield from self._known(done)
        ids = [track.id for track in self.chosen.tracks] if self.chosen is not None else []
        for crops in cut if kept else ():
            yield crops.clip(ids, **self._labels)

    def _known(self, first: int) -> Generator[Clip]:
        """The pieces from a frame on, with the mouth where it is known to be.

        The picture is decoded even when it shows no mouth: the clock and the length are those of
        the whole file.
        """
        assert self._mouth is not None
        for piece in self.media.pieces(piece_frames=PIECE_FRAMES, **self._wanted):
            if piece.first_frame >= first:
                yield Crops.of(piece, {0: self._mouth.at}).clip([0], **self._labels)


def _nothing(video: bool, audio: bool) -> str:
    if video and audio:
        return (
            "neither face nor sound; name a file with a face that can be read or with a sound track"
        )
    what = "face that can be read" if video else "sound"
    return f"no {what}, and the other modality was not asked for"


def _regroup(parts: Iterable[Clip | None], window: int | None) -> Iterator[Clip]:
    """Joins successive clips into clips of `window` frames (None: one of all), the last one as it
    comes.

    Raises:
        OtherFace: a part is None, which says that those before it are void, and some of them are
            out already.
    """
    held: list[Clip] = []
    count, out = 0, False
    for part in parts:
        if part is None and out:
            raise OtherFace
        if part is None:
            held, count = [], 0
            continue
        done = 0
        while window is not None and count + part.frames - done >= window:
            cut = done + window - count
            yield _join([*held, part.window(done, cut)])
            held, count, done, out = [], 0, cut, True
        if done < part.frames:
            held.append(part.window(done, part.frames))
            count += part.frames - done
    if held:
        yield _join(held)


def _join(parts: list[Clip]) -> Clip:
    names = ("audio", "lips", "audio_present", "video_present", "quality")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    return replace(parts[0], **joined)
