"""How well two voices at once are told from one, in voices that the detector never heard.

    python tests/avsr/transcribing/voice/measure_overlap.py --grid data/others --speech LIBRISPEECH
        --noise NOISE --rooms ROOMS

Pairs of voices, -6 to 6 dB apart, the second for a part of the first; and single voices, clean and
in babble of six voices, noise, music and rooms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.shards import ShardIndex
from avsr.preprocessing.synthetic.sounds import non_speech
from avsr.training.data.augmentation.augment import add_noise, channel
from avsr.training.data.augmentation.recordings import Recordings
from avsr.transcribing.speakers.turns import are_several
from avsr.transcribing.voice.overlap import several
from avsr.transcribing.voice.silero import voice

VOICE = 0.5  # probability of a voice from which a frame of a clean recording is speech
SECONDS = 6  # at most, of a recording
BABBLE = 6  # voices
Voices = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Others:
    """What voices are spoilt with."""

    voices: list[np.ndarray]
    noises: Recordings
    rooms: Recordings

    def babble(self, samples: int, rng: Generator) -> np.ndarray:
        drawn = rng.choice(len(self.voices), BABBLE, replace=False)
        sounds = [np.resize(self.voices[n], samples) for n in drawn]
        return np.sum([sound / rms(sound) for sound in sounds], axis=0)

    def noise(self, samples: int, rng: Generator) -> np.ndarray:
        return self.noises.stretch(int(rng.integers(len(self.noises))), samples, rng)


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound).mean())) or 1.0


Spoilt = Callable[[np.ndarray, Others, Generator], np.ndarray]
CONDITIONS: dict[str, Spoilt] = {
    "clean": lambda sound, others, rng: sound,
    "babble 0 dB": lambda sound, others, rng: add_noise(sound, others.babble(len(sound), rng), 0),
    "babble 10 dB": lambda sound, others, rng: add_noise(sound, others.babble(len(sound), rng), 10),
    "noise 5 dB": lambda sound, others, rng: add_noise(sound, others.noise(len(sound), rng), 5),
    "music 5 dB": lambda sound, others, rng: add_noise(
        sound, non_speech(len(sound), rng, "music"), 5
    ),
    "room": lambda sound, others, rng: channel(
        sound, others.rooms.whole(int(rng.integers(len(others.rooms)))), False, rng
    ),
}


def mixed(first: np.ndarray, second: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """One voice, beside it another for a second or more; and (T,) bool where both speak."""
    frames = min(len(first), len(second)) // SAMPLES_PER_FRAME
    length = int(rng.integers(min(FPS, frames), frames + 1))
    begin = int(rng.integers(frames - length + 1))
    kept = np.zeros(frames, np.bool_)
    kept[begin : begin + length] = True
    first, second = (sound[: frames * SAMPLES_PER_FRAME] for sound in (first, second))
    both = (voice(first) > VOICE) & (voice(second) > VOICE) & kept
    beside = second * np.repeat(kept, SAMPLES_PER_FRAME)
    level = 10 ** (rng.uniform(-6, 6) / 20) * rms(first) / rms(second)
    return first + beside * np.float32(level), both


def found_in(sound: np.ndarray) -> np.ndarray:
    """(T,) bool, where two voices are told."""
    frames = len(sound) // SAMPLES_PER_FRAME
    lips, heard = np.zeros((frames, 96, 96), np.uint8), np.ones(frames, np.bool_)
    return are_several(several(Clip("", sound.astype(np.float32), lips, heard, ~heard, 0.0)))


def pairs(voices: Voices, others: Others, spoilt: Spoilt, seed: int, count: int) -> dict[str, int]:
    """Frames of both that are told, and others that are."""
    rng, right, wrong, both, found = np.random.default_rng(seed), 0, 0, 0, 0
    for _ in range(count):
        names = rng.choice(sorted(voices), 2, replace=False)
        one, other = (voices[n][int(rng.integers(len(voices[n])))] for n in names)
        sound, truth = mixed(one, other, rng)
        told = found_in(spoilt(sound, others, rng))
        right, wrong = right + int((told & truth).sum()), wrong + int((told & ~truth).sum())
        both, found = both + int(truth.sum()), found + int(told.sum())
    return {"both": both, "told": right, "wrong": wrong}


def singles(voices: Voices, others: Others, spoilt: Spoilt, seed: int) -> dict[str, int]:
    """Frames of single voices, and those told to be of several."""
    rng, frames, wrong = np.random.default_rng(seed), 0, 0
    for name in sorted(voices):
        for sound in voices[name]:
            told = found_in(spoilt(sound, others, rng))
            frames, wrong = frames + len(told), wrong + int(told.sum())
    return {"frames": frames, "wrong": wrong}


def read(grid: Path, speakers: list[str], speech: Path) -> dict[str, Voices]:
    """GRID's and LibriSpeech's voices; of the latter the first seconds of each utterance."""
    said, books = Voices(), Voices()
    index = ShardIndex(grid)
    for place, entry in enumerate(index.entries):
        if entry.speaker in speakers:
            said.setdefault(entry.speaker, []).append(index.load(place).audio)
    recordings = Recordings(speech)
    for place, name in enumerate(recordings.names):
        sound = recordings.whole(place)[: SECONDS * FPS * SAMPLES_PER_FRAME]
        whole = len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        books.setdefault(name.split("-")[0], []).append(sound[:whole])
    return {"grid": said, "books": books}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grid", type=Path, required=True)
    parser.add_argument("--speakers", default="s26,s33")
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--rooms", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    recordings = Recordings(asked.noise), Recordings(asked.rooms)
    for corpus, voices in read(asked.grid, asked.speakers.split(","), asked.speech).items():
        others = Others([sound for sounds in voices.values() for sound in sounds], *recordings)
        for name, spoilt in CONDITIONS.items():
            both = pairs(voices, others, spoilt, asked.seed, asked.pairs)
            one = singles(voices, others, spoilt, asked.seed)
            print(json.dumps({"voices": corpus, "in": name, "pairs": both, "single": one}))


if __name__ == "__main__":
    main()
