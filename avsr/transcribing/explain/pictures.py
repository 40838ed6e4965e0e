"""The pictures of a page: lips, spectrogram, and what was looked at, along the time of a window.

T  frames, 25 a second        S  mel frames, 4 T        M  mel bins
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsr.preprocessing.audio import DYNAMIC_RANGE, LogMel
from avsr.preprocessing.clip import FPS, Clip
from avsr.transcribing.captions.colours import rgb_of
from avsr.transcribing.explain.film import data_uri
from avsr.transcribing.explain.gather import Material, Window

SHEET_COLUMNS = 25  # crops side by side: a second
CROP = 48  # pixels of a crop in a sheet
REACH = FPS  # frames before and after a moment of which the attention is drawn
BRIGHTEST = 99.5  # percentile that is drawn brightest; few moments are looked at much more
JPEG_QUALITY = 70


@dataclass(frozen=True)
class Pictures:
    """Of one window, as data URIs; empty where there is nothing to draw.

    Attributes:
        start_s, duration_s: of the window.
        frames: T.
        strip: crops of the lips side by side, as many as the time axis has room for.
        sheet: all crops, SHEET_COLUMNS to a row.
        spectrogram: log-mel, low frequencies below.
        weight: how much was heard, one pixel a frame.
        of_audio: what sound looks at in the lips, one column a frame, earlier below.
        of_video: what lips look at in the sound, the same.
    """

    start_s: float
    duration_s: float
    frames: int
    strip: str
    sheet: str
    spectrogram: str
    weight: str
    of_audio: str
    of_video: str


def draw(material: Material, every: int) -> list[Pictures]:
    """The pictures of all windows; a strip has a crop for each `every` frames."""
    spectra = [_log_mel(window.clip) for window in material.windows]
    loudest = max((spectrum.max() for spectrum in spectra if spectrum.size), default=0.0)
    found = []
    for window, spectrum in zip(material.windows, spectra, strict=True):
        clip, crossed = window.clip, window.crossing
        heard, seen = bool(clip.audio_present.any()), bool(clip.video_present.any())
        found.append(
            Pictures(
                start_s=clip.start_s,
                duration_s=clip.duration_s,
                frames=clip.frames,
                strip=_jpeg(_strip(clip, every)) if seen else "",
                sheet=_jpeg(_sheet(clip)) if seen else "",
                spectrogram=_jpeg(_coloured(spectrum, loudest)) if heard else "",
                weight=_png(_weights(window)) if crossed is not None else "",
                of_audio=_band(crossed.of_audio) if crossed is not None and seen else "",
                of_video=_band(crossed.of_video) if crossed is not None and heard else "",
            )
        )
    return found


def square(attention: np.ndarray) -> str:
    """All of a window's attention as a data URI: who looks from above to below, at what from left
    to right.

    Args:
        attention: (T, T + 1), the last column is nothing.
    """
    return _png(_viridis(attention[:, :-1]))


def _log_mel(clip: Clip) -> np.ndarray:
    """(S, M) log10 of the power, of all of a clip."""
    import torch

    with torch.inference_mode():
        audio, present = torch.from_numpy(clip.audio), torch.from_numpy(clip.audio_present)
        levels, _, there = LogMel().levels(audio[None], present[None])
        return levels.masked_fill(~there, -torch.inf)[0].numpy()


def _coloured(spectrum: np.ndarray, loudest: float) -> np.ndarray:
    """(S, M) levels -> (M, S, 3) uint8 BGR; what is absent is black."""
    import cv2

    shares = np.clip((spectrum - loudest) / DYNAMIC_RANGE + 1, 0, 1)
    grey = np.ascontiguousarray((255 * shares).astype(np.uint8).T[::-1])
    return cv2.applyColorMap(grey, cv2.COLORMAP_MAGMA)


def _small(crop: np.ndarray, size: int = CROP) -> np.ndarray:
    import cv2

    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _strip(clip: Clip, every: int) -> np.ndarray:
    """Crops side by side, each that of the middle of its stretch; the last one may be cut."""
    count = -(-clip.frames // every)
    shown = [min(i * every + every // 2, clip.frames - 1) for i in range(count)]
    crops = np.hstack([_small(clip.lips[t]) for t in shown])
    return crops[:, : max(1, round(CROP * clip.frames / every))]


def _sheet(clip: Clip) -> np.ndarray:
    rows = -(-clip.frames // SHEET_COLUMNS)
    sheet = np.zeros((rows * CROP, SHEET_COLUMNS * CROP), np.uint8)
    for t, crop in enumerate(clip.lips):
        top, left = (place * CROP for place in divmod(t, SHEET_COLUMNS))
        sheet[top : top + CROP, left : left + CROP] = _small(crop)
    return sheet


def _weights(window: Window) -> np.ndarray:
    """(1, T, 3) uint8 BGR, from lip-read to heard; black where nothing is there."""
    assert window.crossing is not None
    colours = np.array([rgb_of(float(share))[::-1] for share in window.crossing.audio_weight])
    there = window.clip.audio_present | window.clip.video_present
    return np.where(there[:, None], colours, 0)[None].astype(np.uint8)


def _band(attention: np.ndarray) -> str:
    """(T, T + 1) attention -> for each frame what lies up to REACH frames after (above) and before
    (below) it."""
    frames = len(attention)
    padded = np.pad(attention[:, :-1], ((0, 0), (REACH, REACH)))
    band = np.stack([padded[t, t : t + 2 * REACH + 1] for t in range(frames)])
    return _png(_viridis(band.T[::-1]))


def _viridis(values: np.ndarray) -> np.ndarray:
    """Shares as colours, the brightest few alike."""
    import cv2

    most = max(float(np.percentile(values, BRIGHTEST)), 1e-6)
    grey = (255 * np.clip(values / most, 0, 1)).astype(np.uint8)
    return cv2.applyColorMap(np.ascontiguousarray(grey), cv2.COLORMAP_VIRIDIS)


def _jpeg(picture: np.ndarray) -> str:
    import cv2

    body = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return data_uri("image/jpeg", body.tobytes())


def _png(picture: np.ndarray) -> str:
    import cv2

    return data_uri("image/png", cv2.imencode(".png", picture)[1].tobytes())
