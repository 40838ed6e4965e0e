"""From face landmarks to stabilised 96x96 grey mouth crops, and which frames have one."""

from __future__ import annotations

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE
from avsr.preprocessing.faces.crop_styles import OWN, CropStyle
from avsr.preprocessing.faces.face import LIP_SLICE, POINTS
from avsr.preprocessing.faces.face_tracks import FaceTrack

CHUNK = 500  # looks worked on at once
MOUTH_WIDTH = 45.0  # crop pixels between the corners of the average neutral mouth
MIN_MOUTH = 12.0  # source pixels; a smaller mouth is too coarse to read
MAX_OUTSIDE = 0.2  # part of the crop that may lie outside the picture
MAX_YAW_DEG = 60.0  # beyond it half of the mouth is hidden


class MouthPath:
    """Where the mouth of one face is, frame by frame, while its landmarks come.

    Rotation and scale come from points that speech hardly moves by least squares against those of
    an average face (Umeyama 1991, without reflection); the translation puts the mouth in the
    middle. Landmarks are interpolated linearly over gaps of at most `max_gap` frames and averaged
    over +-`smooth` frames, at the ends of a stretch over the neighbours there are. A frame is
    certain `lag` frames later. How the landmarks are cut into calls changes nothing, to the bit.
    """

    def __init__(self, picture: tuple[int, int], style: CropStyle = OWN) -> None:
        self._picture, self._style = picture, style
        # the last look of the open stretch: frame, values
        self._last: tuple[int, np.ndarray] | None = None
        self._first = 0  # frame of the open stretch's beginning
        # running sums of the open stretch, the first of them over `_dropped` frames
        self._sums = np.zeros((1, 0))
        self._dropped = 0
        self._told = 0  # frames of the open stretch that were handed out

    def advance(
        self, frames: np.ndarray, points: np.ndarray, yaw_deg: np.ndarray, settled: int
    ) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Takes further landmarks and hands out the frames that have become certain.

        Args:
            frames: as in FaceTrack, after those of the last call; may be empty, as the next two.
            points: as in FaceTrack.
            yaw_deg: as in FaceTrack.
            settled: all landmarks of frames before this one are known.

        Returns:
            Stretches: the first frame and, for n frames, the matrices, present and scale of
                mouth_transforms.
        """
        found = []
        landmarks = points.reshape(len(frames), 2 * len(POINTS))
        values = np.concatenate([landmarks, yaw_deg[:, None]], axis=1).astype(np.float64)
        # A stretch ends where the next look is too far off, also from the last one of before.
        looked = frames if self._last is None else np.append(self._last[0], frames)
        known = len(looked) - len(frames)
        too_far = np.diff(looked) > self._style.max_gap + 1
        breaks = np.flatnonzero(too_far) + 1 - known
        for number, index in enumerate(np.split(np.arange(len(frames)), breaks)):
            if number:
                found += self._hand_out(closed=True)
            if len(index):
                self._extend(frames[index], values[index])
        closed = self._last is not None and settled >= self._last[0] + self._style.max_gap + 2
        return found + self._hand_out(closed)

    def _extend(self, frames: np.ndarray, values: np.ndarray) -> None:
        """Lengthens the open stretch, or opens one; frames (m,), values (m, 2 K + 1)."""
        if self._last is None:
            self._first, self._dropped, self._told = int(frames[0]), 0, 0
            self._sums = np.zeros((1, values.shape[1]))
            every = np.arange(frames[0], frames[-1] + 1)
        else:
            every = np.arange(self._last[0] + 1, frames[-1] + 1)
            frames = np.append(self._last[0], frames)
            values = np.concatenate([self._last[1][None], values])
        dense = np.stack([np.interp(every, frames, column) for column in values.T], axis=1)
        sums = np.cumsum(np.concatenate([self._sums[-1:], dense]), axis=0)[1:]
        self._sums = np.concatenate([self._sums, sums])
        self._last = int(frames[-1]), values[-1]

    def _hand_out(self, closed: bool) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """The frames of the open stretch that are certain and were not handed out yet; closed: it
        has ended."""
        if self._last is None:
            return []
        count = self._dropped + len(self._sums) - 1
        reach = self._style.smooth
        index = np.arange(self._told, count if closed else max(self._told, count - reach))
        found = []
        if len(index):
            smooth = self._smooth(index, count)
            points = smooth[:, :-1].reshape(len(index), len(POINTS), 2)
            stretch = _readable(points, smooth[:, -1], self._picture, self._style)
            found = [(self._first + self._told, *stretch)]
            self._told = int(index[-1]) + 1
            keep = max(self._told - reach, 0)
            self._sums, self._dropped = self._sums[keep - self._dropped :], keep
        if closed:
            self._last = None
        return found

    def _smooth(self, index: np.ndarray, count: int) -> np.ndarray:
        """Means of landmarks and turn around frames of the open stretch.

        Args:
            index: (n,) frames of it.
            count: frames that it has so far.

        Returns:
            (n, 2 K + 1) float64. Where the style follows the face, the window is as long to either
            side, and the mean of the landmarks is that in the frame itself.
        """
        before = after = np.full(len(index), self._style.smooth)
        if self._style.follow:
            before = after = np.minimum(before, np.minimum(index, count - 1 - index))
        low, high = np.maximum(index - before, 0), np.minimum(index + after + 1, count)
        sums, first = self._sums, self._dropped
        smooth = (sums[high - first] - sums[low - first]) / (high - low)[:, None]
        if self._style.follow:
            here = sums[index + 1 - first] - sums[index - first]
            for axis in (0, 1):  # x and y take turns
                moved = here[:, axis:-1:2].mean(axis=1) - smooth[:, axis:-1:2].mean(axis=1)
                smooth[:, axis:-1:2] += moved[:, None]
        return smooth


def mouth_transforms(
    track: FaceTrack, total_frames: int, style: CropStyle = OWN
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity transform from source pixels to the mouth crop for each frame; see MouthPath.

    Args:
        track: one face, landmarks on some of the frames.
        total_frames: T of the whole video.
        style: how mouths are cut out.

    Returns:
        matrices: (T, 2, 3) float32, source pixels -> crop pixels, as cv2.warpAffine takes them; 0
            where absent.
        present: (T,) bool, where there is a mouth that can be read: landmarks at hand, mouth at
            least MIN_MOUTH source pixels wide, lips inside the picture and no more than MAX_OUTSIDE
            of the crop beyond it, head turned by no more than MAX_YAW_DEG.
        scale: (T,) float32, source pixels per crop pixel; 0 where absent.
    """
    matrices = np.zeros((total_frames, 2, 3), np.float32)
    present = np.zeros(total_frames, bool)
    scale = np.zeros(total_frames, np.float32)
    path, count = MouthPath(track.picture, style), len(track.frames)
    for start in range(0, count, CHUNK):  # an hour at once would take hundreds of megabytes
        looks = slice(start, start + CHUNK)
        settled = int(track.frames[-1]) + style.lag if start + CHUNK >= count else 0
        for first, *stretch in path.advance(
            track.frames[looks], track.points[looks], track.yaw_deg[looks], settled
        ):
            here = slice(first, min(first + len(stretch[0]), total_frames))
            for whole, part in zip((matrices, present, scale), stretch, strict=True):
                whole[here] = part[: max(here.stop - first, 0)]
    return matrices, present, scale


def _readable(
    points: np.ndarray, yaw_deg: np.ndarray, picture: tuple[int, int], style: CropStyle
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices, present and scale of mouth_transforms from smoothed landmarks."""
    found = _similarity(points, style)
    scale = 1 / np.linalg.norm(found[:, :, 0], axis=1)
    present = (
        (scale * MOUTH_WIDTH >= MIN_MOUTH)
        & (np.abs(yaw_deg) <= MAX_YAW_DEG)
        & _inside(points, found, picture)
    )
    matrices = np.where(present[:, None, None], found, 0).astype(np.float32)
    return matrices, present, np.where(present, scale, 0).astype(np.float32)


def _similarity(points: np.ndarray, style: CropStyle) -> np.ndarray:
    """(n, K, 2) source pixels -> (n, 2, 3) transforms; complex numbers make rotation and scale one
    factor."""
    source = points[:, style.fitted, 0] + 1j * points[:, style.fitted, 1]
    source = source - source.mean(axis=1, keepdims=True)
    target = style.target[:, 0] + 1j * style.target[:, 1]
    target = target - target.mean()
    factor = (source.conj() * target).sum(axis=1) / (np.abs(source) ** 2).sum(axis=1)
    linear = np.stack(
        [np.stack([factor.real, -factor.imag], -1), np.stack([factor.imag, factor.real], -1)],
        axis=1,
    )
    mouth = points[:, style.mouth].mean(axis=1)
    shift = style.centre - np.einsum("nij,nj->ni", linear, mouth)
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

    Where the crop is coarser than the source it is cut several times as fine and averaged down, so
    that nothing aliases.

    Args:
        frame: (H, W, 3) uint8 RGB.
        matrix: (2, 3) from mouth_transforms.

    Returns:
        (96, 96) uint8 grey.
    """
    import cv2

    scale = 1 / max(float(np.hypot(matrix[0, 0], matrix[1, 0])), 1e-6)
    fine = int(np.ceil(scale)) if scale > 1.5 else 1
    # Pixel centres are whole numbers, so a grid `fine` times as dense is also shifted by half of
    # the difference.
    larger = matrix.astype(np.float64) * fine
    larger[:, 2] += (fine - 1) / 2
    side = CROP_SIZE * fine
    crop = cv2.warpAffine(
        frame, larger, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if fine > 1:
        crop = cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
