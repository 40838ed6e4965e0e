"""Makes the overlapped speech detector (`avsr.transcribing.voice.overlap`).

    python -m avsr.training.tools.overlap OUT --grid data/s1 --grid data/others --speech LIBRISPEECH
        --noise NOISE --rooms ROOMS [--steps 800]

Mixtures are made anew for every step: one voice, several, or voices in turn, with rooms, noise,
babble, equalisers and codecs. Where somebody speaks is told by Silero VAD in the recordings as they
are. The bundled model's audio encoder is left as it is; what it makes of the last mixtures is kept,
so that each is learnt from more than once.

N  audio samples, 640 T        T  frames, 25 a second        D  width
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from avsr.model import checkpoint
from avsr.model.layers.frontends import WhisperFrontend
from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.shards import ShardIndex
from avsr.preprocessing.synthetic.sounds import non_speech
from avsr.training.data.augmentation.augment import add_noise, channel, codec, coloured_noise
from avsr.training.data.augmentation.recordings import Recordings
from avsr.transcribing.voice.overlap import SEVERAL, OverlapHead, encoded, frontend_of
from avsr.transcribing.voice.silero import voice

FRAMES = 10 * FPS  # of a mixture
SAMPLES = FRAMES * SAMPLES_PER_FRAME
VOICE = 0.5  # probability from which a frame of a clean recording is speech
HELD_OUT = "s5", "s31"  # of GRID, and every eighth reader: to choose by
READERS = 8
MIXTURES = 8  # made for a step
KEPT = 1000  # mixtures that are learnt from again
BATCH, BATCHES = 24, 2  # mixtures; times a step
CHECKS = 64  # mixtures of voices held out
WARMUP = 20  # steps before anything is learnt, so that the first batches are not all alike


@dataclass(frozen=True)
class Recording:
    """One voice: (N,) float32, and (T,) bool where it speaks."""

    speaker: str
    audio: np.ndarray
    speaks: np.ndarray


Voices = dict[str, dict[str, list[Recording]]]
Track = tuple[np.ndarray, np.ndarray]  # a voice in a mixture: (N,) float32, (T,) bool


@dataclass(frozen=True)
class Material:
    """Recordings of each speaker by corpus, noises and rooms."""

    voices: Voices
    noises: Recordings
    rooms: Recordings


def read(grid: Sequence[Path], speech: Path, held_out: bool) -> Voices:
    """The voices to learn from, or those held out."""
    found: Voices = {"grid": {}, "books": {}}
    for index in map(ShardIndex, grid):
        for place in index.select("train"):
            speaker = index.entries[place].speaker or ""
            if (speaker in HELD_OUT) == held_out:
                said = recording(speaker, index.load(place).audio)
                found["grid"].setdefault(speaker, []).append(said)
    books = Recordings(speech)
    chosen = readers(books.names, held_out)
    for place, name in enumerate(books.names):
        reader = reader_of(name)
        if reader in chosen:
            said = recording(reader, books.whole(place))
            found["books"].setdefault(reader, []).append(said)
    return found


def reader_of(name: str) -> str:
    """Who reads in a recording of LibriSpeech, by its file's name (`103-1240-0000.flac`)."""
    return name.split("-")[0]


def readers(names: Sequence[str], held_out: bool) -> set[str]:
    """Every eighth reader, or all others: nobody is in both, however many recordings are theirs."""
    everybody = sorted(set(map(reader_of, names)))
    return {name for place, name in enumerate(everybody) if (place % READERS == 0) == held_out}


def recording(speaker: str, audio: np.ndarray) -> Recording:
    whole = len(audio) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    audio = audio[:whole].astype(np.float32)
    return Recording(speaker, audio, voice(audio) > VOICE)


# ---- voices in a mixture


def faster(one: Recording, factor: float) -> Recording:
    """The recording played faster, and so higher: another voice."""
    frames = int(len(one.speaks) / factor)
    at = np.arange(frames * SAMPLES_PER_FRAME, dtype=np.float32) * np.float32(factor)
    audio = np.interp(at, np.arange(len(one.audio)), one.audio).astype(np.float32)
    near = (np.arange(frames) * factor).astype(int).clip(max=len(one.speaks) - 1)
    return Recording(one.speaker, audio, one.speaks[near])


def track(recordings: Sequence[Recording], rng: Generator) -> Track:
    """Recordings of one speaker, one after the other, from amid the first."""
    factor = rng.uniform(0.85, 1.18) if rng.random() < 0.6 else 1.0
    sounds, flags, frames = list[np.ndarray](), list[np.ndarray](), 0
    while frames < FRAMES:
        one = faster(recordings[int(rng.integers(len(recordings)))], factor)
        skipped = 0 if sounds else int(rng.integers(max(1, len(one.speaks) - 2 * FPS)))
        pause = int(rng.integers(FPS))
        sounds += [one.audio[skipped * SAMPLES_PER_FRAME :], np.zeros(pause * SAMPLES_PER_FRAME)]
        flags += [one.speaks[skipped:], np.zeros(pause, np.bool_)]
        frames += len(one.speaks) - skipped + pause
    return np.concatenate(sounds)[:SAMPLES].astype(np.float32), np.concatenate(flags)[:FRAMES]


def cut(one: Track, kept: np.ndarray) -> Track:
    """What is kept of a voice, (T,) bool, with soft edges."""
    audio, speaks = one
    middles = np.arange(FRAMES) * SAMPLES_PER_FRAME + SAMPLES_PER_FRAME / 2
    gain = np.interp(np.arange(SAMPLES), middles, kept).astype(np.float32)
    return audio * gain, speaks & kept


def at_level(one: Track, level_db: float) -> np.ndarray:
    """(N,) a voice at a level while it speaks, dB."""
    audio, speaks = one
    here = audio.reshape(-1, SAMPLES_PER_FRAME)[speaks]
    level = float(np.sqrt(np.square(here).mean())) if len(here) else 0.0
    return audio * np.float32(10 ** (level_db / 20) / level) if level > 1e-6 else audio


def some_spans(rng: Generator) -> np.ndarray:
    """(T,) bool: all of a mixture, or one to three spans of 0.5 to 4 s."""
    kept = np.full(FRAMES, rng.random() < 0.25)
    for _ in range(int(rng.integers(1, 4))):
        first = int(rng.integers(FRAMES - FPS))
        kept[first : first + int(rng.integers(FPS // 2, 4 * FPS))] = True
    return kept


def turns(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two of (T,) bool that are never both true."""
    kept = np.zeros((2, FRAMES), np.bool_)
    at, turn = 0, int(rng.integers(2))
    while at < FRAMES:
        length = int(rng.integers(FPS // 3, 3 * FPS))
        kept[turn, at : at + length] = True
        at, turn = at + length + int(rng.integers(1, FPS // 3)), 1 - turn
    return kept[0], kept[1]


class Mixtures(Dataset[tuple[Tensor, Tensor]]):
    """Mixture n is always the same, for a seed: sound (N,) and how many speak (T,), 2 for more.

    Args:
        material: what they are made of.
        seed: of all.
        count: how many there are.
    """

    def __init__(self, material: Material, seed: int, count: int) -> None:
        self.material, self.seed, self.count = material, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, n])
        corpus = "grid" if rng.random() < 0.4 else "books"
        mixed, speak = np.zeros(SAMPLES, np.float32), np.zeros(FRAMES, np.int64)
        for audio, speaks in self.tracks(corpus, rng):
            mixed, speak = mixed + audio, speak + speaks
        mixed = self.spoilt(mixed, corpus, rng)
        peak = float(np.abs(mixed).max()) or 1.0
        mixed = mixed * np.float32(10 ** (rng.uniform(-30, 0) / 20) / peak)
        return torch.from_numpy(mixed.astype(np.float32)), torch.from_numpy(speak.clip(0, 2))

    def tracks(self, corpus: str, rng: Generator) -> list[Track]:
        """The voices of a mixture, of which all but the first may speak now and then alone."""
        kind = rng.random()
        if kind < 0.03:
            return []
        if kind < 0.25:
            return self.voices(corpus, 1, rng)
        if kind < 0.4:
            both = self.voices(corpus, 2, rng)
            return [cut(one, kept) for one, kept in zip(both, turns(rng), strict=True)]
        several = self.voices(corpus, 3 if rng.random() < 0.1 else 2, rng)
        return [several[0], *(cut(one, some_spans(rng)) for one in several[1:])]

    def voices(self, corpus: str, count: int, rng: Generator) -> list[Track]:
        """So many people, mostly of one corpus, up to 6 dB apart; in one room or near by."""
        found: list[Track] = []
        names: set[str] = set()
        room = self.room(rng) if rng.random() < 0.4 else None
        while len(found) < count:
            other = {"grid": "books", "books": "grid"}[corpus]
            pool = self.material.voices[other if rng.random() < 0.15 else corpus]
            name = sorted(pool)[int(rng.integers(len(pool)))]
            if name in names:
                continue
            names.add(name)
            audio, speaks = track(pool[name], rng)
            if room is not None:
                audio = channel(audio, room, False, rng)
            found.append((at_level((audio, speaks), rng.uniform(-3, 3)), speaks))
        return found

    def room(self, rng: Generator) -> np.ndarray:
        """A recorded impulse response, or noise that dies away (60 dB in 0.1 to 0.9 s)."""
        rooms = self.material.rooms
        if rng.random() < 0.4:
            return rooms.whole(int(rng.integers(len(rooms))))
        length = int(rng.uniform(0.1, 0.9) * FPS * SAMPLES_PER_FRAME)
        tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
        tail *= 10 ** (-rng.uniform(-3, 15) / 20) / np.sqrt(np.square(tail).sum())
        tail[0] = 1
        return tail.astype(np.float32)

    def spoilt(self, audio: np.ndarray, corpus: str, rng: Generator) -> np.ndarray:
        """With noise, babble, an equaliser and a codec, each now and then."""
        if rng.random() < 0.5 or not audio.any():
            noise = self.noise(rng).astype(np.float32)
            audio = add_noise(audio, noise, rng.uniform(0, 30)) if audio.any() else noise
        if rng.random() < 0.2:
            audio = add_noise(audio, self.babble(corpus, rng), rng.uniform(-3, 20))
        if rng.random() < 0.3:
            audio = channel(audio, None, True, rng)
        if rng.random() < 0.15:
            audio = codec(audio / np.float32(np.abs(audio).max() + 1e-6), rng)[:SAMPLES]
        return audio

    def babble(self, corpus: str, rng: Generator) -> np.ndarray:
        """Five to eight voices."""
        pool = self.material.voices[corpus]
        names = rng.choice(sorted(pool), int(rng.integers(5, 9)))
        voices = [at_level(track(pool[name], rng), 0) for name in names]
        return np.stack(voices).sum(axis=0, dtype=np.float32)

    def noise(self, rng: Generator) -> np.ndarray:
        drawn, noises = rng.random(), self.material.noises
        if drawn < 0.4:
            return noises.stretch(int(rng.integers(len(noises))), SAMPLES, rng)
        if drawn < 0.7:
            return coloured_noise(SAMPLES, rng.uniform(0, 2), rng)
        return non_speech(SAMPLES, rng)


# ---- learning


def seen(frontend: WhisperFrontend, audio: Tensor) -> Tensor:
    """(B, N) -> (B, T, D) float16, what the audio encoder makes of mixtures."""
    present = torch.ones(len(audio), FRAMES, dtype=torch.bool)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = encoded(frontend, audio, present)
    return found.half()


def batches(kept: deque[tuple[Tensor, Tensor]], rng: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """A few random batches of those kept."""
    for _ in range(BATCHES):
        drawn = [kept[int(n)] for n in rng.choice(len(kept), min(BATCH, len(kept)), replace=False)]
        yield (
            torch.stack([x for x, _ in drawn]).float(),
            torch.stack([speak for _, speak in drawn]),
        )


def learn(
    frontend: WhisperFrontend, material: Material, check: Material, steps: int, seed: int
) -> OverlapHead:
    """Trains a head, telling how well the voices held out are told."""
    mixtures = DataLoader(
        Mixtures(material, seed, steps * MIXTURES), MIXTURES, num_workers=1, prefetch_factor=4
    )
    held_out = [
        (seen(frontend, audio), speak)
        for audio, speak in DataLoader(Mixtures(check, seed + 1, CHECKS), MIXTURES)
    ]
    kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)
    head = OverlapHead(held_out[0][0].shape[-1])
    optimiser = torch.optim.AdamW(head.parameters(), 2e-3, weight_decay=0.05)
    course = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps * BATCHES, pct_start=0.1)
    rng, began, losses = np.random.default_rng(seed), time.monotonic(), list[float]()
    for step, (audio, speak) in enumerate(mixtures, 1):
        kept.extend(zip(seen(frontend, audio), speak, strict=True))
        for x, truth in batches(kept, rng) if step > WARMUP else ():
            loss = F.cross_entropy(head(x).flatten(0, 1), truth.flatten())
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            course.step()
            losses.append(loss.item())
        if step % 50 == 0 or step == steps:
            mean = float(np.mean(losses[-100:])) if losses else float("nan")
            told = score(head, held_out)
            print(f"{step} {mean:.3f} {time.monotonic() - began:.0f} s  {told}", flush=True)
    return head.eval()


def score(head: OverlapHead, held_out: Sequence[tuple[Tensor, Tensor]]) -> str:
    """Average precision of frames of several voices, and the best F1."""
    head.eval()
    with torch.inference_mode():
        likely = [head(x.float()).softmax(-1)[..., SEVERAL].flatten() for x, _ in held_out]
    found = torch.cat(likely)
    head.train()
    truth = torch.cat([speak.flatten() for _, speak in held_out]) == SEVERAL
    order = found.argsort(descending=True)
    hits = truth[order].cumsum(0)
    precision, recall = hits / torch.arange(1, len(hits) + 1), hits / truth.sum()
    f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-6)
    best = int(f1.argmax())
    average = float((precision[1:] * recall.diff()).sum())
    return (
        f"AP {average:.3f} F1 {float(f1[best]):.3f} at {float(found[order[best]]):.2f} "
        f"(precision {float(precision[best]):.3f}, recall {float(recall[best]):.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--grid", type=Path, action="append", required=True)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--rooms", type=Path, required=True)
    parser.add_argument("--model", default=checkpoint.DEFAULT)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    frontend = frontend_of(asked.model)
    others = Recordings(asked.noise), Recordings(asked.rooms)
    material = Material(read(asked.grid, asked.speech, False), *others)
    check = Material(read(asked.grid, asked.speech, True), *others)
    head = learn(frontend, material, check, asked.steps, asked.seed)
    weights = {name: value.half().contiguous() for name, value in head.state_dict().items()}
    about = {
        "made_for": checkpoint.weights_sha256(checkpoint.resolve(asked.model, list)),
        "steps": asked.steps,
        "seed": asked.seed,
    }
    checkpoint.write(asked.out, weights, about)


if __name__ == "__main__":
    main()
