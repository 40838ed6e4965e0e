"""Noise for the conditions, and the corpus that lends it: white, pink, voices of other clips,
recordings.

Random numbers are raw words of a PCG64 seeded by a SHA-256, whose stream numpy fixes for good (its
distributions may change), and everything that decides a bit of sound is an integer or one IEEE
operation an element: the same bits in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip

NOISES = ("babble", "white", "pink", "recorded", "talker")
BABBLE_TALKERS = 6
SNR_DEFINITION = "whole clip"  # see add_noise
KEPT_BYTES = 256_000_000  # of recordings in memory, in each process: an hour and more
_FULL_SCALE = 32_768  # energies are counted in 16-bit steps, exactly
_NOISE_RMS = 0.1  # of noise before it is scaled; far above the 16-bit step, far below clipping
_SPEECH_RMS = 0.05  # stands in for the level of a silent clip, which has no SNR
_PINK_ROWS = 14  # octaves from 8 kHz down to 1 Hz


class CannotBuild(AvsrError):
    """The corpus has not got what a condition needs; the row is reported as not available."""


class Draw:
    """Random integers that depend on nothing but the key."""

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256(json.dumps(key).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "big"))

    def words(self, count: int) -> np.ndarray:
        """(count,) uint64, uniform."""
        return self._bits.random_raw(count)

    def below(self, limit: int) -> int:
        """One integer in [0, limit)."""
        return int(self.words(1)[0]) % limit

    def order(self, count: int) -> np.ndarray:
        """(count,) int64 permutation of range(count)."""
        return np.argsort(self.words(count), kind="stable")


class Corpus:
    """The clips that a condition may borrow from: the ids, who speaks, what is said, the sound and
    lips of each.

    It should be the whole split that is evaluated, also where only a few of its clips are scored:
    then a limit on the number of clips does not change what any of them is mixed with.

    Args:
        ids: of all clips.
        load_audio: gives (N,) float32 16 kHz for an id; called at most once an id while it is
            cached.
        load_lips: gives (T, 96, 96) uint8 and (T,) bool, where a mouth is seen, for an id; the lips
            of another clip need it.
        texts: id -> what is said, where known; the lips of another clip need it.
        speakers: id -> speaker, where known.
        noise_dir: folder of recorded noises for the "recorded" noise.
        rir_dir: folder of recorded impulse responses for the "recorded room".
    """

    def __init__(
        self,
        ids: Iterable[str],
        load_audio: Callable[[str], np.ndarray],
        *,
        load_lips: Callable[[str], tuple[np.ndarray, np.ndarray]] | None = None,
        texts: Mapping[str, str | None] | None = None,
        speakers: Mapping[str, str | None] | None = None,
        noise_dir: str | Path | None = None,
        rir_dir: str | Path | None = None,
    ) -> None:
        self.ids = tuple(sorted(ids))
        self.texts = dict(texts or {})
        self.speakers = dict(speakers or {})
        self.noise_dir = Path(noise_dir) if noise_dir else None
        self.rir_dir = Path(rir_dir) if rir_dir else None
        self.audio = lru_cache(maxsize=512)(load_audio)
        self.lips = lru_cache(maxsize=32)(load_lips) if load_lips is not None else None
        self.noise = _Recordings(KEPT_BYTES)
        self.ranks = lru_cache(maxsize=64)(self._ranks)

    def _ranks(self, purpose: str, seed: int) -> dict[str, int]:
        """A shuffled place in [0, len(ids)) for each id."""
        return {
            self.ids[index]: rank
            for rank, index in enumerate(Draw("ranks", purpose, seed).order(len(self.ids)))
        }

    def others(self, clip: Clip, draw: Draw, *, other_speaker: bool = False) -> list[str]:
        """Ids of all other clips, shuffled; those of other speakers first if asked for."""
        ids = [self.ids[index] for index in draw.order(len(self.ids)) if self.ids[index] != clip.id]
        if other_speaker:
            # stable: keeps the shuffle
            ids.sort(key=lambda id: self.speakers.get(id) == clip.speaker)
        return ids

    def noise_files(self) -> list[Path]:
        """Recorded noises, sorted by name."""
        return _sound_files(self.noise_dir)

    def rir_files(self) -> list[Path]:
        """Recorded impulse responses, sorted by name."""
        return _sound_files(self.rir_dir)


class _Recordings:
    """Recordings by path; those that were asked for last stay in memory, as many as fit.

    Args:
        most: bytes of their samples. A longer recording is given and not kept.
    """

    def __init__(self, most: int) -> None:
        self.most, self.kept = most, dict[Path, np.ndarray]()  # in order of use

    def __call__(self, path: Path) -> np.ndarray:
        """(N,) float32 16 kHz mono."""
        audio = self.kept.pop(path) if path in self.kept else _read_noise(path)
        if audio.nbytes <= self.most:
            while sum(other.nbytes for other in self.kept.values()) + audio.nbytes > self.most:
                del self.kept[next(iter(self.kept))]
            self.kept[path] = audio
        return audio


def _sound_files(folder: Path | None) -> list[Path]:
    suffixes = {".wav", ".flac", ".ogg", ".mp3"}
    files = [path for path in folder.iterdir() if path.suffix.lower() in suffixes] if folder else []
    return sorted(files, key=lambda path: path.name)


def energy(audio: np.ndarray) -> int:
    """Sum of squares in 16-bit steps: an integer, so that the order of summation cannot change
    it."""
    steps = np.rint(audio.astype(np.float64) * _FULL_SCALE).astype(np.int64)
    return int(steps @ steps)


def white(samples: int, draw: Draw) -> np.ndarray:
    """(samples,) float32, sums of eight 16-bit numbers: close to normal and exact on every
    machine."""
    words = draw.words(2 * samples).reshape(samples, 2)
    parts = np.zeros((samples, 2), np.int64)
    for shift in (0, 16, 32, 48):
        parts += ((words >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    return _to_rms((parts.sum(axis=1) - 8 * 0x7FFF - 4).astype(np.float32) / np.float32(2**20))


def pink(samples: int, draw: Draw) -> np.ndarray:
    """(samples,) float32 falling 3 dB an octave, by the Voss-McCartney sum of held random numbers,
    in integers."""
    total = np.zeros(samples, np.int64)
    for row in range(_PINK_ROWS):
        hold = 2**row
        phase = draw.below(hold)
        held = (draw.words(samples // hold + 2) >> np.uint64(48)).astype(np.int64) - 2**15
        total += np.repeat(held, hold)[phase : phase + samples]
    return _to_rms(total.astype(np.float32) / np.float32(2**20))


def babble(
    clip: Clip, corpus: Corpus, draw: Draw, *, talkers: int, other_speaker: bool = False
) -> np.ndarray:
    """Voices of other clips of the corpus, equally loud, each started anywhere and repeated to the
    length needed.

    Args:
        clip: never among the voices.
        corpus: where the voices come from.
        draw: decides which, and where they start.
        talkers: how many are mixed; fewer where the corpus has fewer other clips with sound in
            them.
        other_speaker: take clips of other speakers first, where the corpus has any.

    Returns:
        (N,) float32.

    Raises:
        CannotBuild: there is no other clip with sound in it.
    """
    mixed, found = np.zeros(len(clip.audio), np.float32), 0
    for id in corpus.others(clip, draw, other_speaker=other_speaker):
        if found == talkers:
            break
        voice = corpus.audio(id)
        if energy(voice) > 0:
            mixed += _looped(_to_rms(voice), len(mixed), draw)
            found += 1
    if not found:
        raise CannotBuild(
            "noise of other voices needs at least two clips with sound in the corpus; add clips"
        )
    return mixed / np.float32(max(found, 1))


def recorded(clip: Clip, corpus: Corpus, draw: Draw) -> np.ndarray:
    """(N,) float32 of a recorded noise: a file of the corpus's noise folder, started anywhere and
    repeated.

    Raises:
        CannotBuild: the folder is not given or holds no sound.
    """
    files = corpus.noise_files()
    if not files:
        raise CannotBuild(
            "recorded noise needs a folder of .wav, .flac, .ogg or .mp3 files, not "
            f"{corpus.noise_dir}"
        )
    path = files[draw.below(len(files))]
    noise = corpus.noise(path)
    if energy(noise) == 0:
        raise CannotBuild(f"recorded noise {path} is silent; remove it")
    return _looped(_to_rms(noise), len(clip.audio), draw)


def add_noise(clip: Clip, noise: np.ndarray, snr_db: float) -> Clip:
    """Adds noise at a signal-to-noise ratio over the whole clip, pauses included.

    Speech that fills half of a clip is about 3 dB louder while somebody speaks than this ratio
    says, so figures compare only with others over the whole clip. Frames without sound stay without
    and do not count. A silent clip has no ratio and gets the noise that it would get if its speech
    had an RMS of 0.05. Where the mixture would clip, all of it is scaled down, which keeps the
    ratio.

    Args:
        clip: left as it is.
        noise: (N,) float32.
        snr_db: ratio of the energies in dB.
    """
    heard = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
    noise = np.where(heard, noise, np.float32(0))
    speech_energy = energy(clip.audio[heard]) or round(
        int(heard.sum()) * (_SPEECH_RMS * _FULL_SCALE) ** 2
    )
    noise_energy = energy(noise)
    if noise_energy == 0:  # nothing is present, or the piece of noise drawn is silent
        return clip
    gain = np.float32(math.sqrt(speech_energy / noise_energy) * 10 ** (-snr_db / 20))
    mixture = clip.audio + gain * noise
    return replace(clip, audio=mixture / max(np.float32(1), np.abs(mixture).max()))


def _to_rms(audio: np.ndarray) -> np.ndarray:
    """Scales sound that is not silent to the working level of noise."""
    rms = math.sqrt(energy(audio) / max(len(audio), 1)) / _FULL_SCALE
    return audio * np.float32(_NOISE_RMS / rms) if rms else audio


def _looped(audio: np.ndarray, samples: int, draw: Draw) -> np.ndarray:
    """(samples,) of the sound from a drawn place on, again from its start where it ends."""
    return np.resize(np.roll(audio, -draw.below(len(audio))), samples)


def _read_noise(path: Path) -> np.ndarray:
    """(N,) float32 16 kHz mono."""
    from avsr.preprocessing.media import streams

    return np.concatenate([piece.audio for piece in streams.read(path, video=False)])
