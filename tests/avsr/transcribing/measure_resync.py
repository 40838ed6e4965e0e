"""How often --fix-sync puts films right, leaves them alone, or spoils them.

    python tests/avsr/transcribing/measure_resync.py SHARDS --speakers s26,s33 --films 20

Films are made of three clips of the same shards: as they are, with their lips moved by 4 to 25
frames, and with lips of another moment.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from avsr import sync
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.shards import ShardIndex
from avsr.recognisers import ours
from avsr.transcribing.synchronising.resync import SAME_FRAMES, judge
from avsr.transcribing.synchronising.synchroniser import moved

CLIPS = 3  # of a film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards")
    parser.add_argument("--speakers", help="only these, as s26,s33")
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    recogniser, rng = ours.load(asked.model), random.Random(0)
    found: dict[str, Counter[str]] = {"as they are": Counter(), "moved": Counter()}
    found["lips of another moment"] = Counter()
    for film in islice(_films(asked.shards, asked.speakers, rng), asked.films):
        lag = rng.choice((-1, 1)) * rng.randint(4, 25)
        (late,) = moved([film], lag)
        found["as they are"][_outcome(recogniser, film, 0)] += 1
        found["moved"][_outcome(recogniser, late, -lag)] += 1
        found["lips of another moment"][_outcome(recogniser, _elsewhere(film), None)] += 1
    for what, counts in found.items():
        print(what, dict(counts))


def _films(shards: str, speakers: str | None, rng: random.Random):  # type: ignore[no-untyped-def]
    """Clips one after the other."""
    index = ShardIndex(shards)
    wanted = speakers.split(",") if speakers else None
    chosen = [i for i in index.select() if not wanted or index.meta(i)["speaker"] in wanted]
    rng.shuffle(chosen)
    for k in range(len(chosen)):
        yield _joined([index.load(chosen[(k + j) % len(chosen)]) for j in range(CLIPS)])


def _joined(parts: Sequence[Clip]) -> Clip:
    names = ("audio", "lips", "audio_present", "video_present")
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], quality=None, words=None, **whole)


def _elsewhere(film: Clip) -> Clip:
    """The film with lips of another of its clips."""
    by = film.frames // CLIPS
    present = np.roll(film.video_present, by)
    return replace(film, lips=np.roll(film.lips, by, 0), video_present=present)


def _outcome(recogniser: sync.Recogniser, film: Clip, lag: int | None) -> str:
    """What would be done to a film whose sound comes so many frames after its lips."""
    told = judge(sync.embedded(recogniser, [film])).offset_s
    if told is None:
        return "left alone"
    right = lag is not None and abs(told * FPS - lag) <= SAME_FRAMES
    return "put right" if right else "spoilt"


if __name__ == "__main__":
    main()
