"""What is done to a clip before a recogniser sees it: missing sound, missing picture, noise, nothing at all.

A condition is a pure function of (clip id, condition, level, seed), given the corpus that lends its voices: the same
bits in every process and on every machine (`noise.py` says how).

The level scales and does not redraw where the pattern allows it: the frames lost at 25 % are among those lost at 50 %,
and the noise at 0 dB is the noise at 5 dB, louder. The missing-video patterns follow Chang et al., "On Robustness to
Missing Video for Audiovisual Speech Recognition", arXiv 2312.10088; those of missing audio mirror them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avsr.eval.noise import BABBLE_TALKERS, NOISES, Corpus, Draw, add_noise, babble, pink, recorded, white
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.errors import AvsrError

PATTERNS = ("utterance", "frame", "start", "middle", "end", "bursts", "interval")
JOINT_PATTERNS = ("complementary", "overlapping", "independent")
RATES = (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
JOINT_RATES = (0.25, 0.5, 0.75)
SNRS_DB = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)

MAX_BURSTS = 3
PACKETS_PER_FRAME = 2  # sound is lost in packets of 20 ms
VERSION = 1  # raised when a condition's bits change, so that old results are not mixed with new ones

Stream = Literal["audio", "video"]


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
