"""The clips that came out worst, as the page shows them: lips, sound, and words said above words
recognised."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from avsr.eval.metrics.wer import align
from avsr.eval.metrics.worst import Example
from avsr.preprocessing.clip import CROP_SIZE, Clip

STRIP_FRAMES = 12  # sampled over the clip
STRIP_SIZE = 72  # pixels a side of each
# pixels, whatever the length of the clip; as many mel bins
SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT = 576, 64
DYNAMIC_RANGE = 6.0  # log10 units of power, 60 dB: speech, without the noise floor of the room
HATCH_PERIOD, HATCH_WIDTH = 12, 3  # pixels


@dataclass(frozen=True)
class Pair:
    """A word said and what was recognised for it; None where there is none.

    Attributes:
        kind: "substituted", "deleted" or "inserted"; empty where nothing went wrong.
    """

    spoken: str | None
    heard: str | None
    kind: str


@dataclass(frozen=True)
class Shown:
    """An example as the page's template takes it.

    Attributes:
        lips, sound: pictures, as addresses that hold them; empty for a clip without frames.
        lips_present, sound_present: shares of the frames marked present.
        lips_runs, sound_runs: (begin, length) of what is marked present, in percent of the clip.
        words: reference and hypothesis, aligned.
    """

    example: Example
    lips: str
    sound: str
    lips_present: float
    sound_present: float
    lips_runs: tuple[tuple[float, float], ...]
    sound_runs: tuple[tuple[float, float], ...]
    words: tuple[Pair, ...]


def show(example: Example, normalizer: str) -> Shown:
    """What the recogniser got and what it made of it.

    Args:
        example: what to show.
        normalizer: of the words compared.
    """
    clip = example.clip
    there = clip.frames > 0
    pairs = align(example.reference, example.hypothesis, normalizer=normalizer)
    return Shown(
        example,
        _data_uri(lip_strip(clip)) if there else "",
        _data_uri(spectrogram(clip)) if there else "",
        float(clip.video_present.mean()) if there else 0.0,
        float(clip.audio_present.mean()) if there else 0.0,
        _runs(clip.video_present),
        _runs(clip.audio_present),
        tuple(Pair(spoken, heard, _kind(spoken, heard)) for spoken, heard in pairs),
    )


def _kind(spoken: str | None, heard: str | None) -> str:
    """What went wrong with a word; empty where nothing did."""
    if heard is None:
        return "deleted"
    if spoken is None:
        return "inserted"
    return "" if spoken == heard else "substituted"


# ---- pictures


def lip_strip(clip: Clip) -> bytes:
    """Lips as the recogniser got them: frames evenly spread over the clip, left to right, those
    marked missing hatched.

    Returns:
        A grey PNG, STRIP_SIZE high; each frame stands where it is in time.
    """
    import cv2

    count = min(STRIP_FRAMES, clip.frames)
    tiles = []
    for index in range(count):
        frame = (2 * index + 1) * clip.frames // (2 * count)  # the middle of its part of the clip
        tile = cv2.resize(clip.lips[frame], (STRIP_SIZE, STRIP_SIZE), interpolation=cv2.INTER_AREA)
        tiles.append(tile if clip.video_present[frame] else _hatched(tile // 2))
    return _png(
        np.concatenate(tiles, axis=1) if tiles else np.zeros((STRIP_SIZE, CROP_SIZE), np.uint8)
    )


def spectrogram(clip: Clip) -> bytes:
    """Log-mel power of the sound as the recogniser got it, low pitches below, what is marked
    missing hatched.

    Returns:
        A colour PNG, SPECTROGRAM_HEIGHT x SPECTROGRAM_WIDTH.
    """
    import cv2
    import torch

    from avsr.preprocessing.audio import MELS_PER_FRAME, LogMel

    if not clip.frames:
        return _png(np.zeros((SPECTROGRAM_HEIGHT, SPECTROGRAM_WIDTH), np.uint8))
    with torch.inference_mode():
        # (S, M)
        power = LogMel(SPECTROGRAM_HEIGHT).power(torch.from_numpy(clip.audio)[None])[0].numpy()
    level = np.log10(np.maximum(power, 1e-10))
    shade = np.zeros_like(level)
    if power.max() > 1e-10:
        shade = np.clip((level - level.max()) / DYNAMIC_RANGE + 1, 0, 1)
    # (S, M) -> (M, S), low pitches below
    grey = np.ascontiguousarray((255 * shade).astype(np.uint8).T[::-1])
    absent = np.repeat(~clip.audio_present, MELS_PER_FRAME)
    size = SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT
    longer = grey.shape[1] > SPECTROGRAM_WIDTH
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if longer else cv2.INTER_LINEAR)
    picture = cv2.applyColorMap(grey, cv2.COLORMAP_MAGMA)
    columns = absent[np.arange(SPECTROGRAM_WIDTH) * len(absent) // SPECTROGRAM_WIDTH]
    hatch = _hatched(np.full(grey.shape, 60, np.uint8))
    picture[:, columns] = hatch[:, columns, None]
    return _png(picture)


def _runs(present: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(begin, length) of each stretch that is there, in percent of all frames, (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))
    shares = 100 * edges.reshape(-1, 2) / max(len(present), 1)
    return tuple((float(first), float(last - first)) for first, last in shares)


def _data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _hatched(grey: np.ndarray) -> np.ndarray:
    """A grey picture under light diagonal lines."""
    rows, columns = np.indices(grey.shape)
    lines = (rows + columns) % HATCH_PERIOD < HATCH_WIDTH
    return np.where(lines, np.uint8(200), grey)


def _png(picture: np.ndarray) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ValueError(f"no PNG can be made of {picture.dtype} {picture.shape}")
    return encoded.tobytes()
