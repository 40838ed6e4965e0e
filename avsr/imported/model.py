"""A research model as the recognisers use it: clips in, memory and CTC log-probabilities out.

T  frames, 25 a second    N  samples, 640 T    D  width    V  vocabulary
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.imported.clips import common_frames, normalise_audio, normalise_lips
from avsr.imported.decoder import LanguageModel
from avsr.imported.frontends import SAMPLES
from avsr.model.layers.decoder import DecoderScorer
from avsr.preprocessing.faces.crop_styles import RESEARCH

if TYPE_CHECKING:
    from avsr.imported.autoavsr import AutoAVSR
    from avsr.imported.usr import USR

LONGEST_S = 15.0  # they were trained on utterances of at most 16 s
LM_WEIGHTS = {"video": 0.3}  # as published; sound is read without a language model


class ImportedModel:
    """A network with its tokens and, where one was given, its language model.

    Attributes:
        name: what it is called.
        network: ready for inference, on its device.
        pieces: V strings, the blank first, the end last.
        language_model: over the same tokens, or None.
        longest_s: the longest clip that it should be given.
        crops: the style of the mouth crops that it expects.
        files: that it was read from.
    """

    longest_s = LONGEST_S

    def __init__(
        self,
        name: str,
        network: AutoAVSR | USR,
        pieces: tuple[str, ...],
        language_model: LanguageModel | None = None,
        crops: str = RESEARCH.name,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.name = name
        self.network = network
        self.pieces = pieces
        self.language_model = language_model
        self.crops, self.files = crops, files

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of av, audio and video those that it has weights for."""
        return self.network.config.modalities

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.network.parameters()).device

    @torch.inference_mode()
    def encode(
        self, modality: str, lips: Tensor | None, audio: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Reads one clip.

        Args:
            modality: one of modalities.
            lips: (T, 96, 96) uint8, crops as `crops` says; not looked at for audio.
            audio: (N,) float32 in [-1, 1]; not looked at for video. Of lips and audio the longer
                one is cut at the end.

        Returns:
            The decoder's memory (T, D) and the CTC log-probabilities (T, V).

        Raises:
            AvsrError: the model has no weights for the modality, or the clip is empty.
        """
        if modality not in self.modalities:
            able = ", ".join(self.modalities)
            raise AvsrError(f"{self.name}: cannot do modality {modality!r}, only {able}")
        lips = None if modality == "audio" else lips
        audio = None if modality == "video" else audio
        frames = common_frames(lips, audio)
        if frames == 0:
            raise AvsrError(f"{self.name}: a clip of less than one frame (0.04 s)")
        video = None
        if lips is not None:
            video = normalise_lips(lips[:frames].to(self.device))
        if audio is not None:
            audio = audio[: frames * SAMPLES].to(self.device)
            audio = normalise_audio(audio) if self.network.normalised_audio else audio
        memory = self.network.encode(modality, video, audio)
        return memory, self.network.ctc_log_probs(modality, memory)

    def scorers(self, modality: str) -> tuple[DecoderScorer, LanguageModel | None]:
        """What the beam search asks: the decoder, and the language model where it is of use."""
        lm = self.language_model if self.lm_weight(modality) else None
        return self.network.scorer(modality), lm

    def lm_weight(self, modality: str) -> float:
        """How much the language model counts in the search; 0 without one."""
        return 0.0 if self.language_model is None else LM_WEIGHTS.get(modality, 0.0)
