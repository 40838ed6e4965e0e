"""Clips as if somebody else said them: another voice, another speaking rate, another mouth.

They stand in for people of whom there are no recordings. They rank models and show where one
breaks; the error rate of real people they do not predict. All are pure functions of (clip id,
kind, level, seed). FFmpeg's filters and OpenCV count in floating point, so their last bits may
differ between machines (`conditions.library_versions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avsr.eval.conditions.noise import Corpus, Draw
from avsr.eval.conditions.video import Kind, check, levels
from avsr.preprocessing.clip import CROP_SIZE, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip

_GRID = 4  # the bend of a mouth is drawn at so many points each way, and smooth between
_MIDDLE = slice(CROP_SIZE // 4, 3 * CROP_SIZE // 4)  # where the mouth is, either way


def _voice(clip: Clip, factor: float, draw: Draw) -> Clip:
    """Pitch and formants times a factor, as of a shorter or longer vocal tract, at the same
    speaking rate."""
    rate = round(SAMPLE_RATE * factor)
    audio = _filtered(
        clip.audio, ("asetrate", str(rate)), ("aresample", str(SAMPLE_RATE)), _tempo(1 / factor)
    )
    return replace(clip, audio=_fitted(audio, len(clip.audio)))


def _rate(clip: Clip, factor: float, draw: Draw) -> Clip:
    """Sound and lips so many times as fast, the pitch as it was; of the pictures the nearest ones
    are shown."""
    frames = max(1, round(clip.frames / factor))
    source = np.minimum(((np.arange(frames) + 0.5) * factor).astype(np.int64), clip.frames - 1)
    return replace(
        clip,
        audio=_fitted(_filtered(clip.audio, _tempo(factor)), frames * SAMPLES_PER_FRAME),
        lips=clip.lips[source],
        audio_present=clip.audio_present[source],
        video_present=clip.video_present[source],
        quality=None if clip.quality is None else clip.quality[source],
        words=None,
    )


def _mouth(clip: Clip, pixels: float, draw: Draw) -> Clip:
    """A mouth of another shape, in the same place: one smooth bend for all frames.

    Args:
        pixels: standard deviation of the bend; up to 3 no part of the picture is folded over, with
            18 lips can hardly be read.
    """
    import cv2

    words = draw.words(2 * _GRID * _GRID * 4).astype(np.float64) / 2**64
    # a sum of four uniform ones is near it
    normal = (words.reshape(2, _GRID, _GRID, 4).sum(axis=-1) - 2) * np.sqrt(3)
    bend = np.stack(
        [cv2.resize(part, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_CUBIC) for part in normal]
    )
    # a mouth elsewhere is not another mouth
    bend -= bend[:, _MIDDLE, _MIDDLE].mean(axis=(1, 2), keepdims=True)
    across, down = bend * (pixels / bend.std())
    x, y = np.meshgrid(np.arange(CROP_SIZE), np.arange(CROP_SIZE))
    at = (x + across).astype(np.float32), (y + down).astype(np.float32)
    lips = clip.lips.copy()
    for t in np.flatnonzero(clip.video_present):
        lips[t] = cv2.remap(clip.lips[t], *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return replace(clip, lips=lips)


def _tempo(factor: float) -> tuple[str, str]:
    return "atempo", f"{factor:.6f}"


def _filtered(audio: np.ndarray, *filters: tuple[str, str]) -> np.ndarray:
    """(N,) float32 at 16 kHz through filters of FFmpeg, (name, arguments) each; of whatever length
    comes out."""
    import av

    graph = av.filter.Graph()
    nodes = [graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")]
    nodes += [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(*nodes, graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(audio[None]), format="flt", layout="mono"
    )
    frame.sample_rate = SAMPLE_RATE
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray().ravel())
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _fitted(audio: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


SPEAKERS: dict[str, Kind] = {
    "higher voice": Kind(
        _voice, levels((1.1, "pitch and formants x 1.1"), (1.2, "pitch and formants x 1.2"))
    ),
    "lower voice": Kind(
        _voice, levels((0.92, "pitch and formants x 0.92"), (0.85, "pitch and formants x 0.85"))
    ),
    "faster": Kind(_rate, levels((1.1, "rate x 1.1"), (1.2, "rate x 1.2"), (1.35, "rate x 1.35"))),
    "slower": Kind(_rate, levels((0.9, "rate x 0.9"), (0.8, "rate x 0.8"), (0.7, "rate x 0.7"))),
    "other mouth": Kind(
        _mouth,
        levels((1.5, "bent by 1.5 px"), (3.0, "bent by 3 px"), (18.0, "torn by 18 px")),
        seeded=True,
    ),
}
"""Every kind with its levels, weakest first."""

_STREAMS = {
    _voice: frozenset({"audio"}),
    _rate: frozenset({"audio", "video"}),
    _mouth: frozenset({"video"}),
}


@dataclass(frozen=True)
class Speaker:
    """The clip as if somebody else said it.

    Attributes:
        kind: one of SPEAKERS.
        level: one of the kind's levels: "light" or "heavy", of a speaking rate and a mouth also
            "medium".
    """

    kind: str
    level: str
    axis = "another speaker"
    mask_indicated = True
    lost = frozenset[str]()
    stage = -1

    def __post_init__(self) -> None:
        check(self.axis, SPEAKERS, self.kind, self.level)

    @property
    def name(self) -> str:
        return self.kind

    @property
    def label(self) -> str:
        """For people: "faster heavy (rate x 1.35)"."""
        return f"{self.kind} {self.level} ({SPEAKERS[self.kind].levels[self.level][1]})"

    @property
    def seeded(self) -> bool:
        return SPEAKERS[self.kind].seeded

    @property
    def streams(self) -> frozenset[str]:
        return _STREAMS[SPEAKERS[self.kind].change]

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        """At another speaking rate the clip has another length; otherwise nothing moves in time."""
        if not clip.frames:
            return clip
        kind = SPEAKERS[self.kind]
        changed = kind.change(
            clip, kind.levels[self.level][0], Draw(clip.id, self.axis, self.kind, seed)
        )
        # filters smear sound into what is absent
        heard = np.repeat(changed.audio_present, SAMPLES_PER_FRAME)
        return replace(changed, audio=np.where(heard, changed.audio.clip(-1, 1), np.float32(0)))
