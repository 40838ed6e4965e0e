"""How mouths are cut out: our own crops, and those that research networks were trained on.

A network reads the crops it has seen in training, so a model says which style it takes, and shards
say in which one they were made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsr.base.errors import UsageError
from avsr.preprocessing.clip import CROP_SIZE
from avsr.preprocessing.faces.face import LIP_SLICE, POINTS, STABLE_SLICE

MOUTH_PX = 45  # between the corners of the mouth of an average face, in the crops of all styles


@dataclass(frozen=True, eq=False)
class CropStyle:
    """A way to cut out mouths.

    Attributes:
        name: as models and shards say it.
        fitted: which of POINTS rotation and scale come from.
        target: (n, 2) where these lie in an average face, in pixels of the crop; shifts play no
            part.
        mouth: which of POINTS have the middle of the mouth as their mean.
        centre: (2,) where it lands, in pixels of the crop.
        smooth: landmarks are averaged over so many frames to either side.
        follow: only the shape of the face is smoothed, and its place is that of the frame itself.
        max_gap: frames without landmarks that are interpolated over.
    """

    name: str
    fitted: slice | list[int]
    target: np.ndarray
    mouth: slice | list[int]
    centre: np.ndarray
    smooth: int
    follow: bool
    max_gap: int

    @property
    def lag(self) -> int:
        """Frames after which the mouth in a frame is certain."""
        return self.max_gap + self.smooth + 2


# STABLE points relative to the centre of the lip ring. Mean of MediaPipe's canonical face model and
# of one GRID speaker (median over 20 clips), each turned upright and brought to the same distance
# between the eyes, mirrored and averaged; scaled so that its mouth corners are 45 pixels apart.
_OWN_FACE = np.array(
    [(-39.3, -66.8), (-15.7, -65.5), (15.7, -65.5), (39.3, -66.8), (0.0, -70.5), (0.0, -22.6)],
    np.float32,
)

# The mean face that Auto-AVSR, its model zoo and USR crop by: base of the nose, corners of the
# eyes and of the mouth. Their crops begin at whole pixels, which puts the mean of 20 lip points at
# 48 +- 0.5. We keep the 12 outer ones, whose mean is then at 48.2: so measured over eight speakers.
_RESEARCH_FACE = {
    2: (128.870, 137.303),
    33: (92.522, 94.369),
    133: (112.772, 94.944),
    362: (145.525, 94.535),
    263: (166.677, 93.566),
    61: (107.168, 157.196),
    291: (152.193, 156.987),
}
_RESEARCH_MOUTH = (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91)

OWN = CropStyle(
    name="own",
    fitted=STABLE_SLICE,
    target=_OWN_FACE,
    mouth=LIP_SLICE,
    # pixel centres are whole numbers: the middle of 96 pixels is at 47.5
    centre=np.full(2, (CROP_SIZE - 1) / 2),
    smooth=2,
    follow=False,
    max_gap=5,
)
RESEARCH = CropStyle(
    name="research",
    fitted=[POINTS.index(point) for point in _RESEARCH_FACE],
    target=np.array(list(_RESEARCH_FACE.values())),
    mouth=[POINTS.index(point) for point in _RESEARCH_MOUTH],
    centre=np.array([48.0, 48.2]),
    smooth=6,
    follow=True,
    max_gap=10,
)
STYLES = {style.name: style for style in (OWN, RESEARCH)}


def style_named(name: str) -> CropStyle:
    """The style of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in STYLES:
        raise UsageError(f"crops {name!r}: must be one of {', '.join(STYLES)}")
    return STYLES[name]
