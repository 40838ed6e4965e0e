"""What is done to a clip before a recogniser sees it: every axis and level of the robustness
protocol.

A condition is a pure function of (clip id, condition, level, seed), given the corpus that lends its
voices: the same bits in every process and on every machine (`noise.py` says how). Where a library
decides the bits, as of JPEG and the audio codecs, they depend on the versions that
`library_versions` tells.

The level scales and does not redraw where the pattern allows it: the frames lost at 25 % are among
those lost at 50 %, and the noise at 0 dB is the noise at 5 dB, louder. The missing-video patterns
follow Chang et al., "On Robustness to Missing Video for Audiovisual Speech Recognition", arXiv
2312.10088; those of missing audio mirror them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.audio import AUDIO_CORRUPTIONS, AudioCorruption
from avsr.eval.conditions.identity import IDENTITIES, SHIFTS_MS, Identity, OutOfSync
from avsr.eval.conditions.masks import (
    PACKETS_PER_FRAME,
    PATTERNS,
    lose_audio,
    lose_video,
    missing_units,
)
from avsr.eval.conditions.noise import (
    BABBLE_TALKERS,
    NOISES,
    Corpus,
    Draw,
    add_noise,
    babble,
    pink,
    recorded,
    white,
)
from avsr.eval.conditions.nonspeech import NonSpeech
from avsr.eval.conditions.speakers import SPEAKERS, Speaker
from avsr.eval.conditions.video import VIDEO_CORRUPTIONS, VideoCorruption
from avsr.preprocessing.clip import FPS, Clip, to_runs

JOINT_PATTERNS = ("complementary", "overlapping", "independent")
RATES = (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
JOINT_RATES = (0.25, 0.5, 0.75)
SNRS_DB = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)

# raised when a condition's bits change, so that old results are not mixed with new ones
VERSION = 1

Stream = Literal["audio", "video"]


# ---- conditions


@dataclass(frozen=True)
class Missing:
    """Sound or picture, or each in part, is missing.

    Attributes:
        stream: "audio", "video" or "both".
        pattern: one of PATTERNS, or of JOINT_PATTERNS for both. "utterance" loses all of round(rate
            * clips) clips of the corpus; the sound's "frame" is the loss of 20 ms packets. Both:
              bursts, where "complementary" loses the
            sound exactly where the picture is there, "overlapping" loses both in the same frames,
            "independent" draws twice.
        rate: fraction lost, 0 to 1; of the picture, where the pattern is complementary.
        mask_indicated: whether the presence masks say so; else the model must notice by itself.
        frozen: a missing picture is the last one held, not black.
    """

    stream: Literal["audio", "video", "both"]
    pattern: str
    rate: float
    mask_indicated: bool = True
    frozen: bool = False
    stage = 4

    def __post_init__(self) -> None:
        allowed = JOINT_PATTERNS if self.stream == "both" else PATTERNS
        if self.pattern not in allowed:
            raise AvsrError(
                f"pattern {self.pattern!r} of missing {self.stream}: choose one of "
                f"{', '.join(allowed)}"
            )
        if not 0 <= self.rate <= 1:
            raise AvsrError(
                f"rate {self.rate} of missing {self.stream} is a fraction: choose it from 0 to 1"
            )

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
    def lost(self) -> set[str]:
        return self.streams

    @property
    def seeded(self) -> bool:
        return self.pattern not in ("start", "middle", "end", "interval")

    @property
    def label(self) -> str:
        told = self.name if self.mask_indicated else f"{self.name}, unindicated"
        return f"{self.axis} {100 * self.rate:g} % ({told})"

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
        audio = missing_units(
            "bursts", frames, self.rate, Draw(clip.id, "missing", "independent", seed)
        )
        return {"video": video, "audio": audio}

    def _mask(self, stream: Stream, clip: Clip, seed: int, corpus: Corpus) -> np.ndarray:
        if self.pattern == "utterance":
            lost = math.floor(self.rate * len(corpus.ids) + 0.5)
            return np.full(clip.frames, corpus.ranks(self.axis, seed)[clip.id] < lost)
        packets = stream == "audio" and self.pattern == "frame"
        units = clip.frames * PACKETS_PER_FRAME if packets else clip.frames
        return missing_units(
            self.pattern, units, self.rate, Draw(clip.id, self.axis, self.pattern, seed)
        )

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        masks = self.masks(clip, seed, corpus)
        if "audio" in masks:
            clip = lose_audio(clip, masks["audio"], mask_indicated=self.mask_indicated)
        if "video" in masks:
            clip = lose_video(
                clip, masks["video"], mask_indicated=self.mask_indicated, frozen=self.frozen
            )
        return clip


@dataclass(frozen=True)
class Noise:
    """Noise over the sound at a ratio over the whole clip (`add_noise` says what that means).

    Attributes:
        kind: one of NOISES; "babble" mixes six other clips, "talker" is one, of another speaker
            where there is one.
        snr_db: signal-to-noise ratio in dB.
    """

    kind: str
    snr_db: float
    axis = "noise"
    mask_indicated = True
    seeded = True
    streams = frozenset({"audio"})
    lost = frozenset[str]()
    stage = 1

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise AvsrError(
                f"noise {self.kind!r} does not exist; choose one of {', '.join(NOISES)}"
            )

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

    mask_indicated: bool = False
    axis = "nothing there"
    name = "silence and black"
    level = None
    seeded = False
    streams = lost = frozenset({"audio", "video"})
    stage = 4

    @property
    def label(self) -> str:
        return f"{self.axis} ({'indicated' if self.mask_indicated else 'unindicated'})"

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        present = np.full(clip.frames, not self.mask_indicated)
        return replace(
            clip,
            audio=np.zeros_like(clip.audio),
            lips=np.zeros_like(clip.lips),
            audio_present=present,
            video_present=present,
        )


Step = (
    Missing
    | Noise
    | Nothing
    | NonSpeech
    | VideoCorruption
    | AudioCorruption
    | OutOfSync
    | Identity
    | Speaker
)
"""What all of them have: `axis`, `name` and `level` for the results, a `label` for people;
`mask_indicated`, false where something is gone and the masks do not say so; `seeded`, whether the
seed changes anything; `streams`, which of sound and picture are changed; `lost`, which of these are
not there for all or part of the clip; `stage`, the place in the order they are done in; and
`apply(clip, seed, corpus) -> Clip`."""


@dataclass(frozen=True)
class Condition:
    """Steps done to a clip one after the other; none of them is the clean clip.

    They are done in the order in which they would happen: who speaks, whose picture it is and the
    room, the noise in the room, the channel of the sound, that of the picture, then what is moved
    in time or lost.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(sorted(self.steps, key=lambda step: step.stage)))

    @property
    def axis(self) -> str:
        return (
            "clean" if not self.steps else self.steps[0].axis if len(self.steps) == 1 else "crossed"
        )

    @property
    def name(self) -> str:
        if len(self.steps) == 1:
            return self.steps[0].name
        return " + ".join(f"{step.axis} {step.name}" for step in self.steps) or "clean"

    @property
    def level(self) -> float | str | list[float | str | None] | None:
        """Rate (a fraction), SNR (dB), shift (ms) or strength; one for each step where there are
        several."""
        levels: list[float | str | None] = [step.level for step in self.steps]
        return levels[0] if len(levels) == 1 else levels or None

    @property
    def mask_indicated(self) -> bool:
        """Whether the masks tell of everything that is gone."""
        return all(step.mask_indicated for step in self.steps)

    @property
    def seeded(self) -> bool:
        """Whether the seed changes anything; where not, one seed stands for all."""
        return any(step.seeded for step in self.steps)

    @property
    def streams(self) -> set[str]:
        """Which of "audio" and "video" are changed."""
        return {stream for step in self.steps for stream in step.streams}

    @property
    def label(self) -> str:
        """For people: "babble 0 dB + video missing 50 % (bursts)"."""
        return " + ".join(step.label for step in self.steps) or "clean"

    @property
    def empty(self) -> bool:
        """Whether nothing is left of the clip, so that the right answer is no word."""
        return any(isinstance(step, Nothing | NonSpeech) for step in self.steps)

    def loses(self, stream: Stream) -> bool:
        """Whether any of that stream is missing, or all of it somebody else's; corrupted is not
        missing."""
        return any(stream in step.lost for step in self.steps)

    @property
    def noisy(self) -> bool:
        """Whether the sound is worse than it was: noise in it, or its channel bad."""
        return any(isinstance(step, Noise | AudioCorruption) for step in self.steps)

    def missing_ms(self, clip: Clip, seed: int, corpus: Corpus) -> dict[str, list[list[int]]]:
        """The masks of what is missing, indicated by the masks or not, for the record.

        Args:
            clip: as it is given: at another speaking rate it is longer or shorter than it was.
            seed: as in `apply`.
            corpus: as in `apply`.

        Returns:
            "audio", "video", both or neither -> [start, end] of each missing stretch in ms from the
            clip's start.
        """
        steps = [step for step in self.steps if isinstance(step, Missing)]
        masks = {
            stream: mask
            for step in steps
            for stream, mask in step.masks(clip, seed, corpus).items()
        }
        unit_ms = {
            stream: 1000 * clip.frames // FPS // max(len(mask), 1) for stream, mask in masks.items()
        }
        return {
            stream: [
                [first * unit_ms[stream], last * unit_ms[stream]] for first, last in to_runs(mask)
            ]
            for stream, mask in masks.items()
        }

    def without(self, stream: Stream) -> Condition:
        """The same condition with that stream left as it was."""
        return Condition(tuple(step for step in self.steps if stream not in step.streams))

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        """The clip as the recogniser gets it; the clip given is left as it is."""
        for step in self.steps:
            clip = step.apply(clip, seed, corpus)
        return clip


# ---- for the suites


def other_speakers() -> list[Speaker]:
    """Every change of the speaker at every level, weakest first."""
    return [Speaker(kind, level) for kind, how in SPEAKERS.items() for level in how.levels]


def corrupted_video() -> list[VideoCorruption]:
    """Every corruption of the picture at every level, weakest first."""
    return [
        VideoCorruption(kind, level)
        for kind, how in VIDEO_CORRUPTIONS.items()
        for level in how.levels
    ]


def corrupted_audio() -> list[AudioCorruption]:
    """Every corruption of the sound at every level, weakest first."""
    return [
        AudioCorruption(kind, level)
        for kind, how in AUDIO_CORRUPTIONS.items()
        for level in how.levels
    ]


def missing(stream: Literal["audio", "video", "both"]) -> list[Missing]:
    """Every pattern and rate above zero, indicated by the masks and then not; a missing picture
    also unindicated and frozen."""
    patterns, rates = (JOINT_PATTERNS, JOINT_RATES) if stream == "both" else (PATTERNS, RATES[1:])
    ways = [(True, False), (False, False), *([(False, True)] if stream == "video" else [])]
    return [
        Missing(stream, pattern, rate, mask_indicated, frozen)
        for mask_indicated, frozen in ways
        for pattern in patterns
        for rate in rates
    ]


def all_steps() -> list[Step]:
    """Every single step of the protocol, which has no other speakers, at every level; the suites
    cross them."""
    return [
        *missing("video"),
        *missing("audio"),
        *missing("both"),
        *(Noise(kind, snr_db) for kind in NOISES for snr_db in SNRS_DB),
        *corrupted_video(),
        *corrupted_audio(),
        *(OutOfSync(shift_ms) for shift_ms in SHIFTS_MS),
        *(Identity(kind) for kind in IDENTITIES),
        Identity("no face", mask_indicated=False),
        Nothing(),
        Nothing(mask_indicated=True),
    ]


def library_versions() -> dict[str, str]:
    """The libraries that decide bits of some conditions, and their versions; a run depends on
    them."""
    import av
    import cv2
    import scipy

    ffmpeg = {
        name: ".".join(map(str, av.library_versions[name]))
        for name in ("libavcodec", "libavfilter")
    }
    return {"opencv": cv2.__version__, "pyav": av.__version__, **ffmpeg, "scipy": scipy.__version__}


def clip_digest(clip: Clip) -> str:
    """SHA-256 of what a recogniser gets of a clip, so that a run can be audited clip by clip."""
    total = hashlib.sha256()
    for part in (clip.audio.astype("<f4"), clip.lips, clip.audio_present, clip.video_present):
        total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()
