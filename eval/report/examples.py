"""A clip of which much went wrong, for the report: its lips, its spectrogram, and its words one by
one."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape

import numpy as np

from avsr.eval.metrics.wer import align
from avsr.preprocessing.clip import CROP_SIZE, Clip

STRIP_FRAMES = 12  # sampled over the clip
STRIP_SIZE = 72  # pixels a side of each
# pixels, whatever the length of the clip; as many mel bins
SPECTROGRAM_WIDTH, SPECTROGRAM_HEIGHT = 576, 64
DYNAMIC_RANGE = 6.0  # log10 units of power, 60 dB: speech, without the noise floor of the room
HATCH_PERIOD, HATCH_WIDTH = 12, 3  # pixels
NARROW_PX = 620  # width of the pictures below which they scroll and do not shrink


@dataclass(frozen=True)
class Example:
    """A clip of which much went wrong.

    Attributes:
        label: of the row.
        id: of the clip.
        reference, hypothesis: what was said and what was recognised.
        errors: how many words are wrong.
        clip: as the recogniser got it.
    """

    label: str
    id: str
    reference: str
    hypothesis: str
    errors: int
    clip: Clip


# ---- HTML


def to_html(example: Example, normalizer: str) -> str:
    """What the recogniser got and what it made of it, as an element of the report.

    Args:
        example: what to show.
        normalizer: of the words compared.
    """
    clip = example.clip
    errors = f"{example.errors} error{'' if example.errors == 1 else 's'}"
    return (
        f'<article class="example"><h3>{escape(example.id)} '
        f'<span class="soft">{escape(example.label)}, {errors}</span></h3>'
        + (_pictures(clip, example.id) if clip.frames else "<p>The clip is empty.</p>")
        + _words(example, normalizer)
        + "</article>"
    )


def _pictures(clip: Clip, name: str) -> str:
    lips, sound = (_data_uri(make(clip)) for make in (lip_strip, spectrogram))
    there = {"lips": clip.video_present, "sound": clip.audio_present}
    said = {
        what: f"{100 * float(present.mean()):.0f} % marked present"
        for what, present in there.items()
    }
    strip = escape(f"Lips of {name}, left to right over {clip.duration_s:.1f} s, {said['lips']}")
    image = escape(f"Spectrogram of {name}, {said['sound']}")
    return (
        '<div class="scroll pictures" role="region" tabindex="0" aria-label="Pictures of '
        f'{escape(name)}">'
        f'<div style="min-width:{NARROW_PX}px"><img src="{lips}" '
        f'alt="{strip}">{_presence(there["lips"], "video")}'
        f'<img class="spectrogram" src="{sound}" alt="{image}">'
        f"{_presence(there['sound'], 'audio')}</div></div>"
        f'<p class="soft">{clip.duration_s:.1f} s. Lips {said["lips"]}, sound {said["sound"]}; '
        "what is marked missing "
        "is hatched.</p>"
    )


def _presence(present: np.ndarray, use: str) -> str:
    """A bar on the pictures' time axis, filled where the mask says present."""
    bars = "".join(
        f'<rect x="{first}" width="{last - first}" height="1"/>' for first, last in _runs(present)
    )
    return (
        f'<svg class="presence {use}" viewBox="0 0 {len(present)} 1" preserveAspectRatio="none" '
        'aria-hidden="true">'
        f"{bars}</svg>"
    )


def _words(example: Example, normalizer: str) -> str:
    """Reference above hypothesis, word by word."""
    pairs = []
    for spoken, heard in align(example.reference, example.hypothesis, normalizer=normalizer):
        kind = _kind(spoken, heard)
        told = f'<span class="kind">{kind}</span>' if kind else ""
        pairs.append(
            f'<li class="{kind}"><span class="spoken">{escape(spoken or "∅")}</span>'
            f'<span class="heard">{escape(heard or "∅")}</span>{told}</li>'
        )
    if not pairs:
        return '<p class="soft">Nothing was said and nothing recognised.</p>'
    return (
        '<div class="aligned"><p class="soft" '
        'aria-hidden="true"><span>said</span><span>recognised</span></p>'
        '<ol class="words" aria-label="Each word said, and what was recognised for '
        f'it">{"".join(pairs)}</ol></div>'
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
    shade = (
        np.clip((level - level.max()) / DYNAMIC_RANGE + 1, 0, 1)
        if power.max() > 1e-10
        else np.zeros_like(level)
    )
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


def _runs(present: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) frame, last exclusive, of each stretch that is there."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


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
