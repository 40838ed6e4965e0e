"""Who speaks when: from how well the lips of each person fit the sound to turns.

Each person, and a voice that nobody's lips fit (off screen), is a state. The best path through them
is found by dynamic programming (Viterbi 1967): a frame speaks for a person as far as their lips fit
the sound better than FITS, and against one whose mouth is closed while a voice is heard. A change
from face to face costs little, since one of the two fits better; whether a voice is anybody's here
depends on the threshold, so that change costs more. Where one mouth moves and no other, it need fit
less: the embedding knows few sentences and few people, and a mouth that moves alone while a voice
is heard mostly speaks.

Whether two voices sound at once is told by the sound (`avsr.transcribing.voice.overlap`). Then
whoever fits best of those who move their lips beside the one that the path names speaks as well, or
else somebody off screen. Where one voice sounds, nobody speaks beside another.

Where somebody who speaks cannot be seen any more (they turn away, the camera cuts), the voice is
theirs as long as it runs on, and so it is before they are seen.

The numbers were set on films of GRID's s1, s2, s3, s26 and s30, and measured on others: see
docs/results.md.

P  persons        T  frames, 25 a second
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avsr.preprocessing.clip import FPS
from avsr.transcribing.voice.activity import mean_around, runs

FITS = 0.35  # mean cosine of sound and lips from which the lips are those of the voice
ALONE = 0.2  # the same where no other mouth moves
SWITCH = 0.75  # cost of a change from one face to another, in frames times cosine
LEAVE = 3.0  # the same between a face and a voice off screen
SEVERAL = 0.75  # log odds from which two voices sound at once; babble reaches less ...
CERTAIN = 4.0  # ... as far as a frame may count
BEGIN = 20.0  # cost of a change from one voice to two, or back, in frames times log odds
BESIDE = 0.0  # mean cosine from which lips that move are those of the second voice
UNSEEN_FRAMES = FPS  # that two voices sound, from which on the second may be off screen
RESTING = 0.15  # what a frame costs in which the lips of the speaker rest for a moment ...
CLOSED = 0.5  # ... or are closed, or not to be seen, for longer
REST_FRAMES = 10  # how far from the next letter lips only rest
PAUSE_FRAMES = 8  # how far a turn may be moved to end in a pause of the voice
MUTE_FRAMES = FPS  # without any sound, from which on nobody is heard

Lags = tuple[int, ...]
"""(P,) frames by which the sound comes later than the lips of each person."""


@dataclass(frozen=True)
class Evidence:
    """What is known of each frame.

    Attributes:
        fit: (P, T) float32, mean cosine of the sound and the lips of each person around each frame.
        spells: (P, T) bool, where the lips spell something.
        moves: (P, T) bool, where the mouth moves.
        seen: (P, T) bool, where the mouth can be seen.
        voice: (T,) bool, where a voice is heard.
        mute: (T,) bool, where there is no sound at all.
        several: (T,) float32, how likely two or more voices sound.
        lags: of each person, as found in the end; all of the above is told by the sound.
    """

    fit: np.ndarray
    spells: np.ndarray
    moves: np.ndarray
    seen: np.ndarray
    voice: np.ndarray
    mute: np.ndarray
    several: np.ndarray
    lags: Lags = ()


@dataclass(frozen=True)
class Turns:
    """Whose the frames are.

    Attributes:
        persons: (P, T) bool, the frames in which each person may speak, pauses included. Where
            there is no sound they are everybody's: the lips of each tell what is said.
        off_screen: (T,) bool, frames in which a voice is nobody's in the picture.
        spoken: (P,) int64, frames in which a person speaks and is heard.
        together: (T,) bool, where two or more speak at the same time.
    """

    persons: np.ndarray
    off_screen: np.ndarray
    spoken: np.ndarray
    together: np.ndarray


def find_turns(evidence: Evidence) -> Turns:
    """Whose the frames of a film are; the rule is the module's text."""
    count, frames = evidence.fit.shape
    mute = _long(evidence.mute)
    scores = np.zeros((count + 1, frames), np.float32)  # the last is the voice off screen
    scores[:count] = _scores(evidence) * ~mute
    path = _in_pauses(_best_path(scores, SWITCH, LEAVE), evidence.voice & ~mute)
    path = _run_on(path, evidence.voice & ~mute, evidence.seen)
    own = path == np.arange(count + 1)[:, None]
    voice = evidence.voice & ~mute
    second, together = _seconds(evidence, path, voice)
    whose = own | second
    spoken = (whose[:count] & voice).sum(axis=1)
    return Turns(whose[:count] | mute, whose[count] & ~mute, spoken, together)


def _seconds(
    evidence: Evidence, path: np.ndarray, voice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Who speaks beside another: (P + 1, T) bool, the last off screen; and (T,) bool, where."""
    count, frames = evidence.fit.shape
    second = np.zeros((count + 1, frames), np.bool_)
    together = are_several(evidence.several) & voice
    for first, last in _parts(together, path):
        here = slice(first, last)
        spells = evidence.spells[:, here]
        fits = np.where(spells, evidence.fit[:, here] - BESIDE, 0).sum(axis=1)
        fits[2 * spells.sum(axis=1) < last - first] = 0  # whose lips rest
        fits[path[first] : path[first] + 1] = 0  # who speaks anyway
        if fits.max(initial=0) > 0:
            second[fits.argmax(), here] = True
        elif last - first >= UNSEEN_FRAMES and path[first] < count:
            second[count, here] = True
        else:
            together[here] = False
    return second, together


def are_several(likely: np.ndarray) -> np.ndarray:
    """(T,) bool: where two voices sound at once, of how likely it is in each frame, (T,)."""
    sure = likely.astype(np.float64).clip(1e-6, 1 - 1e-6)
    odds = np.log(sure / (1 - sure)).clip(-CERTAIN, CERTAIN) - SEVERAL
    path = _best_path(np.stack([odds, np.zeros(len(odds))]), BEGIN, BEGIN)
    return np.asarray(path == 0)


def _parts(flags: np.ndarray, path: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run of true ones with one state of a path."""
    changes = np.flatnonzero(np.diff(path, prepend=path[:1])).tolist()
    parts: list[tuple[int, int]] = []
    for first, last in runs(flags, gap=0):
        edges = [first, *(change for change in changes if first < change < last), last]
        parts += pairwise(edges)
    return parts


def _scores(evidence: Evidence) -> np.ndarray:
    """(P, T) float32: how far a frame speaks for each person, or against."""
    near = mean_around(evidence.spells.T, 2 * REST_FRAMES + 1).T > 0
    scores = np.where(near, -RESTING, -CLOSED)
    scores = np.where(evidence.spells, evidence.fit - FITS, scores)
    alone = evidence.moves & (evidence.moves.sum(axis=0) == 1)
    scores = np.where(alone, np.maximum(scores, evidence.fit - ALONE), scores)
    # where no voice is found lips may still say that there is one, but nothing speaks against them
    return np.where(evidence.voice, scores, np.maximum(scores, 0)).astype(np.float32)


def _best_path(scores: np.ndarray, switch: float, leave: float) -> np.ndarray:
    """The states with the highest sum of scores, less the cost of each change.

    Args:
        scores: (states, T), the last state that of nobody.
        switch: cost of a change between the others.
        leave: cost of a change to nobody, or from there.

    Returns:
        (T,) int64.
    """
    states, frames = scores.shape
    if frames == 0:
        return np.zeros(0, np.int64)
    cost = np.full((states, states), switch)
    cost[-1], cost[:, -1] = leave, leave
    np.fill_diagonal(cost, 0.0)
    sums = scores[:, 0].astype(np.float64)
    before = np.zeros((frames, states), np.int64)
    for frame in range(1, frames):
        reached = sums - cost  # (states after, states before): costs are the same both ways
        before[frame] = reached.argmax(axis=1)
        sums = reached.max(axis=1) + scores[:, frame]
    path = np.zeros(frames, np.int64)
    path[-1] = sums.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = before[frame, path[frame]]
    return path


def _in_pauses(path: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """A path whose changes lie amid the nearest pause of the voice, where there is one: no word is
    cut in half."""
    moved = path.copy()
    changes = np.flatnonzero(np.diff(path)) + 1
    pauses = np.array(runs(~voice, gap=0), np.int64).reshape(-1, 2)
    for change in changes.tolist():
        apart = np.maximum(pauses[:, 0] - change, change - pauses[:, 1]).clip(min=0)
        if len(apart) == 0 or apart.min() > PAUSE_FRAMES:
            continue
        start, end = pauses[apart.argmin()].tolist()
        middle = (start + end) // 2
        if middle < change:
            moved[middle:change] = path[change]
        else:
            moved[change:middle] = path[change - 1]
    return moved


def _run_on(path: np.ndarray, voice: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A path whose voice off screen is that of whoever spoke just before, or speaks next, as long
    as it does not pause and they cannot be seen."""
    count, told = len(seen), path.copy()
    hidden = np.append(~seen, [np.zeros(len(path), np.bool_)], axis=0)
    for first, last in runs(voice, gap=0):
        steps = range(first + 1, last), range(last - 2, first - 1, -1)
        for forward, frames in zip((1, -1), steps, strict=True):
            for frame in frames:
                beside = told[frame - forward]
                if told[frame] == count and hidden[beside, frame]:
                    told[frame] = beside
    return told


def _long(mute: np.ndarray) -> np.ndarray:
    """(T,) bool: without sound for long enough that nobody is heard."""
    found = np.zeros_like(mute)
    for first, last in runs(mute, gap=0):
        found[first:last] = last - first >= min(MUTE_FRAMES, len(mute))
    return found
