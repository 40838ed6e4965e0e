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
    stream: float


def weights_at(progress: float, config: LossConfig) -> Weights:
    """Frame targets fade over the first half; the teacher comes in once it knows something."""
    fade = min(1.0, 2 * progress)
    ready = min(1.0, max(0.0, (progress - config.distil_start) / 0.05))
    return Weights(
        frame=config.frame + (config.frame_end - config.frame) * fade,
        distil=config.distil * ready,
        stream=1.0 if progress < config.streams_first else config.stream,
    )


class Objective(nn.Module):
    """The model together with the heads that only training needs; its forward pass gives the losses of a batch.

    At first the streams learn alone, each from its own CTC head and the frame targets: while they know nothing, what
    comes back through the fused part is mostly noise, and drowns what the streams could learn directly. Then each
    stream is still encoded once, and the fused part runs on two views of the batch: both modalities with whatever the
    augmentation took away, and only one of them, drawn clip by clip. So one step trains every way of using the model.
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
        model, now, valid = self.model, weights_at(progress, self.config), batch.valid
        heard, seen = batch.audio_present, batch.video_present
        has_audio, has_video = heard.any(1), seen.any(1)
        audio, audio_head = model.encode_audio(batch.audio, heard, valid, batch.mel_keep)
        video, video_head = model.encode_video(batch.lips, seen, valid)
        losses = {
            "audio_stream": ctc(audio_head, batch, has_audio),
            "audio_frame": frame_loss(self.audio_frames, audio, batch.frame_targets, heard),
            "video_stream": ctc(video_head, batch, has_video),
            "video_frame": frame_loss(self.video_frames, video, batch.frame_targets, seen),
        }
        teacher = self._teacher(batch) if now.distil > 0 and has_video.any() else None
        if teacher is not None:
            losses["distil"] = distil(video_head, teacher, *self._taught(batch, seen))
        if progress >= self.config.streams_first:
            losses |= self._fused(batch, (audio, video), (audio_head, video_head), teacher)
        weights = {
            **dict.fromkeys(("audio_stream", "video_stream"), now.stream),
            **dict.fromkeys(("audio_frame", "video_frame"), now.frame),
            **dict.fromkeys(("distil", "distil_fused"), now.distil),
        }
        losses["total"] = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        return losses

    def _fused(
        self, batch: Batch, streams: tuple[Tensor, Tensor], heads: tuple[Tensor, Tensor], teacher: Tensor | None
    ) -> dict[str, Tensor]:
        """Losses of the fused output on both views."""
        model, valid, heard, seen = self.model, batch.valid, batch.audio_present, batch.video_present
        losses = {"both": ctc(model.fuse(*streams, heard, seen, valid, heads)[0], batch)}
        # Clips with both: lips alone or sound alone. Clips without video have heard it all above.
        rows = seen.any(1).nonzero()[:, 0]
        if len(rows):
            part = batch.take(rows)
            lips_only = torch.rand(len(rows), device=rows.device) < self.config.video_view
            keep_audio = heard[rows] & ~lips_only[:, None]
            keep_video = seen[rows] & (lips_only | ~heard[rows].any(1))[:, None]
            audio, video, audio_head, video_head = (x[rows] for x in (*streams, *heads))
            one = model.fuse(audio, video, keep_audio, keep_video, part.valid, (audio_head, video_head))[0]
            losses["audio"] = ctc(one, part, keep_audio.any(1))
            losses["video"] = ctc(one, part, keep_video.any(1))
            if teacher is not None:
                losses["distil_fused"] = distil(one, teacher[rows], *self._taught(part, keep_video))
        return losses

    @staticmethod
    def _taught(batch: Batch, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T) where the teacher heard and the student sees, and how many target tokens they stand for."""
        frames = batch.clean_present.any(1)[:, None] & seen
        return frames, (batch.target_lens * frames.any(1)).sum()

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
