"""How well the lips of each person fit the sound of a film, by a network's embedding of the two.

P  persons        T  frames, 25 a second
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr import sync
from avsr.base.device import pick_device
from avsr.model.batches import mask
from avsr.preprocessing.clip import FPS, Clip
from avsr.transcribing.kept import Kept
from avsr.transcribing.speakers.turns import FITS, Evidence, Lags
from avsr.transcribing.voice.activity import (
    SILENCE,
    Activity,
    heard,
    level,
    mean_around,
    moving,
    somebody,
)

if TYPE_CHECKING:
    import torch

    from avsr.model.config import ModelConfig
    from avsr.model.network import AVSR
    from avsr.preprocessing.faces.mouths import Crops

FIT_FRAMES = 9  # over which the cosine of sound and lips is averaged
# in the unit of `activity.MOTION`, and lower; a mouth that moves less says nothing, though it may
# look like it
STILL = 0.05
LOOKS = 3  # stretches in which it is looked whether sound and lips are synchronised
# Somebody's own lag, where a voice that nobody's lips fit fits theirs: score, margin above every
# lag further than sync.NEIGHBOURS, and score times the root of the frames, since few fit by chance.
# Set on GRID s1, s2, s3, s26 and s30, see docs/results.md.
OWN = 0.35, 0.25, 5.0
UNFIT_FRAMES = 25  # over which nobody's lips fit a voice
NAMES = "fit", "spells", "moves", "seen", "voice", "mute", "several"  # what is known of each frame
KIND = "fit"  # of what is kept of a recording


@dataclass
class Embedder:
    """A network of ours, as far as `sync` knows it."""

    name: str
    model: AVSR
    config: ModelConfig
    info: dict[str, Any]
    device: torch.device
    activity: Activity


def embedder_for(recogniser: Any) -> sync.Recogniser:
    """The recogniser itself where it is a network with a trained embedding, else the bundled one.

    Raises:
        AvsrError: the bundled model cannot be read.
    """
    from avsr.model import checkpoint
    from avsr.model.network import AVSR

    own = getattr(recogniser, "model", None)
    if isinstance(own, AVSR) and sync.is_trained(recogniser):
        return recogniser  # type: ignore[no-any-return]  # anything with a network of ours
    device = pick_device(str(getattr(recogniser, "device", "cpu")))
    path = checkpoint.resolve(checkpoint.DEFAULT, list)
    model, info = checkpoint.load(path, device=str(device))
    return Embedder(checkpoint.DEFAULT, model, model.config, info, device, somebody)


@dataclass(frozen=True)
class _Look:
    """A stretch of a film, embedded: its sound, and the lips of those who are there, by place."""

    sound: sync.Embedding
    lips: dict[int, sync.Embedding]
    moving: dict[int, np.ndarray]  # (T,) bool each
    voice: np.ndarray  # (T,) bool
    mute: np.ndarray  # (T,) bool
    several: np.ndarray  # (T,) float32


def weigh(
    embedder: sync.Recogniser,
    scenes: Iterable[Crops],
    persons: Sequence[int],
    tell: Callable[[float], None],
    kept: Kept | None = None,
) -> Evidence:
    """Sets the lips of everybody against the sound, stretch by stretch.

    They are compared at one lag, that of the first stretches: the best near none, or near that at
    which lips and sound of somebody are certainly out of sync. A person gets a lag of their own
    from the stretch on in which that is certain, among the first ones from the beginning.

    Args:
        embedder: has a trained embedding.
        scenes: the film in stretches that follow each other.
        persons: the numbers of those who are meant.
        tell: told the seconds that were looked at.
        kept: what is known of stretches behind the first ones.
    """
    stretches = iter(scenes)
    first = []
    for scene in islice(stretches, LOOKS):
        first.append(_look(embedder, *_clips(scene, persons)))
        tell(scene.end / FPS)
    lag = _near(first, _lag(first))
    lags = own_lags(first, (lag,) * len(persons), lag)
    parts = [_nobody(len(persons), 0)]
    parts += [_compared(look, lags) for look in first]
    known = kept or Kept(None, 0.0, KIND)

    def compared(scene: Crops, lags: Lags) -> Evidence:
        sound, lips = _clips(scene, persons)
        how = lag, lags, len(NAMES), *lips

        def find() -> dict[str, Any]:
            look = _look(embedder, sound, lips)
            return _packed(_compared(look, own_lags([look], lags, lag)))

        packed = known.get([sound, *lips.values()], how, find)
        return _unpacked(packed, len(persons), sound.frames)

    for scene in stretches:
        parts.append(compared(scene, lags))
        lags = parts[-1].lags
        tell(scene.end / FPS)
    whole = {name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in NAMES}
    return Evidence(**whole, lags=lags)


def _packed(found: Evidence) -> dict[str, Any]:
    """What a stretch says, as JSON can hold it."""
    arrays = {name: b64encode(getattr(found, name).tobytes()).decode() for name in NAMES}
    return {**arrays, "lags": found.lags}


def _unpacked(packed: dict[str, Any], persons: int, frames: int) -> Evidence:
    arrays: dict[str, Any] = {}
    for name in NAMES:
        like = getattr(_nobody(persons, frames), name)
        arrays[name] = np.frombuffer(b64decode(packed[name]), like.dtype).reshape(like.shape)
    return Evidence(**arrays, lags=tuple(packed["lags"]))


def _nobody(persons: int, frames: int) -> Evidence:
    """So many who are not in the picture, and no sound."""
    nobody, nothing = np.zeros((persons, frames), np.bool_), np.zeros(frames, np.bool_)
    fit = np.full((persons, frames), -1, np.float32)
    alone = np.zeros(frames, np.float32)
    return Evidence(fit, nobody, nobody.copy(), nobody.copy(), nothing, nothing, alone)


def _compared(look: _Look, lags: Lags) -> Evidence:
    """What a stretch says, with the lips of each at their lag."""
    found = _nobody(len(lags), len(look.voice))
    for n, lips in look.lips.items():
        lag = lags[n]
        found.fit[n] = _fit(look.sound, lips, lag)
        found.spells[n] = shifted(lips.speaking, -lag)
        found.moves[n] = shifted(look.moving[n], -lag)
        found.seen[n] = shifted(lips.video_present, -lag)
    return replace(found, voice=look.voice, mute=look.mute, several=look.several, lags=lags)


def _clips(scene: Crops, persons: Sequence[int]) -> tuple[Clip, dict[int, Clip]]:
    """The sound of a stretch, and the lips of those who are there, by place."""
    lips = {}
    for n, person in enumerate(persons):
        if person in scene.mouths:
            lips[n] = mask(scene.clip([person], id=""), "video")
    return scene.clip([], id=""), lips


def _look(embedder: sync.Recogniser, sound: Clip, lips: dict[int, Clip]) -> _Look:
    from avsr.transcribing.voice.overlap import several

    (voice,) = sync.embed(embedder, [mask(sound, "audio")])
    seen: dict[int, sync.Embedding] = {}
    moves: dict[int, np.ndarray] = {}
    found = sync.embed(embedder, [*lips.values()])
    for (n, clip), embedded in zip(lips.items(), found, strict=True):
        moves[n] = moving(clip, STILL)
        seen[n] = replace(embedded, speaking=embedded.speaking & moves[n])
    silent = level(sound) <= SILENCE
    return _Look(voice, seen, moves, heard(sound), silent, several(sound, str(embedder.device)))


def _lag(looks: Sequence[_Look]) -> int:
    """By how many frames the sound of a film lags behind its lips; 0 where that is not certain, or
    where somebody is synchronised."""
    found = []
    for look in looks:
        for lips in look.lips.values():
            speaking = lips.speaking & mean_around(look.voice, 2 * sync.FAR_FRAMES + 1).astype(bool)
            both = _both(look.sound, replace(lips, speaking=speaking))
            offset = sync.find_offset(both, sync.FAR_FRAMES)
            if offset is not None and sync.is_certain(offset):
                found.append(offset)
    if not found or any(abs(offset.frames) <= sync.HARMLESS_FRAMES for offset in found):
        return 0
    return max(found, key=lambda offset: offset.score).frames


def _near(looks: Sequence[_Look], lag: int) -> int:
    """The lag near the one given at which the lips that fit a voice best fit it best: it belongs to
    the film, so all are compared at the same. Choosing it for each face would flatter those who do
    not speak."""

    def fits(near: int) -> float:
        best = [
            np.max([_fit(look.sound, lips, near) for lips in look.lips.values()], 0) @ look.voice
            for look in looks
            if look.lips
        ]
        return float(sum(best))

    nearest = sorted(range(-sync.HARMLESS_FRAMES, sync.HARMLESS_FRAMES + 1), key=abs)
    return max((lag + further for further in nearest), key=fits)  # the nearest of equals


def own_lags(looks: Sequence[_Look], lags: Lags, film: int) -> Lags:
    """The lags, with those of persons whose lips certainly fit a voice that nobody's fit as it is.

    A voice that somebody fits says nothing: so nobody gets a lag of their own by chance where the
    one who speaks is in the picture. They are found one after the other, who fits best first: then
    that voice says nothing about the others.

    Args:
        looks: stretches in which it is looked.
        lags: of each person so far.
        film: the lag of who has none of their own.
    """
    found = list(lags)
    while True:
        unfit = [_unfit(look, found) for look in looks]
        offsets = {n: _own_lag(looks, n, unfit) for n, lag in enumerate(found) if lag == film}
        own = {
            n: offset
            for n, offset in offsets.items()
            if offset is not None and abs(offset.frames - film) > sync.HARMLESS_FRAMES
        }
        if not own:
            return tuple(found)
        best = max(own, key=lambda n: own[n].score)
        found[best] = own[best].frames


def _unfit(look: _Look, lags: Sequence[int]) -> np.ndarray:
    """(T,) bool: frames of a voice that nobody's lips fit, each at their lag."""
    best = np.zeros(len(look.voice), np.float32)
    for n, lips in look.lips.items():
        spells = shifted(lips.speaking, -lags[n])
        best = np.maximum(best, spells * _fit(look.sound, lips, lags[n]))
    return look.voice & (mean_around(best, UNFIT_FRAMES) < FITS)


def _own_lag(looks: Sequence[_Look], n: int, where: Sequence[np.ndarray]) -> sync.Offset | None:
    """The lag of a person over frames of the sound, (T,) bool of each look; None where it is not
    certain."""
    parts = []
    for look, here in zip(looks, where, strict=True):
        if n in look.lips:
            sound = replace(look.sound, audio_present=look.sound.audio_present & here)
            parts.append(sync.lag_scores(_both(sound, look.lips[n]), sync.FAR_FRAMES))
    scores = sync.pooled(parts)
    found = sync.best_of(scores)
    if found is None:
        return None
    by_frames = found.score * np.sqrt(scores[found.frames][1])
    certain = found.score >= OWN[0] and sync.margin(found) >= OWN[1] and by_frames >= OWN[2]
    return found if certain else None


def _both(sound: sync.Embedding, lips: sync.Embedding) -> sync.Embedding:
    return replace(lips, audio=sound.audio, audio_present=sound.audio_present)


def _fit(sound: sync.Embedding, lips: sync.Embedding, lag: int) -> np.ndarray:
    """(T,) float32: how well lips fit the sound of each frame and those around it, at a lag."""
    cosines = (sound.audio * shifted(lips.video, -lag)).sum(axis=1)
    return mean_around(cosines, FIT_FRAMES).astype(np.float32)


def shifted(frames: np.ndarray, by: int) -> np.ndarray:
    """Frames, (T, ...), moved back by so many, forward where negative; zeros come in."""
    moved = np.zeros_like(frames)
    kept = max(0, len(frames) - abs(by))
    if by >= 0:
        moved[:kept] = frames[by:]
    else:
        moved[-by:] = frames[:kept]
    return moved
