"""What the research networks expect of a clip: centre crops and samples, normalised as they were
in training.

T  frames, 25 a second    N  samples, 640 T
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from avsr.imported.frontends import SAMPLES

CROP = 88  # of 96 pixels
MEAN, DEVIATION = 0.421, 0.165  # of the pixels in [0, 1]
EPS = 1e-8  # digital silence stays finite


def normalise_lips(lips: Tensor) -> Tensor:
    """Crops of 96 x 96 -> what the networks see.

    Args:
        lips: (T, 96, 96) uint8, crops in the style that they were trained on.

    Returns:
        (T, 88, 88) float32.
    """
    top, left = (lips.shape[1] - CROP) // 2, (lips.shape[2] - CROP) // 2
    centre = lips[:, top : top + CROP, left : left + CROP]
    return normalise_grey(centre.float())


def normalise_grey(pictures: Tensor) -> Tensor:
    """Grey levels in [0, 255] -> what the networks see, of any shape."""
    return (pictures / 255 - MEAN) / DEVIATION


def normalise_audio(audio: Tensor) -> Tensor:
    """Samples -> zero mean and unit variance over the whole clip, (N,) -> (N,)."""
    return F.layer_norm(audio, audio.shape, eps=EPS)


def common_frames(lips: Tensor | None, audio: Tensor | None) -> int:
    """T: of the shorter one, in whole frames."""
    lengths = []
    if lips is not None:
        lengths.append(len(lips))
    if audio is not None:
        lengths.append(len(audio) // SAMPLES)
    return min(lengths)
