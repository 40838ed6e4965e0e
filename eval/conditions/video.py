"""What goes wrong with the picture of a mouth: things before it, cameras, codecs, clocks, trackers.

Every corruption is a pure function of (clip id, kind, level, seed), and "heavy" is "light" made
stronger: the same patch, larger; the same trembling, wider. What decides a pixel is integer
arithmetic, so the bits are the same on every machine; for JPEG alone OpenCV decides them
(`conditions.library_versions`).

A crop has its mouth in the middle, so what is fixed in the crop follows the mouth. Numbers of
pixels are pixels of the 96 x 96 crop, in which the corners of the mouth are about 45 apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.hands import hand
from avsr.eval.conditions.masks import lose_video, missing_units
from avsr.eval.conditions.noise import Corpus, Draw
from avsr.preprocessing.clip import CROP_SIZE, FPS, Clip

BLOCK = 8  # pixels of the blocks that an occluding patch is made of
# pixels by which the edge of the picture moves on in a frame; a fifth of the crop, see
# lips.MAX_OUTSIDE
EDGE_STEP = 19
DRIFT_FRAMES = 10  # a hand drifts from one drawn place to the next in so many frames
DRIFT = 5  # pixels, how far these places are from its mean place


# ---- things before the mouth


def _occlusion(clip: Clip, setting: tuple[int, float], draw: Draw) -> Clip:
    """A patch of grey blocks over the mouth, up to 6 pixels off its middle, in bursts."""
    side, share = setting
    row, column = ((CROP_SIZE - side) // 2 + draw.below(13) - 6 for _ in range(2))
    blocks = CROP_SIZE // BLOCK
    greys = (draw.words(blocks * blocks) >> np.uint64(56)).astype(np.uint8).reshape(blocks, blocks)
    blocks_over_all = np.repeat(np.repeat(greys, BLOCK, axis=0), BLOCK, axis=1)
    here = np.s_[row : row + side, column : column + side]
    lips = clip.lips.copy()
    lips[missing_units("bursts", clip.frames, share, draw), *here] = blocks_over_all[here]
    return replace(clip, lips=lips)


def _hand(clip: Clip, setting: tuple[int, int, float], draw: Draw) -> Clip:
    """A hand as bright as the face that comes from below or from a side and drifts before the
    mouth, in bursts."""
    percent, away, share = setting
    shape, grey = hand(percent, away, draw.below(181) - 90)
    seen = clip.lips[clip.video_present]
    tone = int(np.partition(seen.ravel(), seen.size // 2)[seen.size // 2]) if seen.size else 128
    skin = np.clip(grey + tone, 0, 255).astype(np.uint8)
    covered = missing_units("bursts", clip.frames, share, draw)
    places = _drift(clip.frames, draw)
    lips = clip.lips.copy()
    for t in np.flatnonzero(covered):
        low, left = CROP_SIZE // 2 + places[t]
        # a window of the hand's canvas, twice as wide
        here = np.s_[low : low + CROP_SIZE, left : left + CROP_SIZE]
        lips[t] = np.where(shape[here], skin[here], lips[t])
    return replace(clip, lips=lips)


def _drift(frames: int, draw: Draw) -> np.ndarray:
    """(T, 2) int64 in [-DRIFT, DRIFT], from one drawn place to the next on straight lines."""
    spans = frames // DRIFT_FRAMES + 2
    places = (draw.words(2 * spans) % np.uint64(2 * DRIFT + 1)).astype(np.int64).reshape(
        spans, 2
    ) - DRIFT
    span, step = np.divmod(np.arange(frames), DRIFT_FRAMES)
    step = step[:, None]
    return (places[span] * (DRIFT_FRAMES - step) + places[span + 1] * step) // DRIFT_FRAMES


# ---- cameras and codecs


def _noise(clip: Clip, sigma: int, draw: Draw) -> Clip:
    """Normal noise (sum of four uniform numbers) of a standard deviation in grey levels, new in
    every frame."""
    parts = draw.words(clip.lips.size).view(np.uint16).reshape(-1, 4)
    total = parts.sum(axis=1, dtype=np.int32) - 2 * 0xFFFF
    # Four uniform 16-bit numbers have a standard deviation of 2^16 / sqrt(3) = 37837.
    noise = (total * np.int32(sigma) + 37837 // 2) // 37837
    return replace(clip, lips=_grey(clip.lips + noise.reshape(clip.lips.shape)))


def _blur(clip: Clip, width: int, draw: Draw) -> Clip:
    """Three running means in each direction, close to a Gaussian; rounded once, at the end."""
    total = clip.lips.astype(np.uint32)
    for axis in (1, 2):
        for _ in range(3):
            total = _running_sum(total, width, axis)
    scale = width**6
    return replace(clip, lips=((total + scale // 2) // scale).astype(np.uint8))


def _running_sum(values: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Sums over `width` neighbours (an odd number), uint32; the edge is repeated.

    The running total may wrap around; differences of it do not mind.
    """
    pad = [(0, 0)] * values.ndim
    pad[axis] = (width // 2 + 1, width // 2)
    total = np.moveaxis(
        np.cumsum(np.pad(values, pad, mode="edge"), axis=axis, dtype=np.uint32), axis, 0
    )
    return np.moveaxis(total[width:] - total[:-width], 0, axis)


def _pixelation(clip: Clip, side: int, draw: Draw) -> Clip:
    """Squares of one grey, the mean of theirs."""
    cells = CROP_SIZE // side
    total = (
        clip.lips.reshape(clip.frames, cells, side, cells, side).astype(np.int64).sum(axis=(2, 4))
    )
    greys = ((total + side * side // 2) // (side * side)).astype(np.uint8)
    return replace(clip, lips=np.repeat(np.repeat(greys, side, axis=1), side, axis=2))


def _light(clip: Clip, percent: int, draw: Draw) -> Clip:
    """Less or more light: grey levels times a factor, rounded; what is brighter than white is
    white."""
    return replace(clip, lips=_grey((clip.lips.astype(np.int64) * percent + 50) // 100))


def _jpeg(clip: Clip, quality: int, draw: Draw) -> Clip:
    """Each picture through JPEG on its own."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded = [cv2.imencode(".jpg", picture, options)[1] for picture in clip.lips]
    decoded: list[Any] = [cv2.imdecode(code, cv2.IMREAD_GRAYSCALE) for code in coded]
    return replace(clip, lips=np.stack(decoded))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


# ---- clocks


def _freeze(clip: Clip, share: float, draw: Draw) -> Clip:
    """The picture stands still in bursts; the first is never among the frozen ones, so that there
    is one to hold."""
    held = np.concatenate([[False], missing_units("bursts", clip.frames - 1, share, draw)])
    return lose_video(clip, held, mask_indicated=False, frozen=True)


def _low_rate(clip: Clip, half_fps: int, draw: Draw) -> Clip:
    """Fewer pictures a second (half_fps / 2): picture k is frame floor(k * 25 / fps), held until
    the next."""
    picture = (np.arange(1, clip.frames + 1) * half_fps - 1) // (2 * FPS)
    return _shown(clip, picture * (2 * FPS) // half_fps)


def _wrong_rate(clip: Clip, speed: tuple[int, int], draw: Draw) -> Clip:
    """The picture played at speed[0] / speed[1] against the sound, both from the first frame on.

    Where it is too fast, it is over before the sound is, and absent from there on; where it is too
    slow, its end is cut off.
    """
    return _shown(clip, np.arange(clip.frames) * speed[0] // speed[1])


def _shown(clip: Clip, source: np.ndarray) -> Clip:
    """Frame t shows the picture of frame source[t], (T,) int64; black and absent where there is no
    such frame."""
    over = source >= clip.frames
    source = np.minimum(source, clip.frames - 1)
    quality = None if clip.quality is None else clip.quality[source]
    shown = replace(
        clip, lips=clip.lips[source], video_present=clip.video_present[source], quality=quality
    )
    return lose_video(shown, over) if over.any() else shown


# ---- trackers


def _jitter(clip: Clip, reach: int, draw: Draw) -> Clip:
    """The crop trembles by up to `reach` pixels in each direction, anew in every frame; its edge is
    repeated."""
    uniform = (
        (draw.words(2 * clip.frames) >> np.uint64(48)).astype(np.int64).reshape(clip.frames, 2)
    )
    padded = np.pad(clip.lips, [(0, 0), (reach, reach), (reach, reach)], mode="edge")
    lips = np.empty_like(clip.lips)
    for t, (low, left) in enumerate(uniform * (2 * reach + 1) >> 16):
        lips[t] = padded[t, low : low + CROP_SIZE, left : left + CROP_SIZE]
    return replace(clip, lips=lips)


def _out_of_picture(clip: Clip, share: float, draw: Draw) -> Clip:
    """For one stretch the mouth is beyond the picture's edge, and the masks say so, as
    `lips.mouth_transforms` does."""
    return lose_video(clip, _outside(clip.frames, share, draw) > 0)


def _out_unnoticed(clip: Clip, share: float, draw: Draw) -> Clip:
    """The same stretch with a crop that still claims a mouth.

    The picture's edge passes over the crop from one side within four frames, and back at the end of
    the stretch. Beyond it there is what `lips.warp_mouth` puts there: the edge repeated.
    """
    beyond = _outside(clip.frames, share, draw)
    quarter_turns = draw.below(4)
    lips = clip.lips.copy()
    for t in np.flatnonzero(beyond):
        # a view: what is written into it is written into the clip
        picture = np.rot90(lips[t], quarter_turns)
        last = CROP_SIZE - 1 - beyond[t]
        picture[:, last + 1 :] = picture[:, last : last + 1].copy()
    return replace(clip, lips=lips)


def _outside(frames: int, share: float, draw: Draw) -> np.ndarray:
    """(T,) int64, pixels of the crop beyond the picture's edge; 0 but for one stretch of
    round(share * T) frames."""
    lost = int(share * frames + 0.5)
    first = (draw.below(2**16) * (frames - lost + 1)) >> 16
    steps = 1 + np.minimum(np.arange(1, lost + 1), np.arange(lost, 0, -1))
    beyond = np.zeros(frames, np.int64)
    beyond[first : first + lost] = np.minimum(steps * EDGE_STEP, CROP_SIZE - 1)
    return beyond


# ---- the step


@dataclass(frozen=True)
class Kind:
    """A corruption of picture or sound that can be chosen.

    Attributes:
        change: (clip, setting, draw) -> clip for a picture, (audio, setting, draw, corpus) -> audio
            for sound.
        levels: name of the level -> (setting, what it is in numbers).
        mask_indicated: false where something is gone and the masks do not say so.
        seeded: whether the seed changes anything.
        draws_of: the kind whose random numbers it shares, where not its own.
    """

    change: Callable[..., Any]
    levels: dict[str, tuple[Any, str]]
    mask_indicated: bool = True
    seeded: bool = False
    draws_of: str | None = None


def levels(*settings: tuple[Any, str]) -> dict[str, tuple[Any, str]]:
    """Names for two or three levels, weakest first."""
    names = ("light", "medium", "heavy") if len(settings) == 3 else ("light", "heavy")
    return dict(zip(names, settings, strict=True))


VIDEO_CORRUPTIONS: dict[str, Kind] = {
    "occlusion": Kind(
        _occlusion, levels(((28, 0.5), "28 px, 50 %"), ((56, 1.0), "56 px, 100 %")), seeded=True
    ),
    "hand": Kind(
        _hand,
        levels(
            ((80, 26, 0.5), "fingers over the lips, 50 %"),
            ((120, 6, 0.9), "palm over the mouth, 90 %"),
        ),
        seeded=True,
    ),
    "gaussian noise": Kind(
        _noise, levels((15, "sigma 15 of 255"), (45, "sigma 45 of 255")), seeded=True
    ),
    "blur": Kind(_blur, levels((5, "sigma 2.4 px"), (11, "sigma 5.5 px"))),
    "pixelation": Kind(_pixelation, levels((4, "24 x 24"), (12, "8 x 8"))),
    "dark": Kind(_light, levels((50, "light x 0.5"), (12, "light x 0.12"))),
    "bright": Kind(_light, levels((150, "light x 1.5"), (300, "light x 3"))),
    "jpeg": Kind(_jpeg, levels((30, "q30"), (10, "q10"))),
    "freeze": Kind(
        _freeze, levels((0.25, "25 %"), (0.5, "50 %")), mask_indicated=False, seeded=True
    ),
    "low frame rate": Kind(_low_rate, levels((25, "12.5 fps"), (16, "8 fps"), (10, "5 fps"))),
    "too fast": Kind(
        _wrong_rate, levels(((25, 24), "24 fps played at 25"), ((30, 25), "25 fps played at 30"))
    ),
    "too slow": Kind(
        _wrong_rate, levels(((24, 25), "25 fps played at 24"), ((25, 30), "30 fps played at 25"))
    ),
    "crop jitter": Kind(_jitter, levels((2, "2 px"), (6, "6 px")), seeded=True),
    "out of picture": Kind(_out_of_picture, levels((0.25, "25 %"), (0.5, "50 %")), seeded=True),
    "out of picture unnoticed": Kind(
        _out_unnoticed,
        levels((0.25, "25 %"), (0.5, "50 %")),
        mask_indicated=False,
        seeded=True,
        draws_of="out of picture",
    ),
}
"""Every kind with its levels, weakest first."""


@dataclass(frozen=True)
class VideoCorruption:
    """The picture is corrupted; the sound is left as it is.

    Attributes:
        kind: one of VIDEO_CORRUPTIONS.
        level: one of the kind's levels: "light" or "heavy", for "low frame rate" also "medium".
    """

    kind: str
    level: str
    axis = "video corrupted"
    streams = frozenset({"video"})
    lost = frozenset[str]()
    stage = 3

    def __post_init__(self) -> None:
        check(self.axis, VIDEO_CORRUPTIONS, self.kind, self.level)

    @property
    def name(self) -> str:
        return self.kind

    @property
    def label(self) -> str:
        """For people: "blur heavy (sigma 5.5 px)"."""
        return f"{self.kind} {self.level} ({VIDEO_CORRUPTIONS[self.kind].levels[self.level][1]})"

    @property
    def mask_indicated(self) -> bool:
        """False where a picture is gone and the mask still says present."""
        return VIDEO_CORRUPTIONS[self.kind].mask_indicated

    @property
    def seeded(self) -> bool:
        return VIDEO_CORRUPTIONS[self.kind].seeded

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        """Frames without a picture stay without; frames that are given one by another clock have it
        marked present."""
        if not clip.frames:
            return clip
        kind = VIDEO_CORRUPTIONS[self.kind]
        changed = kind.change(
            clip,
            kind.levels[self.level][0],
            Draw(clip.id, self.axis, kind.draws_of or self.kind, seed),
        )
        return replace(
            changed, lips=np.where(changed.video_present[:, None, None], changed.lips, np.uint8(0))
        )


def check(axis: str, kinds: dict[str, Any], kind: str, level: str) -> None:
    """Raises AvsrError where there is no such kind or level."""
    if kind not in kinds:
        raise AvsrError(f"{axis}: {kind!r} does not exist; choose one of {', '.join(kinds)}")
    if level not in kinds[kind].levels:
        raise AvsrError(
            f"{axis}: {kind} has no level {level!r}; choose one of {', '.join(kinds[kind].levels)}"
        )
