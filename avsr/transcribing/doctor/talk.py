"""Who of several people in a film speaks, as the doctor tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsr import sync
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.everybody import Everybody
from avsr.transcribing.speakers.evidence import weigh
from avsr.transcribing.speakers.people import find_speakers
from avsr.transcribing.speakers.turns import find_turns

if TYPE_CHECKING:
    from avsr.preprocessing.reader import ClipReader


@dataclass(frozen=True)
class Talker:
    """Somebody who is seen to speak.

    Attributes:
        face: their number, as `--face N` takes it.
        side: where in the picture they are.
        seconds: of speech.
    """

    face: int
    side: str
    seconds: float


@dataclass(frozen=True)
class Talk:
    """Who speaks in a film of several people.

    Attributes:
        talkers: those who are seen to speak, who speaks most first.
        off_screen_s: seconds of a voice that is nobody's in the picture.
        together_s: seconds in which two or more speak at the same time.
        main: the number of who is read where nobody is named.
    """

    talkers: list[Talker]
    off_screen_s: float
    together_s: float
    main: int = 0

    @property
    def most(self) -> int | None:
        """The number of who speaks most; None where nobody is seen to."""
        return self.talkers[0].face if self.talkers else None


def who_talks(
    path: Path, recogniser: sync.Recogniser, reader: ClipReader, window_s: float
) -> Talk | None:
    """Finds who speaks in a film whose faces are known; it is decoded once more.

    Args:
        path: the film.
        recogniser: has a trained embedding.
        reader: has read it.
        window_s: seconds that are looked at together.

    Returns:
        None where only one person is there for longer than a moment.
    """
    tell = reader.progress or (lambda seconds: None)
    with Everybody(path) as film:
        film.take(reader.persons, reader.pictured)
        numbers = [person.id for person in film.persons]
        if len(numbers) < 2 or reader.chosen is None:
            return None
        evidence = weigh(recogniser, film.scenes(window_s), numbers, tell)
    turns = find_turns(evidence)
    talkers = []
    for speaker in find_speakers(film.persons, evidence, turns, names=[]):
        if (person := speaker.person) is not None:
            mouthed = evidence.spells[numbers.index(person.id)] & evidence.mute
            spoken = speaker.heard & (evidence.voice | mouthed)
            talkers.append(Talker(person.id, person.side, float(spoken.sum()) / FPS))
    talkers.sort(key=lambda talker: -talker.seconds)
    off_screen_s = float((turns.off_screen & evidence.voice).sum()) / FPS
    together_s = float(turns.together.sum()) / FPS
    return Talk(talkers, off_screen_s, together_s, reader.chosen.id)
