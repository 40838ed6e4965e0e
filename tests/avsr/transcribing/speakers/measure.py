"""How much of the speech in films of several people is given to who speaks.

    python tests/avsr/transcribing/speakers/measure.py SHARDS [--speakers s5,s31,s33] [--films 20]
    python tests/avsr/transcribing/speakers/measure.py SHARDS --kinds call --lags 0,10
    python tests/avsr/transcribing/speakers/measure.py --heads 3

The films are put together from prepared clips (`avsr prepare`) of one person each, mouths and
sound, so faces need not be found: this measures who speaks, given the faces. With --lags the
picture of each person comes so many frames after the sound, as in a recorded video call. With
--heads they are of synthetic talking heads that say everyday sentences, made for it (espeak-ng and
flite).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.faces.mouths import Crops
from avsr.preprocessing.reader import load_clip
from avsr.preprocessing.shards import ShardIndex
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.recognisers import ours
from avsr.transcribing.speakers.evidence import weigh
from avsr.transcribing.speakers.turns import find_turns
from avsr.transcribing.voice.silero import voice

VOICE = 0.5  # probability of a voice from which a frame of a clean recording is speech
ROOM = 1e-3  # level of an empty room, -60 dB of full scale
OFF, NOBODY = -1, -2  # a voice out of the picture; no voice
OUT_OF_SYNC = {"s33_bbac3a", "s1_bwbt8p"}  # recordings whose own sound and lips are apart
HEADS = 5000  # seed of the synthetic heads
SENTENCES = """
the train to the coast leaves at a quarter past seven every morning
my sister found an old map under the kitchen floor last winter
please bring some bread and a bottle of milk when you come home
we waited for an hour but nobody came to open the gate
the doctor said that walking every day would help my back
a small boat drifted slowly past the empty harbour wall
he forgot the name of the street where his uncle used to live
they are going to paint the whole house yellow this summer
the children built a castle out of boxes and some string
it rained so hard that the river covered the lower path
our teacher never tells us what will be on the next test
she plays the piano much better than anybody else in town
could you tell me how to get from here to the museum
there is hardly any coffee left so we should buy a new bag
the old clock in the hall has been wrong for many years
nobody knew why the lights had gone out in the whole village
i would rather stay and finish this book before we eat
the mechanic told me that the engine needs two new parts
""".strip().splitlines()


@dataclass
class Film:
    """Mouths of several people, one sound, and whose it is.

    Attributes:
        lips: of each part, one for each person, (T, 96, 96) or None for nobody.
        speaker: of each part, (T,) the number of the person, OFF or NOBODY.
        second: of each part, (T,) who speaks as well, numbered alike.
    """

    lips: list[list[np.ndarray | None]] = field(default_factory=list)
    sound: list[np.ndarray] = field(default_factory=list)
    speaker: list[np.ndarray] = field(default_factory=list)
    second: list[np.ndarray] = field(default_factory=list)

    def add(
        self,
        lips: list[np.ndarray | None],
        heard: Clip,
        speaker: int,
        also: Clip | None = None,
        beside: int = 1,
        noise: np.ndarray | None = None,
    ) -> None:
        sound, says = heard.audio.copy(), speech(heard)
        second = np.full(heard.frames, NOBODY)
        if also is not None:
            sound += also.audio * (rms(sound) / rms(also.audio))
            second = np.where(says & speech(also), beside, NOBODY)
        if noise is not None:
            sound += noise[: len(sound)] * (rms(sound) / rms(noise))
        self.lips.append(lips)
        self.sound.append(sound)
        self.speaker.append(np.where(says, speaker, NOBODY))
        self.second.append(second)

    def crops(self, lags: Sequence[int] = ()) -> Crops:
        """The film, with the picture of each person so many frames late, early where negative."""
        mouths: dict[int, dict[int, tuple[np.ndarray, float]]] = {}
        first = 0
        for part, sound in zip(self.lips, self.sound, strict=True):
            for person, lips in enumerate(part):
                if lips is not None:
                    there = {first + n: (crop, 1.0) for n, crop in enumerate(lips)}
                    mouths.setdefault(person, {}).update(there)
            first += len(sound) // SAMPLES_PER_FRAME
        for person, lag in enumerate(lags):
            there = mouths.get(person, {})
            seen = ((at, at - lag) for at in range(first) if at - lag in there)
            mouths[person] = {at: there[before] for at, before in seen}
        audio = np.concatenate(self.sound).astype(np.float32)
        return Crops(0, audio, np.ones(first, np.bool_), mouths)


def speech(clip: Clip) -> np.ndarray:
    return voice(clip.audio) > VOICE


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound).mean()))


def still(clip: Clip) -> np.ndarray:
    """The mouth of somebody who says nothing: its first picture."""
    return np.broadcast_to(clip.lips[:1], clip.lips.shape)


class Cast:
    """Who films are made of."""

    def __init__(self, clips: dict[str, list[Clip]], rng: np.random.Generator) -> None:
        self.clips, self.rng = clips, rng

    def draw(self, count: int, parts: int = 3) -> list[list[Clip]]:
        """So many people, each with several clips."""
        everybody = sorted(self.clips)
        names = self.rng.choice(everybody, min(count, len(everybody)), replace=False).tolist()
        if len(names) < count:  # then some are there twice, with other sentences
            names += self.rng.permutation(everybody)[: count - len(names)].tolist()
        orders = {n: self.rng.permutation(len(clips)).tolist() for n, clips in self.clips.items()}
        return [[self.clips[n][orders[n].pop()] for _ in range(parts)] for n in names]

    def babble(self) -> np.ndarray:
        """Six voices at once, as loud as each other."""
        every = [clip for clips in self.clips.values() for clip in clips]
        drawn = [every[i].audio for i in self.rng.choice(len(every), 6, replace=False)]
        return np.sum([sound / rms(sound) for sound in drawn], axis=0)


def both_talk(cast: Cast, film: Film, babble: bool = False) -> None:
    """Two talk all the time, and one is heard."""
    for a, b in zip(*cast.draw(2), strict=True):
        film.add([a.lips, b.lips], a, 0, noise=cast.babble() if babble else None)


def in_turn(cast: Cast, film: Film, babble: bool = False, parts: int = 3) -> None:
    """Two talk all the time, and are heard in turn, 3 s each."""
    for n, pair in enumerate(zip(*cast.draw(2, parts), strict=True)):
        noise = cast.babble() if babble else None
        film.add([clip.lips for clip in pair], pair[n % 2], n % 2, noise=noise)


def conversation(cast: Cast, film: Film, babble: bool = False, parts: int = 3) -> None:
    """Two in turn, 3 s each; one speaks, the other's face stands still."""
    for n, pair in enumerate(zip(*cast.draw(2, parts), strict=True)):
        lips = [clip.lips if m == n % 2 else still(clip) for m, clip in enumerate(pair)]
        film.add(lips, pair[n % 2], n % 2, noise=cast.babble() if babble else None)


def short_turns(cast: Cast, film: Film, moving: bool = False) -> None:
    """Two in turn, 1 s each, from amid sentences; the other's face stands still, or talks too."""
    for n, pair in enumerate(zip(*cast.draw(2, 6), strict=True)):
        pair = [clip.window(15, 15 + FPS) for clip in pair]
        lips = [clip.lips if m == n % 2 or moving else still(clip) for m, clip in enumerate(pair)]
        film.add(lips, pair[n % 2], n % 2)


def short_call(cast: Cast, film: Film, moving: bool = False, babble: bool = False) -> None:
    """Twelve turns of 1 s, as in `short_turns`, two out of each sentence."""
    for pair in zip(*cast.draw(2, 6), strict=True):
        for n, first in enumerate((13, 13 + FPS)):
            parts = [clip.window(first, first + FPS) for clip in pair]
            lips = [clip.lips if m == n or moving else still(clip) for m, clip in enumerate(parts)]
            noise = cast.babble() if babble else None
            film.add(lips, parts[n], n, noise=noise)


def interrupted(cast: Cast, film: Film, moving: bool = False) -> None:
    """Two who are heard in turn with a voice out of the picture between them, 3 s each; who is not
    heard stands still, or talks all the same."""
    whose = 0, OFF, 1, OFF, 0, 1
    for speaker, clips in zip(whose, zip(*cast.draw(3, len(whose)), strict=True), strict=True):
        lips = [
            clip.lips if m == speaker or moving else still(clip) for m, clip in enumerate(clips[:2])
        ]
        film.add(lips, clips[speaker], speaker)


def four(cast: Cast, film: Film, moving: bool = False) -> None:
    """Four in turn, 3 s each; the other faces stand still, or talk too."""
    for n, clips in enumerate(zip(*cast.draw(4, 4), strict=True)):
        lips = [clip.lips if m == n or moving else still(clip) for m, clip in enumerate(clips)]
        film.add(lips, clips[n], n)


def silences(cast: Cast, film: Film, moving: bool = False) -> None:
    """One, 3 s of an empty room, the other; in the silence both are still, or move their lips."""
    a, b = cast.draw(2)
    film.add([a[0].lips, still(b[0])], a[0], 0)
    room = cast.rng.normal(scale=ROOM, size=len(a[1].audio)).astype(np.float32)
    lips = [clip.lips if moving else still(clip) for clip in (a[1], b[1])]
    film.add(lips, replace(a[1], audio=room), NOBODY)
    film.add([still(a[2]), b[2].lips], b[2], 1)


def off_screen(cast: Cast, film: Film) -> None:
    """Two talk all the time, and a third is heard who is not in the picture."""
    for a, b, c in zip(*cast.draw(3), strict=True):
        film.add([a.lips, b.lips], c, OFF)


def narrated(cast: Cast, film: Film) -> None:
    """One, then a voice out of the picture, then the other; who is not heard stands still."""
    a, b, c = cast.draw(3)
    film.add([a[0].lips, still(b[0])], a[0], 0)
    film.add([still(a[1]), still(b[1])], c[1], OFF)
    film.add([still(a[2]), b[2].lips], b[2], 1)


def cut_away(cast: Cast, film: Film) -> None:
    """Shot and reverse shot: who speaks is in the picture alone, 3 s each."""
    for n, (a, b) in enumerate(zip(*cast.draw(2, 4), strict=True)):
        film.add([a.lips, None] if n % 2 == 0 else [None, b.lips], (a, b)[n % 2], n % 2)


def together(cast: Cast, film: Film, moving: bool = False) -> None:
    """One, then both at once and as loud as each other, then the other; who is not heard stands
    still, or moves their lips all the same."""
    a, b = cast.draw(2)
    film.add([a[0].lips, b[0].lips if moving else still(b[0])], a[0], 0)
    film.add([a[1].lips, b[1].lips], a[1], 0, also=b[1])
    film.add([a[2].lips if moving else still(a[2]), b[2].lips], b[2], 1)


def beside_off_screen(cast: Cast, film: Film) -> None:
    """One, then they and a voice out of the picture at once and as loud, then the other; who does
    not speak stands still."""
    a, b, c = cast.draw(3)
    film.add([a[0].lips, still(b[0])], a[0], 0)
    film.add([a[1].lips, still(b[1])], a[1], 0, also=c[1], beside=OFF)
    film.add([still(a[2]), b[2].lips], b[2], 1)


KINDS: dict[str, Callable[[Cast, Film], None]] = {
    "both talk": both_talk,
    "both talk, babble 0 dB": lambda cast, film: both_talk(cast, film, babble=True),
    "in turn": in_turn,
    "in turn, babble 0 dB": lambda cast, film: in_turn(cast, film, babble=True),
    "conversation": conversation,
    "conversation, babble 0 dB": lambda cast, film: conversation(cast, film, babble=True),
    "turns of 1 s": short_turns,
    "turns of 1 s, both talk": lambda cast, film: short_turns(cast, film, moving=True),
    "four faces": four,
    "four faces, all talk": lambda cast, film: four(cast, film, moving=True),
    "silence": silences,
    "silence, lips move": lambda cast, film: silences(cast, film, moving=True),
    "off screen": off_screen,
    "narrated": narrated,
    "shot and reverse shot": cut_away,
    "together": together,
    "together, both talk": lambda cast, film: together(cast, film, moving=True),
    "beside a voice off screen": beside_off_screen,
    "call": lambda cast, film: conversation(cast, film, parts=6),
    "call, babble 0 dB": lambda cast, film: conversation(cast, film, babble=True, parts=6),
    "call, both talk": lambda cast, film: in_turn(cast, film, parts=6),
    "call, both talk, babble 0 dB": lambda cast, film: in_turn(cast, film, babble=True, parts=6),
    "call, 1 s": short_call,
    "call, 1 s, both talk": lambda cast, film: short_call(cast, film, moving=True),
    "call, 1 s, babble 0 dB": lambda cast, film: short_call(cast, film, babble=True),
    "call, interrupted": interrupted,
    "call, interrupted, both talk": lambda cast, film: interrupted(cast, film, moving=True),
}


def counted(
    film: Film, embedder: ours.NetworkRecogniser, lags: Sequence[int] = ()
) -> dict[str, int]:
    """Frames with speech, those that are given to who speaks, and the like."""
    persons = len(film.lips[0])
    evidence = weigh(embedder, [film.crops(lags)], range(persons), lambda seconds: None)
    turns = find_turns(evidence)
    speaker, second = np.concatenate(film.speaker), np.concatenate(film.second)
    speaks = speaker != NOBODY
    whose = np.concatenate([turns.persons, turns.off_screen[None]])
    right = whose[speaker.clip(min=OFF), np.arange(len(speaker))] & speaks
    beside = second != NOBODY
    right_too = whose[second.clip(min=OFF), np.arange(len(second))] & beside
    edges = np.cumsum([0, *map(len, film.speaker)]).tolist()
    parts = [slice(first, last) for first, last in pairwise(edges)]
    return {
        "speech": int(speaks.sum()),
        "right": int(right.sum()),
        "turns": len(parts),
        "turns_right": sum(int(2 * right[p].sum() > speaks[p].sum()) for p in parts),
        "off_screen": int((turns.off_screen & speaks & (speaker != OFF) & (second != OFF)).sum()),
        "second": int(beside.sum()),
        "second_found": int((turns.together & beside).sum()),
        "second_right": int((turns.together & right_too & right).sum()),
        "second_wrong": int((turns.together & speaks & ~beside).sum()),
    }


def recorded(shards: list[Path], names: list[str]) -> dict[str, list[Clip]]:
    """Up to twenty clips of each speaker."""
    clips: dict[str, list[Clip]] = {name: [] for name in names}
    for index in map(ShardIndex, shards):
        for i, entry in enumerate(index.entries):
            kept = clips.get(entry.speaker or "")
            if kept is not None and len(kept) < 20 and entry.id not in OUT_OF_SYNC:
                kept.append(index.load(i))
    return clips


def heads(count: int, parts: int = 6, seconds: int = 3) -> dict[str, list[Clip]]:
    """So many synthetic heads, each with the beginnings of several sentences."""
    rng, clips = np.random.default_rng(HEADS), dict[str, list[Clip]]()
    with TemporaryDirectory() as folder:
        for head in range(count):
            for n, text in enumerate(rng.permutation(SENTENCES)[:parts]):
                path = Path(folder) / f"{head}-{n}.mp4"
                engine = ("espeak", "flite")[head % 2]
                make_clip(path, str(text), seed=HEADS + 100 * head + n, engine=engine)
                clip = load_clip(path).window(0, seconds * FPS)
                clips.setdefault(f"head {head}", []).append(clip)
    return clips


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", type=Path, nargs="*")
    parser.add_argument("--heads", type=int, default=0)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--speakers", default="s5,s31,s33")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--lags", default="", help="frames, one a person: -5,5")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = asked.speakers.split(",")
    clips = heads(asked.heads) if asked.heads else recorded(asked.shards, names)
    embedder = ours.load("default", "cpu")
    lags = [int(lag) for lag in asked.lags.split(",") if lag]
    for kind in asked.kinds:
        cast, sums = Cast(clips, np.random.default_rng(asked.seed)), dict[str, int]()
        for _ in range(asked.films):
            film = Film()
            KINDS[kind](cast, film)
            found = counted(film, embedder, lags)
            sums = {name: sums.get(name, 0) + count for name, count in found.items()}
        print(json.dumps({"kind": kind, "films": asked.films, "lags": lags} | sums), flush=True)


if __name__ == "__main__":
    main()
