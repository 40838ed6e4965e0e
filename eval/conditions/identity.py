"""Whose picture it is, and when it is shown: lips of another clip, a still face, no face, sound
that leads or lags."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.masks import lose_video
from avsr.eval.conditions.noise import CannotBuild, Corpus, Draw
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME, Clip

IDENTITIES = ("other lips", "still face", "no face")
SHIFTS_MS = (-320, -160, -80, -40, 40, 80, 160, 320)  # above zero the sound lags behind the picture
CANDIDATES = 64  # clips that a partner is chosen from
_FRAME_MS = 1000 // FPS


def partner(clip: Clip, seed: int, corpus: Corpus) -> str:
    """Id of the clip whose lips the "other lips" condition shows with this clip's sound;
    `corpus.texts` has its text.

    It is a clip that says something else: of up to CANDIDATES drawn ones that with the fewest words
    in common, so that each word of a hypothesis can be told to follow the lips or the sound; among
    equals one of the same speaker, then one with a text of about the same length.

    Raises:
        CannotBuild: no other clip is known to say something else.
    """
    words = (
        (clip.text if clip.text is not None else corpus.texts.get(clip.id) or "").lower().split()
    )
    candidates: list[tuple[tuple[int, bool, int], str]] = []
    for id in corpus.others(clip, Draw(clip.id, "identity", "partner", seed)):
        text = corpus.texts.get(id)
        if not text or text.lower().split() == words:
            continue
        other = text.lower().split()
        alike = (
            len(set(words) & set(other)),
            corpus.speakers.get(id) != clip.speaker,
            abs(len(other) - len(words)),
        )
        candidates.append((alike, id))
        if len(candidates) == CANDIDATES:
            break
    if not words or not candidates:
        raise CannotBuild(
            "lips of another clip need two clips with texts that differ in the corpus; add clips"
        )
    return min(candidates, key=lambda candidate: candidate[0])[1]  # the first drawn of equals


@dataclass(frozen=True)
class Identity:
    """The sound is the clip's, the picture is not, or is nobody's.

    Attributes:
        kind: "other lips" shows the lips of `partner`, from their first frame on, cut to the clip's
            length or absent after their end; "still face" shows the clip's first present picture
            all through, marked present; "no face" is black.
        mask_indicated: of "no face", whether the mask says that it is absent. The masks of the
            others claim a mouth.
    """

    kind: str
    mask_indicated: bool = True
    axis = "identity"
    streams = frozenset({"video"})
    lost = frozenset({"video"})
    level = None
    stage = 0

    def __post_init__(self) -> None:
        if self.kind not in IDENTITIES:
            raise AvsrError(
                f"identity {self.kind!r} does not exist; choose one of {', '.join(IDENTITIES)}"
            )
        if self.kind != "no face":
            object.__setattr__(self, "mask_indicated", False)

    @property
    def name(self) -> str:
        return self.kind

    @property
    def label(self) -> str:
        return (
            f"{self.kind} (unindicated)"
            if self.kind == "no face" and not self.mask_indicated
            else self.kind
        )

    @property
    def seeded(self) -> bool:
        return self.kind == "other lips"

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        if self.kind == "no face":
            return lose_video(
                clip, np.ones(clip.frames, np.bool_), mask_indicated=self.mask_indicated
            )
        if self.kind == "other lips":
            return _with_lips(clip, partner(clip, seed, corpus), corpus)
        if not clip.video_present.any():
            return clip
        still = clip.lips[np.argmax(clip.video_present)]
        there = np.ones(clip.frames, np.bool_)
        return replace(clip, lips=np.repeat(still[None], clip.frames, axis=0), video_present=there)


def _with_lips(clip: Clip, other: str, corpus: Corpus) -> Clip:
    if corpus.lips is None:
        raise CannotBuild("lips of another clip need a corpus with lips; give Corpus a load_lips")
    shown, seen = corpus.lips(other)
    frames = min(clip.frames, len(shown))
    lips, present = (
        np.zeros((clip.frames, CROP_SIZE, CROP_SIZE), np.uint8),
        np.zeros(clip.frames, np.bool_),
    )
    lips[:frames], present[:frames] = shown[:frames], seen[:frames]
    return replace(clip, lips=lips, video_present=present, quality=None)


@dataclass(frozen=True)
class OutOfSync:
    """The sound is moved against the picture; the clip keeps its length.

    What is moved in is silence marked absent, as a reader marks the time before a sound track that
    starts late; what is moved beyond the clip is cut off.

    Attributes:
        shift_ms: whole frames of 40 ms; above zero the sound lags behind the picture, below it
            leads.
    """

    shift_ms: int
    axis = "out of sync"
    name = "audio shift"
    mask_indicated = True
    seeded = False
    streams = frozenset({"audio"})
    lost = frozenset[str]()
    stage = 4

    def __post_init__(self) -> None:
        if self.shift_ms % _FRAME_MS:
            raise AvsrError(
                f"shift of {self.shift_ms} ms is not a whole number of frames; give a multiple of "
                "40"
            )

    @property
    def level(self) -> int:
        return self.shift_ms

    @property
    def label(self) -> str:
        return f"audio {'leads' if self.shift_ms < 0 else 'lags'} {abs(self.shift_ms)} ms"

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        frames = self.shift_ms // _FRAME_MS
        audio = _moved(clip.audio, frames * SAMPLES_PER_FRAME)
        return replace(clip, audio=audio, audio_present=_moved(clip.audio_present, frames))


def _moved(values: np.ndarray, places: int) -> np.ndarray:
    """Later by so many places (earlier where below zero); zeros come in."""
    moved = np.zeros_like(values)
    size = len(values)
    places = min(max(places, -size), size)
    moved[max(places, 0) : size + min(places, 0)] = values[max(-places, 0) : size - max(places, 0)]
    return moved
