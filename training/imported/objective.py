"""What an imported network minimises: CTC and attention together, as its authors did.

0.1 CTC and 0.9 label-smoothed cross-entropy of the attention decoder: Watanabe et al., "Hybrid
CTC/Attention Architecture for End-to-End Speech Recognition", 2017, with the weights of Auto-AVSR
(Ma et al., ICASSP 2023: mtlalpha 0.1, lsm 0.1) and USR (Haliassos et al., NeurIPS 2024:
ctc_rel_weight 0.1). Both are means over tokens here and over clips there, and the smoothing is
spread over all tokens, not over all others.

B  clips    T  frames, 25 a second    N  samples, 640 T    D  width    V  vocabulary
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from avsr.imported.autoavsr import AutoAVSR
from avsr.imported.clips import CROP, normalise_audio, normalise_grey
from avsr.imported.encoder import DROPOUT
from avsr.imported.usr import USR
from avsr.preprocessing.clip import SAMPLES_PER_FRAME
from avsr.training.config import LossConfig
from avsr.training.contrastive import pooled
from avsr.training.data.augmentation.pictures import change_pictures, full_precision
from avsr.training.data.batch import Batch
from avsr.training.losses import attention_loss, by_modality, ctc, shown

CTC_SHARE = 0.1
STREAMS = {"both": "av", "audio": "audio", "video": "video"}  # group of clips -> modality


def keep_statistics(network: nn.Module) -> None:
    """Batch norms go on with the statistics of their authors' training: clips are read one by one,
    as when they are recognised, and those of one clip are no statistics."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


class HybridObjective(nn.Module):
    """An imported network; its forward pass gives the losses of a batch.

    A network of one modality gets that of each clip. One that takes all three gets of some clips
    sound or lips alone, drawn anew each time (modality dropout).

    Args:
        model: is trained.
        config: gives the shares of clips with lips or sound alone, and the weight of attention.
    """

    def __init__(self, model: AutoAVSR | USR, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Losses of the clips of all processes by name, ``total`` among them, which is minimised.

        Args:
            batch: of clips.
            progress: plays no part.
        """
        draw = torch.rand(len(batch.ids))
        heard, seen = self._shown(batch, draw)
        groups = self._groups(*self._shown(batch.on_host, draw))
        lips = self._lips(batch, seen) if groups.keys() != {"audio"} else None
        # these networks know no masks: what is absent is silent, as in their training
        audio = batch.audio * heard.repeat_interleave(SAMPLES_PER_FRAME, dim=1)
        sums: dict[str, list[Tensor]] = {"ctc": [], "attention": []}
        counts: dict[str, list[Tensor]] = {"ctc": [], "attention": []}
        for modality, rows in groups.items():
            memory = self._read(batch, rows, modality, lips, audio)
            part = batch.take(rows.to(batch.lens.device))
            part.origin = batch.on_host.take(rows)
            found = self._losses(part, memory, modality)
            for name, count in (("ctc", part.tokens), ("attention", part.target_lens + 1)):
                counts[name].append(count.sum())
                sums[name].append(found[name] * count.sum())
        whole = {name: torch.stack(values).sum() for name, values in counts.items()}
        losses = {name: torch.stack(values).sum() / whole[name] for name, values in sums.items()}
        losses = pooled(losses, whole, tuple(losses))
        attention = self.config.attention * (1 - CTC_SHARE)
        return {**losses, "total": CTC_SHARE * losses["ctc"] + attention * losses["attention"]}

    def _shown(self, batch: Batch, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Sound and lips (B, T) bool that the network gets."""
        if len(self.model.config.modalities) == 1:
            return batch.audio_present, batch.video_present
        return shown(batch, draw.to(batch.lens.device, non_blocking=True), self.config)

    def _groups(self, heard: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Modality -> numbers of the clips that are read as such, for (B, T) bool on the CPU."""
        able = self.model.config.modalities
        if len(able) == 1:
            return {able[0]: torch.arange(len(heard))}
        found = {}
        for name, group in by_modality(heard, seen).items():
            if group.any():
                found[STREAMS[name]] = group.nonzero()[:, 0]
        return found

    @staticmethod
    def _lips(batch: Batch, seen: Tensor) -> Tensor:
        """What the network sees, (B, T, 88, 88): the mean grey level where lips are absent."""
        lips = normalise_grey(change_pictures(batch.lips, seen, batch.looks, CROP))
        return lips.masked_fill(~seen[:, :, None, None], 0)

    def _read(
        self, batch: Batch, rows: Tensor, modality: str, lips: Tensor | None, audio: Tensor
    ) -> Tensor:
        """The encoder's output for some clips, padded with zeros: (B, T, D)."""
        longest = batch.lips.shape[1]
        lens = batch.on_host.lens.tolist()
        memories = []
        for i in rows.tolist():
            sound = audio[i, : lens[i] * SAMPLES_PER_FRAME]
            if self.model.normalised_audio:
                sound = normalise_audio(sound)
            seen = None if lips is None else lips[i, : lens[i]]
            memory = self.model.encode(modality, seen, sound)
            memories.append(F.pad(memory, (0, 0, 0, longest - lens[i])))
        return torch.stack(memories)

    def _losses(self, part: Batch, memory: Tensor, modality: str) -> dict[str, Tensor]:
        """CTC and attention of clips that are read alike, each a mean over their tokens."""
        decoder, output = self.model.decoder, self.model.output_name(modality)
        dropout = DROPOUT if decoder.training else 0.0
        with full_precision(memory.device):  # half has too few digits for logarithms
            log_probs = self.model.ctc_log_probs(modality, memory.float())
        return {
            "ctc": ctc(log_probs, part),
            "attention": attention_loss(decoder, memory, part, dropout, output),
        }
