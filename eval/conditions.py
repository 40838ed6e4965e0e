"""What is done to a clip before a recogniser sees it: missing sound, missing picture, noise, nothing at all.

A condition is a pure function of (clip id, condition, level, seed), given the corpus that lends its voices: the same
bits in every process and on every machine. Random numbers are raw words of a PCG64 seeded by a SHA-256, whose stream
numpy fixes for good (its distributions may change), and everything that decides a bit of sound is an integer or one
IEEE operation an element.

The level scales and does not redraw where the pattern allows it: the frames lost at 25 % are among those lost at 50 %,
and the noise at 0 dB is the noise at 5 dB, louder. The missing-video patterns follow Chang et al., "On Robustness to
Missing Video for Audiovisual Speech Recognition", arXiv 2312.10088; those of missing audio mirror them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.errors import AvsrError

PATTERNS = ("utterance", "frame", "start", "middle", "end", "bursts", "interval")
JOINT_PATTERNS = ("complementary", "overlapping", "independent")
NOISES = ("babble", "white", "pink", "recorded", "talker")
RATES = (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
JOINT_RATES = (0.25, 0.5, 0.75)
SNRS_DB = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)
SEEDS = (17, 29, 43)

MAX_BURSTS = 3
PACKETS_PER_FRAME = 2  # sound is lost in packets of 20 ms
BABBLE_TALKERS = 6
VERSION = 1  # raised when a condition's bits change, so that old results are not mixed with new ones
SNR_DEFINITION = "whole clip"  # see add_noise
_FULL_SCALE = 32_768  # energies are counted in 16-bit steps, exactly
_NOISE_RMS = 0.1  # of noise before it is scaled; far above the 16-bit step, far below clipping
_SPEECH_RMS = 0.05  # stands in for the level of a silent clip, which has no SNR
_PINK_ROWS = 14  # octaves from 8 kHz down to 1 Hz

Stream = Literal["audio", "video"]


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
    """The clips that a condition may borrow from: the ids, who speaks, and the sound of each.

    It should be the whole split that is evaluated, also where only a few of its clips are scored: then a limit on
    the number of clips does not change what any of them is mixed with.

    Args:
        ids: of all clips.
        load_audio: gives (N,) float32 16 kHz for an id; called at most once an id while it is cached.
        speakers: id -> speaker, where known.
        noise_dir: folder of recorded noises for the "recorded" noise.
    """

    def __init__(
        self,
        ids: Iterable[str],
        load_audio: Callable[[str], np.ndarray],
        *,
        speakers: Mapping[str, str | None] | None = None,
        noise_dir: str | Path | None = None,
    ) -> None:
        self.ids = tuple(sorted(ids))
        self.speakers = dict(speakers or {})
        self.noise_dir = Path(noise_dir) if noise_dir else None
        self.audio = lru_cache(maxsize=512)(load_audio)
        self.noise = lru_cache(maxsize=32)(_read_noise)
        self.ranks = lru_cache(maxsize=64)(self._ranks)

    def _ranks(self, purpose: str, seed: int) -> dict[str, int]:
        """A shuffled place in [0, len(ids)) for each id."""
        return {self.ids[index]: rank for rank, index in enumerate(Draw("ranks", purpose, seed).order(len(self.ids)))}

    def others(self, clip: Clip, draw: Draw, *, other_speaker: bool = False) -> list[str]:
        """Ids of all other clips, shuffled; those of other speakers first if asked for."""
        ids = [self.ids[index] for index in draw.order(len(self.ids)) if self.ids[index] != clip.id]
        if other_speaker:
            ids.sort(key=lambda id: self.speakers.get(id) == clip.speaker)  # stable: keeps the shuffle
        return ids

    def noise_files(self) -> list[Path]:
        """Recorded noises, sorted by name."""
        suffixes = {".wav", ".flac", ".ogg", ".mp3"}
        folder = self.noise_dir
        files = [path for path in folder.iterdir() if path.suffix.lower() in suffixes] if folder else []
        return sorted(files, key=lambda path: path.name)


# ---- where something is missing


def missing_units(pattern: str, units: int, rate: float, draw: Draw) -> np.ndarray:
    """Which frames (or packets) of one clip are missing: exactly round(rate * units) of them, halves rounded up.

    Args:
        pattern: one of PATTERNS but "utterance", which is decided over the corpus.
        units: how many there are.
        rate: fraction to lose, 0 to 1.
        draw: where the pattern is random.

    Returns:
        (units,) bool, true where missing.
    """
    lost = math.floor(rate * units + 0.5)
    missing = np.zeros(units, np.bool_)
    if pattern == "frame":
        missing[draw.order(units)[:lost]] = True
    elif pattern == "interval":  # spread evenly: at 25 % every fourth, at 75 % all but every fourth
        steps = np.arange(units + 1) * lost // max(units, 1)
        missing[:] = np.diff(steps) > 0
    elif pattern == "bursts":
        missing[:] = _bursts(units, lost, draw)
    else:
        first = {"start": 0, "middle": (units - lost) // 2, "end": units - lost}[pattern]
        missing[first : first + lost] = True
    return missing


def _bursts(units: int, lost: int, draw: Draw) -> np.ndarray:
    """One to three separate segments, `lost` units long together; lengths and places drawn."""
    kept = units - lost
    segments = min(1 + draw.below(MAX_BURSTS), lost, kept + 1)
    lengths = _split(lost, segments, draw)
    # Between two segments lies at least one unit; before the first and after the last there may be none.
    gaps = _split(kept + 2, segments + 1, draw) - np.array([1] + [0] * (segments - 1) + [1])[: segments + 1]
    missing = np.zeros(units, np.bool_)
    place = 0
    for gap, length in zip(gaps, lengths, strict=False):
        missing[place + gap : place + gap + length] = True
        place += gap + length
    return missing


def _split(total: int, parts: int, draw: Draw) -> np.ndarray:
    """A random split of `total` into that many positive whole numbers, (parts,) int64."""
    if parts <= 0:
        return np.zeros(0, np.int64)
    cuts = np.sort(draw.order(total - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def lose_audio(clip: Clip, missing: np.ndarray, *, signalled: bool = True) -> Clip:
    """Silences the missing part of the sound.

    Args:
        clip: left as it is.
        missing: (T,) bool per frame, or (2 T,) bool per 20 ms packet. The presence mask knows frames alone, so a frame
            is marked absent where both of its packets are lost; half a frame lost stays present with silence in it.
        signalled: say so in `audio_present`.
    """
    samples = np.repeat(missing, clip.frames * SAMPLES_PER_FRAME // max(len(missing), 1))
    whole = missing.reshape(clip.frames, -1).all(axis=1) if clip.frames else missing
    present = clip.audio_present & ~whole if signalled else clip.audio_present
    return replace(clip, audio=np.where(samples, np.float32(0), clip.audio), audio_present=present)


def lose_video(clip: Clip, missing: np.ndarray, *, signalled: bool = True, frozen: bool = False) -> Clip:
    """Blackens, or freezes, the missing part of the picture.

    Args:
        clip: left as it is.
        missing: (T,) bool.
        signalled: say so in `video_present`.
        frozen: show the last picture that was not missing, where there was one, in place of black.
    """
    lips = np.where(missing[:, None, None], np.uint8(0), clip.lips)
    if frozen:
        shown = np.maximum.accumulate(np.where(missing, -1, np.arange(clip.frames)))
        held = missing & (shown >= 0)
        lips[held] = clip.lips[shown[held]]
    if not signalled:
        return replace(clip, lips=lips)
    quality = None if clip.quality is None else np.where(missing, np.float32(0), clip.quality)
    return replace(clip, lips=lips, video_present=clip.video_present & ~missing, quality=quality)


# ---- noise


def energy(audio: np.ndarray) -> int:
    """Sum of squares in 16-bit steps: an integer, so that the order of summation cannot change it."""
    steps = np.rint(audio.astype(np.float64) * _FULL_SCALE).astype(np.int64)
    return int(steps @ steps)


def white(samples: int, draw: Draw) -> np.ndarray:
    """(samples,) float32, sums of eight 16-bit numbers: close to normal and exact on every machine."""
    words = draw.words(2 * samples).reshape(samples, 2)
    parts = np.zeros((samples, 2), np.int64)
    for shift in (0, 16, 32, 48):
        parts += ((words >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    return _to_rms((parts.sum(axis=1) - 8 * 0x7FFF - 4).astype(np.float32) / np.float32(2**20))


def pink(samples: int, draw: Draw) -> np.ndarray:
    """(samples,) float32 falling 3 dB an octave, by the Voss-McCartney sum of held random numbers, in integers."""
    total = np.zeros(samples, np.int64)
    for row in range(_PINK_ROWS):
        hold = 2**row
        phase = draw.below(hold)
        held = (draw.words(samples // hold + 2) >> np.uint64(48)).astype(np.int64) - 2**15
        total += np.repeat(held, hold)[phase : phase + samples]
    return _to_rms(total.astype(np.float32) / np.float32(2**20))


def babble(clip: Clip, corpus: Corpus, draw: Draw, *, talkers: int, other_speaker: bool = False) -> np.ndarray:
    """Voices of other clips of the corpus, equally loud, each started anywhere and repeated to the length needed.

    Args:
        clip: never among the voices.
        corpus: where the voices come from.
        draw: decides which, and where they start.
        talkers: how many are mixed; fewer where the corpus has fewer other clips with sound in them.
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
        raise CannotBuild("noise of other voices needs at least two clips with sound in the corpus; add clips")
    return mixed / np.float32(max(found, 1))


def recorded(clip: Clip, corpus: Corpus, draw: Draw) -> np.ndarray:
    """(N,) float32 of a recorded noise: a file of the corpus's noise folder, started anywhere and repeated.

    Raises:
        CannotBuild: the folder is not given or holds no sound.
    """
    files = corpus.noise_files()
    if not files:
        raise CannotBuild(f"recorded noise needs a folder of .wav, .flac, .ogg or .mp3 files, not {corpus.noise_dir}")
    path = files[draw.below(len(files))]
    noise = corpus.noise(path)
    if energy(noise) == 0:
        raise CannotBuild(f"recorded noise {path} is silent; remove it")
    return _looped(_to_rms(noise), len(clip.audio), draw)


def add_noise(clip: Clip, noise: np.ndarray, snr_db: float) -> Clip:
    """Adds noise at a signal-to-noise ratio over the whole clip, pauses included.

    Speech that fills half of a clip is about 3 dB louder while somebody speaks than this ratio says, so figures
    compare only with others over the whole clip. Frames without sound stay without and do not count. A silent clip
    has no ratio and gets the noise that it would get if its speech had an RMS of 0.05. Where the mixture would
    clip, all of it is scaled down, which keeps the ratio.

    Args:
        clip: left as it is.
        noise: (N,) float32.
        snr_db: ratio of the energies in dB.
    """
    heard = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
    noise = np.where(heard, noise, np.float32(0))
    speech_energy = energy(clip.audio[heard]) or round(int(heard.sum()) * (_SPEECH_RMS * _FULL_SCALE) ** 2)
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
    from avsr.preprocessing import media

    return np.concatenate([piece.audio for piece in media.read(path, video=False)])


# ---- conditions


@dataclass(frozen=True)
class Missing:
    """Sound or picture, or each in part, is missing.

    Attributes:
        stream: "audio", "video" or "both".
        pattern: one of PATTERNS, or of JOINT_PATTERNS for both. "utterance" loses all of round(rate * clips) clips of
            the corpus; the sound's "frame" is the loss of 20 ms packets. Both: bursts, where "complementary" loses the
            sound exactly where the picture is there, "overlapping" loses both in the same frames, "independent"
            draws twice.
        rate: fraction lost, 0 to 1; of the picture, where the pattern is complementary.
        signalled: whether the presence masks say so; otherwise the model must notice by itself.
        frozen: a missing picture is the last one held, not black.
    """

    stream: Literal["audio", "video", "both"]
    pattern: str
    rate: float
    signalled: bool = True
    frozen: bool = False

    def __post_init__(self) -> None:
        allowed = JOINT_PATTERNS if self.stream == "both" else PATTERNS
        if self.pattern not in allowed:
            raise AvsrError(f"pattern {self.pattern!r} of missing {self.stream}: choose one of {', '.join(allowed)}")
        if not 0 <= self.rate <= 1:
            raise AvsrError(f"rate {self.rate} of missing {self.stream} is a fraction: choose it from 0 to 1")

    @property
    def axis(self) -> str:
        return f"{self.stream} missing"

    @property
    def name(self) -> str:
        return f"{self.pattern} (frozen)" if self.frozen else self.pattern

    @property
    def level(self) -> float:
        return self.rate

    @property
    def streams(self) -> set[str]:
        return {"audio", "video"} if self.stream == "both" else {self.stream}

    @property
    def label(self) -> str:
        return f"{self.axis} {100 * self.rate:g} % ({self.name}{'' if self.signalled else ', silent'})"

    def masks(self, clip: Clip, seed: int, corpus: Corpus) -> dict[str, np.ndarray]:
        """Stream -> (T,) bool (or (2 T,) for packets of sound), true where missing."""
        frames = clip.frames
        if self.stream != "both":
            return {self.stream: self._mask(self.stream, clip, seed, corpus)}
        video = missing_units("bursts", frames, self.rate, Draw(clip.id, "missing", "both", seed))
        if self.pattern == "complementary":
            return {"video": video, "audio": ~video}
        if self.pattern == "overlapping":
            return {"video": video, "audio": video}
        audio = missing_units("bursts", frames, self.rate, Draw(clip.id, "missing", "independent", seed))
        return {"video": video, "audio": audio}

    def _mask(self, stream: Stream, clip: Clip, seed: int, corpus: Corpus) -> np.ndarray:
        if self.pattern == "utterance":
            lost = math.floor(self.rate * len(corpus.ids) + 0.5)
            return np.full(clip.frames, corpus.ranks(self.axis, seed)[clip.id] < lost)
        packets = stream == "audio" and self.pattern == "frame"
        units = clip.frames * PACKETS_PER_FRAME if packets else clip.frames
        return missing_units(self.pattern, units, self.rate, Draw(clip.id, self.axis, self.pattern, seed))

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        masks = self.masks(clip, seed, corpus)
        if "audio" in masks:
            clip = lose_audio(clip, masks["audio"], signalled=self.signalled)
        if "video" in masks:
            clip = lose_video(clip, masks["video"], signalled=self.signalled, frozen=self.frozen)
        return clip


@dataclass(frozen=True)
class Noise:
    """Noise over the sound at a ratio over the whole clip (`add_noise` says what that means).

    Attributes:
        kind: one of NOISES; "babble" mixes six other clips, "talker" is one, of another speaker where there is one.
        snr_db: signal-to-noise ratio in dB.
    """

    kind: str
    snr_db: float
    axis = "noise"
    signalled = True
    streams = frozenset({"audio"})

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise AvsrError(f"noise {self.kind!r} does not exist; choose one of {', '.join(NOISES)}")

    @property
    def name(self) -> str:
        return self.kind

    @property
    def level(self) -> float:
        return self.snr_db

    @property
    def label(self) -> str:
        return f"{self.kind} {self.snr_db:g} dB"

    def noise(self, clip: Clip, seed: int, corpus: Corpus) -> np.ndarray:
        """(N,) float32, the noise before it is scaled."""
        draw = Draw(clip.id, "noise", self.kind, seed)
        if self.kind in ("white", "pink"):
            return (white if self.kind == "white" else pink)(len(clip.audio), draw)
        if self.kind == "recorded":
            return recorded(clip, corpus, draw)
        if self.kind == "talker":
            return babble(clip, corpus, draw, talkers=1, other_speaker=True)
        return babble(clip, corpus, draw, talkers=BABBLE_TALKERS)

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        return add_noise(clip, self.noise(clip, seed, corpus), self.snr_db)


@dataclass(frozen=True)
class Nothing:
    """Silence and black all through, by default with masks that claim both are there."""

    signalled: bool = False
    axis = "nothing there"
    name = "silence and black"
    level = None
    streams = frozenset({"audio", "video"})

    @property
    def label(self) -> str:
        return f"{self.axis} ({'signalled' if self.signalled else 'silent'})"

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        present = np.full(clip.frames, not self.signalled)
        return replace(
            clip,
            audio=np.zeros_like(clip.audio),
            lips=np.zeros_like(clip.lips),
            audio_present=present,
            video_present=present,
        )


Step = Missing | Noise | Nothing


@dataclass(frozen=True)
class Condition:
    """Steps done to a clip one after the other; none of them is the clean clip.

    Noise comes before what is lost, as a room comes before a transmission.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(sorted(self.steps, key=lambda step: not isinstance(step, Noise))))

    @property
    def axis(self) -> str:
        return "clean" if not self.steps else self.steps[0].axis if len(self.steps) == 1 else "crossed"

    @property
    def name(self) -> str:
        if len(self.steps) == 1:
            return self.steps[0].name
        return " + ".join(f"{step.axis} {step.name}" for step in self.steps) or "clean"

    @property
    def level(self) -> float | list[float | None] | None:
        """Rate (a fraction) or SNR (dB); one for each step where there are several."""
        levels = [step.level for step in self.steps]
        return levels[0] if len(levels) == 1 else levels or None

    @property
    def signalled(self) -> bool:
        return all(step.signalled for step in self.steps)

    @property
    def label(self) -> str:
        """For people: "babble 0 dB + video missing 50 % (bursts)"."""
        return " + ".join(step.label for step in self.steps) or "clean"

    @property
    def empty(self) -> bool:
        """Whether nothing is left of the clip, so that the right answer is no word."""
        return any(isinstance(step, Nothing) for step in self.steps)

    def loses(self, stream: Stream) -> bool:
        """Whether any of that stream is missing."""
        return any(stream in step.streams for step in self.steps if not isinstance(step, Noise))

    @property
    def noisy(self) -> bool:
        return any(isinstance(step, Noise) for step in self.steps)

    def without(self, stream: Stream) -> Condition:
        """The same condition with that stream left as it was."""
        return Condition(tuple(step for step in self.steps if stream not in step.streams))

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        """The clip as the recogniser gets it; the clip given is left as it is."""
        for step in self.steps:
            clip = step.apply(clip, seed, corpus)
        return clip
