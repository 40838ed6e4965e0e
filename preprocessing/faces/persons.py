"""Which face tracks belong to one person, whose lips are meant, and what is said about it.

A camera cut, or somebody who leaves and comes back, makes several tracks of one person. Tracks are
taken by weight (duration times size), the greatest first, and each joins the person that it
resembles most, or begins a new one:

- nobody is in two places at once: a track never joins a person who is seen elsewhere at that time
  (OVERLAP frames of a crossfade apart);
- faces are compared by their shape in three dimensions (face_tracks.shape_distances), with the
  nearest of a person's best known tracks. Under SAME they are one person, over OTHER they are two;
- between the two, the same place, size and surroundings speak for the same person, and so does that
  nobody else of any weight is in the picture at either time. The latter is a guess, and a line says
  so.

Over 66 GRID clips of eight speakers the distance of two clips of one speaker is 0.0135 in the
median and 0.029 at most: 98 % are under SAME, all under OTHER. Between two speakers it is 0.019 at
least and 0.045 in the median: 92 % are over OTHER, 6 % in between, 2 % (nearly all of one pair of
men) under SAME and taken for one person without a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nlargest

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS, in_seconds, to_runs
from avsr.preprocessing.faces.face import LIP_SLICE
from avsr.preprocessing.faces.face_tracks import FaceTrack, frames_seen, shape_distances

SAME = 0.025  # shape distance up to which two faces are one person ...
OTHER = 0.032  # ... and from which they are two
# correlation of two views (see face.view), minutes apart, that speaks for the same shot
SAME_SHOT = 0.85
BEST_KNOWN = 5  # tracks of a person that another face is compared to
FEW_SHAPES = 5  # a mean of fewer shapes is too rough to tell anybody apart
# the distance of a face whose shape is not known: neither the same nor another
UNKNOWN = (SAME + OTHER) / 2
NEAR_BONUS = 0.008  # how much of the distance the same place in the same shot outweighs
OVERLAP = FPS // 2  # frames for which one person may have two tracks
# of a track's weight, that makes another face at the same time somebody to reckon with
CONSIDERABLE = 0.1
LONG_S = 1.0  # lips that are lost for less are not worth a line


@dataclass
class Person:
    """One person: tracks that hardly overlap in time.

    Attributes:
        id: number in order of first appearance, from left to right where several appear at once.
        tracks: in order of time.
        guessed: those of them that were joined without evidence but that nobody else was there.
        row: "top", "middle" or "bottom" where others are above or below them; else "".
    """

    id: int = -1
    tracks: list[FaceTrack] = field(default_factory=list)
    guessed: list[FaceTrack] = field(default_factory=list)
    row: str = ""

    @cached_property
    def duration(self) -> int:
        """Frames."""
        return sum(track.duration for track in self.tracks)

    @cached_property
    def size(self) -> float:
        """Height of the face, source pixels: the mean over the time it is there."""
        return sum(track.duration * track.size for track in self.tracks) / self.duration

    @cached_property
    def centre(self) -> np.ndarray:
        """(2,) position of the mouth where it is longest, source pixels."""
        return max(self.tracks, key=_weight).centre

    @property
    def weight(self) -> float:
        return self.duration * self.size

    @property
    def column(self) -> str:
        """left, middle or right."""
        (width, _), x = self.tracks[0].picture, self.centre[0]
        return "left" if x < 0.4 * width else "right" if x > 0.6 * width else "middle"

    @property
    def side(self) -> str:
        """Where in the picture they are, such as "left"; "top left" where somebody is below."""
        return f"{self.row} {self.column}".strip()


def _weight(track: FaceTrack) -> float:
    return track.duration * track.size


def _overlap(a: FaceTrack, b: FaceTrack) -> int:
    """Frames in which both are seen: a face that jitters may begin a track amid a gap of
    another."""
    if min(a.last, b.last) < max(a.first, b.first):
        return 0
    return frames_seen(np.intersect1d(a.frames, b.frames, assume_unique=True))


def find_persons(tracks: Sequence[FaceTrack]) -> list[Person]:
    """Puts tracks together that are one person's; the rule is the module's text.

    Args:
        tracks: of one video, in any order.

    Returns:
        Persons in order of first appearance, numbered from 0.
    """
    persons: list[Person] = []
    alone, elsewhere = _alone(tracks), _elsewhere(tracks)
    owners: dict[int, Person] = {}  # by id of a track
    for track in sorted(tracks, key=lambda track: (-_weight(track), track.id)):
        others = {id(owners[other]) for other in elsewhere[track.id] if other in owners}
        possible = [person for person in persons if id(person) not in others]
        # Against the best known faces of each, and whether it is in a place of theirs.
        apart_from = [min(_distances(track, _best_known(person))) for person in possible]
        places = [any(_near(track, other) for other in person.tracks[-20:]) for person in possible]
        found = list(zip(apart_from, places, possible, strict=True))
        ranked = sorted(found, key=lambda entry: entry[0] - NEAR_BONUS * entry[1])
        apart, near, person = ranked[0] if ranked else (OTHER, False, None)
        guess = apart > SAME and not near
        if person is None or apart >= OTHER or (guess and not alone[track.id]):
            person, guess = Person(), False
            persons.append(person)
        person.tracks.append(track)
        owners[track.id] = person
        if guess:
            person.guessed.append(track)  # what is proven by other tracks leaves the list below
    persons.sort(key=lambda person: min(track.id for track in person.tracks))
    for number, person in enumerate(persons):
        person.id = number
        person.guessed = _unproven(person) if person.guessed else []
        person.tracks.sort(key=lambda track: (track.first, track.id))
    for person in persons:
        person.row = _row(person, persons)
    return persons


def _best_known(person: Person) -> list[FaceTrack]:
    """The tracks of a person whose shapes are known best: each view of a face, large or small,
    turned or not, has errors of its own, so the nearest of several tells more than one."""
    return nlargest(BEST_KNOWN, person.tracks, key=lambda track: track.shapes)


def _row(person: Person, persons: Sequence[Person]) -> str:
    """Where somebody is among those who are over or under them at the same time."""
    longest, above, below = max(person.tracks, key=_weight), False, False
    for other in persons:
        if other is person or other.column != person.column:
            continue
        lower = float(other.centre[1] - person.centre[1])
        together = any(_overlap(longest, track) > OVERLAP for track in other.tracks)
        above |= together and lower < -person.size
        below |= together and lower > person.size
    if above and below:
        return "middle"
    return "top" if below else "bottom" if above else ""


def _unproven(person: Person) -> list[FaceTrack]:
    """The tracks that nothing but a guess joins to the person's weightiest, in order of time."""
    proven, rest = [max(person.tracks, key=_weight)], list(person.tracks)
    for known in proven:
        apart = zip(rest, _distances(known, rest), strict=True)
        alike = [track for track, distance in apart if distance <= SAME or _near(track, known)]
        proven += [track for track in alike if track is not known]
        rest = [track for track in rest if track is not known and track not in alike]
    return sorted(rest, key=lambda track: track.first)


def _alone(tracks: Sequence[FaceTrack]) -> dict[int, bool]:
    """By id of a track: whether nobody else of any weight is there for a good part of its time."""
    found = {track.id: True for track in tracks}
    for one, two in _together(tracks):
        if _overlap(one, two) > OVERLAP and _weight(two) >= CONSIDERABLE * _weight(one):
            found[one.id] = False
    return found


def _elsewhere(tracks: Sequence[FaceTrack]) -> dict[int, set[int]]:
    """By id of a track: the ids of those that are seen elsewhere while it lasts, and so are no
    tracks of the same person."""
    found: dict[int, set[int]] = {track.id: set() for track in tracks}
    for one, two in _together(tracks):
        if _overlap(one, two) > min(OVERLAP, (one.duration + 1) // 2):
            found[one.id].add(two.id)
    return found


def _together(tracks: Sequence[FaceTrack]) -> Iterator[tuple[FaceTrack, FaceTrack]]:
    """Pairs of tracks that are there at the same time, both ways round."""
    by_start = sorted(tracks, key=lambda track: track.first)
    for i, track in enumerate(by_start):
        for other in by_start[i + 1 :]:
            if other.first > track.last:
                break
            yield track, other
            yield other, track


def _distances(track: FaceTrack, others: Sequence[FaceTrack]) -> list[float]:
    """How far the face of a track is from those of others, UNKNOWN where one of the two is not
    known."""
    found = np.full(len(others), UNKNOWN)
    shapes = {
        i: other.shape
        for i, other in enumerate(others)
        if other.shape is not None and _is_known(other)
    }
    if shapes and track.shape is not None and _is_known(track):
        found[list(shapes)] = shape_distances(track.shape, np.stack(list(shapes.values())))
    return found.tolist()


def _is_known(track: FaceTrack) -> bool:
    return track.shapes >= FEW_SHAPES


def _near(a: FaceTrack, b: FaceTrack) -> bool:
    """Whether two faces are in the same place, as large, and before the same surroundings: the same
    shot again."""
    if np.linalg.norm(a.centre - b.centre) >= b.size or not 0.67 < a.size / b.size < 1.5:
        return False
    return not (a.views and b.views) or any(
        float(one.astype(np.float32) @ two) >= SAME_SHOT for one in a.views for two in b.views
    )


RULES: dict[str, Callable[[Person], float]] = {
    "main": lambda person: person.weight,
    "largest": lambda person: person.size,
    "left": lambda person: -float(person.centre[0]),
    "right": lambda person: float(person.centre[0]),
}


def place_named(rule: str | int) -> tuple[float, float] | None:
    """The place in the picture that a rule like "320,180" names, (x, y) in source pixels; None for
    other rules."""
    x, comma, y = str(rule).partition(",")
    if not comma or not (x.strip().isdecimal() and y.strip().isdecimal()):
        return None
    return float(x), float(y)


def check_rule(rule: str | int) -> None:
    """Raises unless a rule is one.

    Raises:
        AvsrError: it is not.
    """
    is_number = isinstance(rule, int) or str(rule).isdecimal()
    if isinstance(rule, bool) or not (is_number or rule in RULES or place_named(rule)):
        raise AvsrError(
            f"face {rule!r}: allowed are {', '.join(RULES)}, the number of a face, or a place in "
            "the picture as x,y"
        )


def choose_person(persons: Sequence[Person], rule: str | int = "main") -> Person | None:
    """Picks the person that is meant.

    Args:
        persons: from find_persons.
        rule: "main" takes the greatest duration x size (long and large), "largest" the largest
            face, "left" and "right" the outermost in the picture (these three among people seen at
            least a fifth as long as the longest), a number the person of that number, "x,y" the
            one whose mouth is nearest to that place, in source pixels from the top left.

    Returns:
        The person; None where there is nobody.

    Raises:
        AvsrError: an unknown rule, or a number without a person.
    """
    check_rule(rule)
    if not persons:
        return None
    if (place := place_named(rule)) is not None:
        return min(persons, key=lambda person: _distance_to(place, person))
    if rule not in RULES:
        if not 0 <= int(rule) < len(persons):
            raise AvsrError(f"face {rule}: there is no such face; {list_persons(persons)}")
        return persons[int(rule)]
    longest = max(person.duration for person in persons)
    long = [person for person in persons if rule == "main" or person.duration * 5 >= longest]
    return max(long, key=RULES[str(rule)])


def _distance_to(place: tuple[float, float], person: Person) -> float:
    """From a place to the mouth of a person where it comes nearest, source pixels."""
    mouths = np.concatenate([track.points[:, LIP_SLICE].mean(axis=1) for track in person.tracks])
    return float(np.linalg.norm(mouths - np.array(place), axis=1).min())


def list_persons(persons: Sequence[Person]) -> str:
    """Who is there, when and where, in one line; at most the ten longest."""
    longest = sorted(persons, key=lambda person: -person.duration)[:10]
    told = [_describe(person) for person in sorted(longest, key=lambda person: person.id)]
    others = f"; and {len(persons) - len(told)} more" if len(persons) > len(told) else ""
    return f"{len(persons)} face{'s' * (len(persons) != 1)} found: {'; '.join(told)}{others}"


def _describe(person: Person) -> str:
    first, last = person.tracks[0].first / FPS, (person.tracks[-1].last + 1) / FPS
    seen = f"{person.duration / FPS:.1f} s between {first:.1f} and {last:.1f} s"
    return f"{person.id} ({person.side}, {person.size:.0f} pixels high, {seen})"


def remarks(
    persons: Sequence[Person], chosen: Person, pictured: np.ndarray, present: np.ndarray
) -> list[str]:
    """What a user should know about whose lips were read.

    Args:
        persons: everybody.
        chosen: whose lips were read.
        pictured: (T,) bool, where there is a picture.
        present: (T,) bool, where the lips could be read.

    Returns:
        Lines: others who are there as well, tracks that may be somebody else's, lips that were lost
            for a while.
    """
    lines = []
    others = [p for p in persons if p is not chosen and p.weight >= CONSIDERABLE * chosen.weight]
    if others:
        known = sorted([chosen, *others], key=lambda person: person.id)
        lines.append(
            f"{list_persons(known)}; the lips of {chosen.id} are read: --face N takes another"
        )
    doubtful = [track for track in chosen.guessed if track.duration >= LONG_S * FPS / 2]
    if doubtful:
        where = in_seconds([(track.first, track.last + 1) for track in doubtful])
        lines.append(f"lips at {where} may be somebody else's: another shot, and the faces differ")
    lost = [
        (first, end) for first, end in to_runs(pictured & ~present) if end - first >= LONG_S * FPS
    ]
    if lost:
        total = sum(end - first for first, end in lost) / FPS
        lines.append(
            f"no lips to read for {total:.1f} of {len(pictured) / FPS:.1f} s: {in_seconds(lost)}"
        )
    return lines
