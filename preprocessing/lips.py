"""From face landmarks to stabilised 96x96 grey mouth crops, and which frames have one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE
from avsr.preprocessing.face import LIP_SLICE, POINTS, STABLE_SLICE, FaceTrack

MAX_GAP = 5  # frames (0.2 s) without landmarks that are interpolated over
SMOOTH = 2  # landmarks are averaged over this many frames to either side
MOUTH_WIDTH = 45.0  # crop pixels between the corners of the average neutral mouth
MIN_MOUTH = 12.0  # source pixels; a smaller mouth is too coarse to read
MAX_OUTSIDE = 0.2  # part of the crop that may lie outside the picture
MAX_YAW_DEG = 60.0  # beyond it half of the mouth is hidden
CENTRE = (CROP_SIZE - 1) / 2  # pixel centres are whole numbers: the middle of 96 pixels is at 47.5

# The mean face: STABLE points in crop pixels relative to the centre of the lip ring. Mean of MediaPipe's canonical
# face model and of one GRID speaker (median over 20 clips), each turned upright and brought to the same distance
# between the eyes, mirrored and averaged; scaled so that its mouth corners are MOUTH_WIDTH apart.
MEAN_FACE = np.array(
    [(-39.3, -66.8), (-15.7, -65.5), (15.7, -65.5), (39.3, -66.8), (0.0, -70.5), (0.0, -22.6)], np.float32
)


def mouth_transforms(track: FaceTrack, total_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity transform from source pixels to the mouth crop for each frame.

    Rotation and scale come from the eye corners and the nose by least squares against MEAN_FACE (Umeyama 1991,
    without reflection), so that speech itself does not move them; the translation puts the mouth in the middle.
    Landmarks are interpolated linearly over gaps of at most MAX_GAP frames and averaged over +-SMOOTH frames.

    Args:
        track: one face, landmarks on some of the frames.
        total_frames: T of the whole video.

    Returns:
        matrices: (T, 2, 3) float32, source pixels -> crop pixels, as cv2.warpAffine takes them; 0 where absent.
        present: (T,) bool, where there is a mouth that can be read: landmarks at hand, mouth at least MIN_MOUTH source
            pixels wide, lips inside the picture and no more than MAX_OUTSIDE of the crop beyond it, head turned by
            no more than MAX_YAW_DEG.
        scale: (T,) float32, source pixels per crop pixel; 0 where absent.
    """
    matrices = np.zeros((total_frames, 2, 3), np.float32)
    present = np.zeros(total_frames, bool)
    scale = np.zeros(total_frames, np.float32)
    for first, points, yaw_deg in _stretches(track):
        points, yaw_deg = _smooth(points), _smooth(yaw_deg)
        found = _similarity(points)
        source_per_crop = 1 / np.linalg.norm(found[:, :, 0], axis=1)
        readable = (
            (source_per_crop * MOUTH_WIDTH >= MIN_MOUTH)
            & (np.abs(yaw_deg) <= MAX_YAW_DEG)
            & _inside(points, found, track.picture)
        )
        here = slice(first, min(first + len(points), total_frames))
        kept = readable[: here.stop - here.start]
        present[here] = kept
        matrices[here] = np.where(kept[:, None, None], found[: len(kept)], 0)
        scale[here] = np.where(kept, source_per_crop[: len(kept)], 0)
    return matrices, present, scale


def _stretches(track: FaceTrack) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first frame, points (n, K, 2), yaw (n,)) of each stretch without a gap too long to interpolate over."""
    breaks = np.flatnonzero(np.diff(track.frames) > MAX_GAP + 1) + 1
    for index in np.split(np.arange(len(track.frames)), breaks):
        if len(index) == 0:
            continue
        known = track.frames[index]
        every = np.arange(known[0], known[-1] + 1)
        values = np.concatenate([track.points[index].reshape(len(index), -1), track.yaw_deg[index, None]], axis=1)
        dense = np.stack([np.interp(every, known, column) for column in values.T], axis=1)
        yield int(known[0]), dense[:, :-1].reshape(len(every), len(POINTS), 2), dense[:, -1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over +-SMOOTH neighbours along axis 0; at the ends over the neighbours there are."""
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    index = np.arange(len(values))
    low, high = np.maximum(index - SMOOTH, 0), np.minimum(index + SMOOTH + 1, len(values))
    count = (high - low).reshape(-1, *[1] * (values.ndim - 1))
    return (total[high] - total[low]) / count


def _similarity(points: np.ndarray) -> np.ndarray:
    """(n, K, 2) source pixels -> (n, 2, 3) transforms; complex numbers make rotation and scale one factor."""
    source = points[:, STABLE_SLICE, 0] + 1j * points[:, STABLE_SLICE, 1]
    source = source - source.mean(axis=1, keepdims=True)
    target = MEAN_FACE[:, 0] + 1j * MEAN_FACE[:, 1]
    target = target - target.mean()
    factor = (source.conj() * target).sum(axis=1) / (np.abs(source) ** 2).sum(axis=1)
    linear = np.stack([np.stack([factor.real, -factor.imag], -1), np.stack([factor.imag, factor.real], -1)], axis=1)
    mouth = points[:, LIP_SLICE].mean(axis=1)
    shift = CENTRE - np.einsum("nij,nj->ni", linear, mouth)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _inside(points: np.ndarray, matrices: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """(n,) bool: the lips are in the picture and hardly any of the crop is outside it."""
    size = np.array(picture, np.float64)
    mouth = points[:, LIP_SLICE].mean(axis=1)
    lips = points[:, LIP_SLICE]
    lips_inside = ((lips >= 0) & (lips <= size - 1)).all(axis=(1, 2))
    # The tilted crop square, taken as its upright box: heads tilt little, and the limit is soft.
    a, b = np.abs(matrices[:, 0, 0]), np.abs(matrices[:, 0, 1])
    half = (CROP_SIZE / 2) * np.maximum(a, b) / (a**2 + b**2)
    low = np.clip(mouth - half[:, None], 0, size)
    high = np.clip(mouth + half[:, None], 0, size)
    part = (high - low).prod(axis=1) / (2 * half) ** 2
    return lips_inside & (part >= 1 - MAX_OUTSIDE)


def warp_mouth(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Cuts the mouth crop out of a frame.

    Where the crop is coarser than the source it is cut several times as fine and averaged down, so that nothing
    aliases.

    Args:
        frame: (H, W, 3) uint8 RGB.
        matrix: (2, 3) from mouth_transforms.

    Returns:
        (96, 96) uint8 grey.
    """
    import cv2

    scale = 1 / max(float(np.hypot(matrix[0, 0], matrix[1, 0])), 1e-6)
    fine = int(np.ceil(scale)) if scale > 1.5 else 1
    # Pixel centres are whole numbers, so a grid `fine` times as dense is also shifted by half of the difference.
    larger = matrix.astype(np.float64) * fine
    larger[:, 2] += (fine - 1) / 2
    side = CROP_SIZE * fine
    crop = cv2.warpAffine(frame, larger, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if fine > 1:
        crop = cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
