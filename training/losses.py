"""What training minimises: CTC for every way of using the model, frame targets, and the ear as the eye's teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model import AVSR
from avsr.training.config import LossConfig
from avsr.training.data import Batch

UNKNOWN = -1  # frame target where the alignment says nothing


def ctc(log_probs: Tensor, batch: Batch, keep: Tensor | None = None) -> Tensor:
    """CTC loss per target token (Graves et al. 2006).

    Args:
        log_probs: (B, T, U).
        batch: gives lengths and targets.
        keep: (B,) bool, clips that count; all by default.
    """
    losses = F.ctc_loss(
        log_probs.transpose(0, 1).float(),  # (B, T, U) -> (T, B, U)
        batch.targets,
        batch.lens,
        batch.target_lens,
        reduction="none",
        zero_infinity=True,  # too short for its text: such clips are dropped and named when the data is read
    )
    keep = torch.ones_like(losses, dtype=torch.bool) if keep is None else keep
    return (losses * keep).sum() / (batch.target_lens * keep).sum().clamp_min(1)


def frame_loss(head: nn.Module, stream: Tensor, targets: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy of each frame against the letter the word alignment puts there.

    It starts a stream up where CTC alone would first have to find the alignment.

    Args:
        head: D -> U.
        stream: (B, T, D).
        targets: (B, T) token ids, -1 where unknown.
        present: (B, T) bool.
    """
    targets = targets.masked_fill(~present, UNKNOWN)
    logits = head(stream).float().transpose(1, 2)  # (B, T, U) -> (B, U, T)
    total = F.cross_entropy(logits, targets, ignore_index=UNKNOWN, label_smoothing=0.1, reduction="sum")
    return total / (targets != UNKNOWN).sum().clamp_min(1)


def distil(student: Tensor, teacher: Tensor, counts: Tensor, tokens: Tensor) -> Tensor:
    """KL divergence of the student's posteriors from the teacher's, frame by frame, per target token.

    Args:
        student: (B, T, U) log-probabilities.
        teacher: (B, T, U) log-probabilities, without gradient.
        counts: (B, T) bool, frames that count.
        tokens: number of target tokens in the clips that count.
    """
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return (divergence * counts).sum() / tokens.clamp_min(1)


@dataclass
class Weights:
    """Weights of the losses that change over the run."""

    frame: float
    distil: float


def weights_at(progress: float, config: LossConfig) -> Weights:
    """Frame targets fade linearly over the first half; the teacher comes in once it knows something."""
    fade = min(1.0, 2 * progress)
    ready = min(1.0, max(0.0, (progress - config.distil_start) / 0.05))
    return Weights(config.frame + (config.frame_end - config.frame) * fade, config.distil * ready)


class Objective(nn.Module):
    """The model together with the heads that only training needs; its forward pass gives the losses of a batch.

    Each stream is encoded once. The fused part then runs on two views of the batch: both modalities with whatever the
    augmentation took away, and only one of them, drawn clip by clip. So one step trains every way of using the model,
    and costs little more than one view because the picture network dominates.
    """

    def __init__(self, model: AVSR, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        vocabulary = len(model.config.tokens)
        self.audio_frames = nn.Linear(model.config.dim, vocabulary)
        self.video_frames = nn.Linear(model.config.dim, vocabulary)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Losses by name, ``total`` among them; progress in [0, 1] is the share of the run that is done."""
        model, config, now = self.model, self.config, weights_at(progress, self.config)
        valid, heard, seen = batch.valid, batch.audio_present, batch.video_present
        has_audio, has_video = heard.any(1), seen.any(1)
        audio, audio_head = model.encode_audio(batch.audio, heard, valid, batch.mel_keep)
        video, video_head = model.encode_video(batch.lips, seen, valid)
        fused = model.fuse(audio, video, heard, seen, valid, (audio_head, video_head))[0]
        losses = {
            "both": ctc(fused, batch),
            "audio_stream": ctc(audio_head, batch, has_audio),
            "audio_frame": frame_loss(self.audio_frames, audio, batch.frame_targets, heard),
        }
        weights = {"both": 1.0, "audio_stream": config.stream, "audio_frame": now.frame}
        if has_video.any():
            # Clips with both: lips alone or, less often, sound alone. Clips without video have heard it all above.
            rows = has_video.nonzero()[:, 0]
            lips_only = torch.rand(len(rows), device=rows.device) < config.video_view
            keep_audio = heard[rows] & ~lips_only[:, None]
            keep_video = seen[rows] & (lips_only | ~has_audio[rows])[:, None]
            one = model.fuse(
                audio[rows], video[rows], keep_audio, keep_video, valid[rows], (audio_head[rows], video_head[rows])
            )[0]
            part = batch.take(rows)
            losses["video"] = ctc(one, part, keep_video.any(1))
            losses["audio"] = ctc(one, part, keep_audio.any(1))
            losses["video_stream"] = ctc(video_head, batch, has_video)
            losses["video_frame"] = frame_loss(self.video_frames, video, batch.frame_targets, seen)
            weights |= {"video": 1.0, "audio": 0.5, "video_stream": config.stream, "video_frame": now.frame}
            if now.distil > 0:
                # The student sees what is in front of it; frames taken away are not its fault.
                teacher, clear = self._teacher(part), part.clean_present.any(1)[:, None] & seen[rows]
                tokens = part.target_lens.sum()
                losses["distil"] = distil(one, teacher, clear & keep_video, tokens)
                losses["distil"] = losses["distil"] + distil(video_head[rows], teacher, clear, tokens)
                weights["distil"] = now.distil
        losses["total"] = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return losses

    @torch.no_grad()
    def _teacher(self, batch: Batch) -> Tensor:
        """What the audio stream makes of the clean sound, (B, T, U) log-probabilities."""
        stream = self.model.audio_stream
        training = stream.training
        stream.eval()
        try:
            return self.model.encode_audio(batch.clean_audio, batch.clean_present, batch.valid)[1]
        finally:
            stream.train(training)
