"""A film of several people to a transcript that says who speaks: each is read from their own lips.

A film is gone through three times, in memory that hardly grows with its length: for the faces; for
how well the lips of each fit the sound; and for the words.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.base.errors import UsageError
from avsr.base.inputs import path_of
from avsr.preprocessing.clip import FPS, Clip, in_seconds
from avsr.preprocessing.everybody import Everybody
from avsr.recognisers.protocol import Recogniser, stream_for
from avsr.sync import HARMLESS_FRAMES
from avsr.transcribing import engine
from avsr.transcribing.engine import Hear, Listener, Progress
from avsr.transcribing.kept import Kept, remembering
from avsr.transcribing.speakers.evidence import KIND, embedder_for, shifted, weigh
from avsr.transcribing.speakers.seams import beyond, own_words
from avsr.transcribing.speakers.turns import Evidence, Turns, find_turns
from avsr.transcribing.synchronising.synchroniser import moved, remark
from avsr.transcribing.transcript import Segment, Transcript
from avsr.transcribing.voice.activity import runs

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.faces.mouths import Crops
    from avsr.preprocessing.faces.persons import Person
    from avsr.preprocessing.reader import ClipReader

SPEAKING = "speaking"  # the rule for the face that speaks most
OFF_SCREEN = "off-screen"  # who speaks without being seen to
SHARES = 0.5, 0.2, 0.3  # of the time, for progress alone: faces, who speaks, words
LEAST = 10  # frames of speech by which a face becomes a speaker
TOGETHER_S = 1.0  # speech of two at once that is worth a line


def transcribe(
    recogniser: Recogniser,
    path: str | Path,
    modality: str = "auto",
    face: str | int = "main",
    speakers: bool | Sequence[str] = False,
    progress: Progress | None = None,
    reader: ClipReader | None = None,
    audio_track: int | None = None,
    hear: Hear | None = None,
    partial: Partial | None = None,
) -> Transcript:
    """Recognises a media file; see `avsr.Recogniser.transcribe`.

    Args:
        recogniser: of any family.
        path, modality, face, speakers, progress, reader, audio_track, partial: as there.
        hear: as in `engine.transcribe`.

    Raises:
        AvsrError: as there.
        MediaError: the file cannot be read.
    """
    if are_wanted(speakers) or is_speaking(face):
        refuse_reader(reader)
    if are_wanted(speakers):
        names = names_of(speakers, face)
        asked = modality, names, progress, audio_track, hear, partial
        return _of_everybody(recogniser, path, *asked)
    if is_speaking(face) and stream_for(recogniser, modality) == "audio":
        face = "main"  # nobody's lips are read
    faces = {}
    if is_speaking(face):
        reader, person = _reader_of_speaker(recogniser, path, modality, audio_track, partial)
        face = "main"
        faces = {} if person is None else {"": person.id}
    found = engine.transcribe(
        recogniser, path, modality, face, progress, reader, audio_track, hear, partial
    )
    return replace(found, faces=faces)


def is_speaking(face: object) -> bool:
    """Whether the rule is SPEAKING; of anything that a caller may give for one."""
    return isinstance(face, str) and face == SPEAKING


def are_wanted(speakers: object) -> bool:
    """Whether it is asked who speaks; of anything that a caller may give, an array too."""
    return bool(speakers) if isinstance(speakers, bool | Sequence | None) else True


def refuse_reader(reader: ClipReader | None) -> None:
    """Refuses what reads a file once, where it is gone through more than once to find who speaks.

    Raises:
        UsageError: there is one, which is closed.
    """
    if reader is not None:
        reader.close()
        raise UsageError("reader: leave it out with speakers and with face 'speaking'")


def names_of(speakers: bool | Sequence[str], face: str | int = "main") -> list[str]:
    """The names that are given to those who speak, in the order in which they do first.

    Raises:
        UsageError: they are no names, one is empty or given twice, or a face is asked for as well.
    """
    if not isinstance(face, str) or face != "main":
        raise UsageError(f"face {face!r}: with speakers the lips of all are read: leave one out")
    if speakers is True:
        return []
    given = (
        [] if isinstance(speakers, bool | str) or not isinstance(speakers, Sequence) else speakers
    )
    if not given or not all(isinstance(name, str) for name in given):
        raise UsageError(f"speakers {speakers!r}: give True, or a list of names")
    names = [" ".join(name.split()) for name in given]
    if not all(names) or len({*names, OFF_SCREEN}) <= len(names):
        raise UsageError(
            f"speakers {names}: give names of which none is empty, there twice or {OFF_SCREEN!r}"
        )
    return names


@dataclass(frozen=True)
class Speaker:
    """Who speaks: a person, or a voice that is nobody's in the picture.

    Attributes:
        name: in the transcript; None where nobody can be told from anybody.
        person: whose lips; None off screen.
        heard: (T,) bool, frames whose sound is theirs.
        lag: frames by which that comes later than their lips.
        beyond: (T,) bool, others that are given to hear as well, see `seams`.
    """

    name: str | None
    person: Person | None
    heard: np.ndarray
    lag: int = 0
    beyond: np.ndarray | None = None

    @property
    def is_late(self) -> bool:
        """Whether their lips are moved onto their sound."""
        return abs(self.lag) > HARMLESS_FRAMES

    def clips(self, scenes: Iterable[Crops]) -> Iterator[Clip]:
        """A film as this speaker gives it: what is not theirs is marked absent."""
        return moved(self._own(scenes), self.lag) if self.is_late else self._own(scenes)

    def _own(self, scenes: Iterable[Crops]) -> Iterator[Clip]:
        """As the film has it, the lips where they were seen."""
        tracks = [] if self.person is None else [self.person.id]
        seen = shifted(self.heard, self.lag)
        given = self.heard if self.beyond is None else self.heard | self.beyond
        for scene in scenes:
            clip = scene.clip(tracks, id=self.name or "")
            here = slice(scene.first_frame, scene.end)
            yield replace(
                clip,
                audio_present=clip.audio_present & given[here],
                video_present=clip.video_present & seen[here],
            )


def _of_everybody(
    recogniser: Recogniser,
    path: str | Path,
    modality: str,
    names: Sequence[str],
    progress: Progress | None,
    audio_track: int | None,
    hear: Hear | None,
    partial: Partial | None,
) -> Transcript:
    """The transcript of a film in which each segment says who speaks."""
    stream, path = stream_for(recogniser, modality), path_of(path)
    with Everybody(path, audio_track, partial=partial) as film:
        info, tell = film.info, _Told(progress, film.info.duration_s)
        engine.insist(path, modality, sound=info.has_audio, picture=info.has_video)
        evidence = _looked_at(recogniser, film, tell, partial)
        turns = find_turns(evidence)
        voice = evidence.voice & ~turns.together
        speakers = [
            replace(speaker, beyond=beyond(speaker.heard, voice))
            for speaker in find_speakers(film.persons, evidence, turns, names)
        ]
        if not info.has_video:
            speakers = [replace(speaker, name=None) for speaker in speakers]
        ask = remembering(hear or recogniser.recognise_part, partial, info.duration_s)
        listeners = [Listener(recogniser, stream, ask) for _ in speakers]
        scenes = film.scenes(engine.size_s(recogniser), recogniser.crops)
        _listen(speakers, listeners, scenes, lambda seconds: tell(2, seconds))
        heard = [speaker.heard for speaker in speakers]
        said = own_words([listener.words for listener in listeners], heard, voice)
        for listener, words in zip(listeners, said, strict=True):
            listener.words = words
        warnings = [*film.media.warnings]
    found = [
        replace(segment, speaker=speaker.name, together=_share(turns.together, segment))
        for speaker, listener in zip(speakers, listeners, strict=True)
        for segment in listener.segments()
    ]
    found.sort(key=lambda segment: (segment.start_s, segment.end_s))
    if not info.has_video:
        warnings.append("no picture: who speaks cannot be told")
    else:
        warnings += told(speakers, turns, names)
    if stream != "audio":
        late = [speaker for speaker in speakers if speaker.is_late]
        warnings += [f"{speaker.name}: {remark(speaker.lag)}" for speaker in late]
    warnings += dict.fromkeys(line for listener in listeners for line in listener.remarks)
    present = listeners[0].present
    for listener in listeners[1:]:
        present.join(listener.present)
    faces = {one.name: one.person.id for one in speakers if one.name and one.person is not None}
    lags = {one.name: one.lag for one in speakers if one.name in faces}
    written = engine.written(path, recogniser, found, present, warnings)
    return replace(written, faces=faces, lags=lags)


def _looked_at(
    recogniser: Recogniser, film: Everybody, tell: _Told, partial: Partial | None
) -> Evidence:
    """Finds the faces of a film, and how well the lips of each fit the sound."""
    film.search(lambda seconds: tell(0, seconds))
    embedder = embedder_for(recogniser)
    numbers = [person.id for person in film.persons]
    scenes = film.scenes(engine.size_s(recogniser))
    kept = Kept(partial, film.info.duration_s, KIND)
    return weigh(embedder, scenes, numbers, lambda seconds: tell(1, seconds), kept)


def find_speakers(
    persons: Sequence[Person], evidence: Evidence, turns: Turns, names: Sequence[str]
) -> list[Speaker]:
    """Those who speak, in the order in which they do first; the voice off screen is the last.

    Args:
        persons: of the film.
        evidence, turns: of the same.
        names: of the first of them; the others are numbered.
    """
    mouthed = evidence.spells & evidence.mute  # said without any sound
    speaks = turns.persons & (evidence.voice | mouthed)
    enough = [n for n in range(len(persons)) if speaks[n].sum() >= LEAST]
    enough.sort(key=lambda n: int(speaks[n].argmax()))
    found = []
    for rank, n in enumerate(enough):
        name = names[rank] if rank < len(names) else f"Speaker {rank + 1}"
        found.append(Speaker(name, persons[n], turns.persons[n], evidence.lags[n]))
    # the sound of those who hardly speak is not lost
    left = turns.off_screen | ~np.logical_or.reduce([turns.off_screen, *(s.heard for s in found)])
    return [*found, Speaker(OFF_SCREEN, None, left)]


def _listen(
    speakers: Sequence[Speaker],
    listeners: Sequence[Listener],
    scenes: Iterable[Crops],
    tell: Callable[[float], None],
) -> None:
    """Goes through a film with all listeners side by side, so that it is decoded once."""
    copies = tee(scenes, len(speakers))
    steps = {n: listeners[n].steps(speakers[n].clips(copy)) for n, copy in enumerate(copies)}
    done = dict.fromkeys(steps, 0.0)
    while done:
        behind = min(done, key=lambda n: done[n])  # so that little is held for the others
        try:
            done[behind] = next(steps[behind])
            tell(min(done.values()))
        except StopIteration:
            del done[behind]


def _reader_of_speaker(
    recogniser: Recogniser,
    path: str | Path,
    modality: str,
    audio_track: int | None,
    partial: Partial | None,
) -> tuple[ClipReader, Person | None]:
    """A reader of the lips of who speaks most in a film, of the main face where nobody is heard;
    and that person, None where there is nobody."""
    from avsr.preprocessing.faces.persons import choose_person

    reader = engine.open_reader(path, modality, "main", audio_track, recogniser.crops)
    with Everybody(path, audio_track, partial=partial) as film:
        spoken = find_turns(_looked_at(recogniser, film, _Told(None, 0.0), partial)).spoken
    heard = len(spoken) > 0 and spoken.max() >= LEAST
    person = film.persons[int(spoken.argmax())] if heard else choose_person(film.persons)
    reader.take(film.persons, person, film.pictured)
    return reader, person


def told(speakers: Sequence[Speaker], turns: Turns, names: Sequence[str]) -> list[str]:
    """Who speaks, and where two do at once, in lines for people."""
    seen = [(speaker.name, one) for speaker in speakers if (one := speaker.person) is not None]
    who = [f"{name} (face {person.id}, {person.side})" for name, person in seen]
    lines = [f"who speaks: {', '.join(who)}" if who else "nobody is seen to speak"]
    if len(names) > len(seen):
        left = ", ".join(names[len(seen) :])
        lines.append(f"nobody else is seen to speak: names left over: {left}")
    spans = [span for span in runs(turns.together) if span[1] - span[0] >= TOGETHER_S * FPS]
    if spans:
        where = in_seconds(spans)
        lines.append(f"two or more speak at once at {where}: words are less certain there")
    return lines


def _share(flags: np.ndarray, segment: Segment) -> float:
    """Of the frames of a segment, those that are true."""
    first = int(segment.start_s * FPS)
    here = flags[first : max(first + 1, round(segment.end_s * FPS))]
    return float(here.mean()) if len(here) else 0.0


class _Told:
    """Tells progress of three passes over a file as one."""

    def __init__(self, progress: Progress | None, duration_s: float) -> None:
        engine.check_progress(progress)
        self._progress, self._duration_s = progress, duration_s

    def __call__(self, number: int, seconds: float) -> None:
        if self._progress is not None:
            whole_s = self._duration_s
            done_s = sum(SHARES[:number]) * whole_s + SHARES[number] * min(seconds, whole_s)
            self._progress(done_s, whole_s)
