"""Base of the adapters for systems of others, which take one clip at a time and know no masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avsr.base.errors import AvsrError
from avsr.decoding.words import Hypothesis
from avsr.model.batches import mask
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.recognisers.base import Recogniser


class Adapter(Recogniser):
    """Base of the adapters for systems of others, which take one clip at a time and may know
    nothing of masks.

    Such a system hears silence and sees black wherever a mask says that nothing is there; where
    that is everywhere, it is not asked, and the hypothesis is empty. It is never told the text.

    Attributes:
        about: how it decodes, for people; part of what its results depend on.
    """

    name: str
    sha256: str
    modalities: tuple[str, ...]
    about: str = ""

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        """See `Recogniser.recognise`.

        Raises:
            AvsrError: a modality that the system does not have, or a failure of the system.
        """
        if modality not in self.modalities:
            raise AvsrError(
                f"{self.name}: knows no modality {modality!r}; it takes "
                f"{', '.join(self.modalities)}"
            )
        given = [as_given(clip, modality) for clip in clips]
        return [self.hear(clip) if is_there(clip) else Hypothesis("", [], 0.0) for clip in given]

    def hear(self, clip: Clip) -> Hypothesis:
        """What one clip says.

        Args:
            clip: from `as_given`, not empty.
        """
        raise NotImplementedError


def as_given(clip: Clip, modality: str) -> Clip:
    """The clip as a system without masks gets it: silence and black where nothing is there; its
    text is withheld."""
    clip = mask(clip, modality)
    heard = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
    return replace(
        clip,
        audio=np.where(heard, clip.audio, np.float32(0)),
        lips=np.where(clip.video_present[:, None, None], clip.lips, np.uint8(0)),
        text=None,
    )


def is_there(clip: Clip) -> bool:
    """Whether the masks leave anything of the clip."""
    return bool(clip.audio_present.any() or clip.video_present.any())
