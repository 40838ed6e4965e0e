"""A recording as a data URI that browsers play, on the clock of its transcript."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLE_RATE
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.media.streams import Media, open_media
from avsr.preprocessing.media.ticks import Picture

SIDE = 640  # pixels of the longer side of the film
CRF = 26  # of x264


def film(path: Path, longest_s: float, audio_track: int | None = None) -> str:
    """A small film, or the sound alone where there is no picture.

    Args:
        path: the recording.
        longest_s: seconds of it, from its beginning.
        audio_track: which of several sound tracks.

    Raises:
        MediaError: it cannot be read.
    """
    body = io.BytesIO()
    return data_uri(write_film(body, path, longest_s, audio_track), body.getvalue())


def write_film(body: BinaryIO, path: Path, longest_s: float, audio_track: int | None = None) -> str:
    """Writes a small film that browsers play; see `film`.

    Returns:
        Its type.
    """
    most = round(longest_s * FPS)
    with open_media(path, audio_track=audio_track) as media:
        sound = _sound(media, most)
        if not media.info.has_video:
            import soundfile

            soundfile.write(body, sound, SAMPLE_RATE, format="FLAC")
            return "audio/flac"
        shown = max(1, min(most, round(media.info.duration_s * FPS)))
        heard = sound[: shown * SAMPLE_RATE // FPS] if sound.any() else None
        write_video(body, _frames(media, shown), heard, crf=CRF)
    return "video/mp4"


def data_uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode('ascii')}"


def _sound(media: Media, most: int) -> np.ndarray:
    """(N,) float32 of the first frames."""
    found = [np.zeros(0, np.float32)]
    for piece in media.pieces(video=False):
        found.append(piece.audio)
        if piece.first_frame + len(piece) >= most:
            break
    return np.concatenate(found)[: most * SAMPLE_RATE // FPS]


def _frames(media: Media, most: int) -> Iterator[np.ndarray]:
    """The first pictures of a file, small; grey where there is none."""
    height, width = media.info.height, media.info.width
    scale = min(1.0, SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    blank = np.full((*size[::-1], 3), 128, np.uint8)
    last: tuple[Picture | None, np.ndarray] = None, blank
    pieces = media.pieces(audio=False)
    pictures = (picture for piece in pieces for picture in piece.pictures)
    for picture in islice(chain(pictures, repeat(None)), most):
        if picture is not last[0]:  # one that stays on screen is the same again
            last = picture, blank if picture is None else _resized(picture.rgb(), size)
        yield last[1]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
