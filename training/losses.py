"""What training minimises: CTC for every way of using the model, frame targets, a teacher with
clean sound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model.layers.decoder import Decoder
from avsr.model.network import AVSR
from avsr.model.tokenizer import Tokenizer
from avsr.training.config import LossConfig
from avsr.training.contrastive import contrastive_loss, pooled, processes
from avsr.training.data.augmentation.augment import warp_mel
from avsr.training.data.augmentation.pictures import change_pictures
from avsr.training.data.batch import Batch
from avsr.training.mwer import expected_word_errors

SMOOTHING = 0.1  # of the decoder's targets (Szegedy et al. 2016), as ESPnet's recipes have it
UNKNOWN = -1  # frame target where the alignment says nothing


def ctc(log_probs: Tensor, batch: Batch, keep: Tensor | None = None) -> Tensor:
    """CTC loss per target token (Graves et al. 2006).

    Args:
        log_probs: (B, R T, U).
        batch: gives lengths and targets; a clip without words asks for blanks only.
        keep: (B,) bool, clips that count; all by default.
    """
    losses = ctc_of_clips(log_probs, batch)
    return per_token(
        losses, batch, torch.ones_like(losses, dtype=torch.bool) if keep is None else keep
    )


def ctc_of_clips(log_probs: Tensor, batch: Batch) -> Tensor:
    """(B,) CTC losses of log-probabilities (B, R T, U)."""
    return F.ctc_loss(
        log_probs.transpose(0, 1).float(),  # (B, R T, U) -> (R T, B, U)
        batch.targets,
        batch.on_host.lens * (log_probs.shape[1] // batch.lips.shape[1]),
        batch.on_host.target_lens,
        reduction="none",
        # too short for its text: such clips are dropped and named when the data is read
        zero_infinity=True,
    )


def per_token(losses: Tensor, batch: Batch, keep: Tensor) -> Tensor:
    """The mean of losses (B,) over the tokens of the clips that count, (B,) bool."""
    return (losses * keep).sum() / (batch.tokens * keep).sum().clamp_min(1)


def attention_loss(
    decoder: Decoder,
    memory: Tensor,
    batch: Batch,
    dropout: float = 0.0,
    output: str = "output_layer",
) -> Tensor:
    """Cross-entropy of each token, and of the end, given those before it, per token.

    Args:
        decoder: of U + 1 tokens, the last of which begins and ends a text.
        memory: (B, T, D) that it reads.
        batch: gives the texts.
        dropout: of the decoder.
        output: which of its output layers.
    """
    end, count = decoder.vocabulary - 1, batch.targets.shape[1]
    places = torch.arange(count + 1, device=memory.device)
    said = F.pad(batch.targets, (0, 1))
    inside = places < batch.target_lens[:, None]  # (B, L + 1)
    following = said.masked_fill(~inside, UNKNOWN).masked_fill(
        places == batch.target_lens[:, None], end
    )
    given = F.pad(batch.targets, (1, 0), value=end).masked_fill(
        places > batch.target_lens[:, None], 0
    )
    logits = decoder.get_submodule(output)(decoder(given, memory, batch.valid, dropout))
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        following.flatten(),
        ignore_index=UNKNOWN,
        label_smoothing=SMOOTHING,
    )


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
    total = F.cross_entropy(
        logits, targets, ignore_index=UNKNOWN, label_smoothing=0.1, reduction="sum"
    )
    return total / (targets != UNKNOWN).sum().clamp_min(1)


def blank_loss(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-probability of the blank where the alignment has no word within two frames.

    CTC alone does not mind where a letter stands: the first and the last of a clip drift to its
    ends, which spoils word times and puts words into silence.

    Args:
        log_probs: (B, R T, U).
        targets: (B, T) token ids, 0 outside words, -1 where unknown.
    """
    quiet = is_blank(targets)
    return -(by_frame(log_probs[..., 0], quiet) * quiet).sum() / quiet.sum().clamp_min(1)


def is_blank(targets: Tensor) -> Tensor:
    """(B, T) bool, frames of (B, T) token ids in which the alignment has no word within two
    frames."""
    near_word = F.max_pool1d((targets > 0).float().unsqueeze(1), 5, 1, 2).squeeze(1) > 0
    return (targets == 0) & ~near_word


def by_frame(values: Tensor, frames: Tensor) -> Tensor:
    """Means (B, T) of values (B, R T) of outputs, for frames (B, T)."""
    return values.unflatten(1, (frames.shape[1], -1)).mean(-1)


def distil(student: Tensor, teacher: Tensor, counts: Tensor, tokens: Tensor) -> Tensor:
    """KL divergence of the student's posteriors from the teacher's, frame by frame, per target
    token.

    Args:
        student: (B, R T, U) log-probabilities.
        teacher: (B, R T, U) log-probabilities, without gradient.
        counts: (B, T) bool, frames that count.
        tokens: number of target tokens in the clips that count.
    """
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return (by_frame(divergence, counts) * counts).sum() / tokens.clamp_min(1)


def fitting_lips(batch: Batch) -> Tensor:
    """(B, T) bool, lips that go with the sound; others teach the fused part whom to believe, but
    nothing to the visual encoder."""
    return batch.video_present & batch.synchronised[:, None]


def clear_sound(batch: Batch) -> Tensor:
    """(B, T) bool, sound that tells who is meant: no other voice is the louder one."""
    return batch.audio_present & ~batch.lips_needed[:, None]


def shared_frames(batch: Batch) -> Tensor:
    """(B, T) bool, where sound and lips show the same word; closed lips look alike at any
    moment."""
    return clear_sound(batch) & fitting_lips(batch) & (batch.frame_targets != 0)


def shown(batch: Batch, draw: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Sound and lips (B, T) that the fused part gets: of some clips only one of them (modality
    dropout).

    Args:
        batch: of clips, on any device.
        draw: (B,) in [0, 1).
        config: how often.
    """
    heard, seen = batch.audio_present, batch.video_present
    both = heard.any(1) & seen.any(1)
    lips_only = both & batch.synchronised & (draw < config.lips_only)
    sound_only = both & ~batch.lips_needed & (draw > 1 - config.sound_only)
    return heard & ~lips_only[:, None], seen & ~sound_only[:, None]


def by_modality(heard: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Clips (B,) bool that are shown with lips alone, with sound alone, and the others."""
    audio, video = heard.any(1), seen.any(1)
    return {"both": audio == video, "video": video & ~audio, "audio": audio & ~video}


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
    """The model together with the heads that only training needs; its forward pass gives the losses
    of a batch.

    At first the streams learn alone, each from its own CTC head and the frame targets: while they
    know nothing, what comes back through the fused part is mostly noise, and drowns what the
    streams could learn directly. Then they are fused, and clip by clip it is drawn whether the
    fused part gets both or only one of them (modality dropout); the streams themselves learn from
    every clip that tells them something.
    """

    def __init__(self, model: AVSR, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.tokenizer = Tokenizer.of(model.config.tokens, model.config.piece_scores)
        vocabulary = len(model.config.tokens)
        self.audio_frames = nn.Linear(model.config.dim, vocabulary)
        self.video_frames = nn.Linear(model.config.dim, vocabulary)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Losses of the clips of all processes by name; progress in [0, 1] is the share of the run
        that is done.

        Among them is ``total``, the only one to be minimised.
        """
        model, now, valid = self.model, weights_at(progress, self.config), batch.valid
        heard, seen = batch.audio_present, batch.video_present
        fitting, clear = fitting_lips(batch), clear_sound(batch)
        lip_targets = batch.frame_targets.masked_fill(~batch.synchronised[:, None], UNKNOWN)
        sound_targets = batch.frame_targets.masked_fill(batch.lips_needed[:, None], UNKNOWN)
        has_audio, has_video = clear.any(1), fitting.any(1)
        audio, audio_head = model.encode_audio(
            batch.audio, heard, valid, lambda mel: self._changed_mel(mel, batch)
        )
        lips = change_pictures(batch.lips, seen, batch.looks, model.config.crop)
        video, video_head = model.encode_video(lips, seen, valid, viewed=True)
        losses = {
            "audio_stream": ctc(audio_head, batch, has_audio),
            "audio_frame": frame_loss(self.audio_frames, audio, sound_targets, clear),
            "audio_blank": blank_loss(audio_head, sound_targets),
            "video_stream": ctc(video_head, batch, has_video),
            "video_frame": frame_loss(self.video_frames, video, lip_targets, fitting),
            "video_blank": blank_loss(video_head, lip_targets),
        }
        counts = {
            "audio_stream": (batch.tokens * has_audio).sum(),
            "audio_frame": ((sound_targets != UNKNOWN) & clear).sum(),
            "audio_blank": is_blank(sound_targets).sum(),
            "video_stream": (batch.tokens * has_video).sum(),
            "video_frame": ((lip_targets != UNKNOWN) & fitting).sum(),
            "video_blank": is_blank(lip_targets).sum(),
        }
        # What several processes do together, each does whatever its clips are.
        together = processes() > 1
        if self.config.contrastive > 0 and (together or shared_frames(batch.on_host).any()):
            shared = shared_frames(batch)
            losses |= contrastive_loss(*model.share(audio, video), shared, shared)
            counts |= {"infonce_frames": shared.sum(), "infonce_clips": shared.new_ones(()).float()}
        teacher = None
        if now.distil > 0 and (
            together or fitting_lips(batch.on_host).any() or self.config.teacher == "full"
        ):
            teacher = self._teacher(batch, video, video_head, fitting, progress)
        if teacher is not None:
            frames, counts["distil"] = self._taught(batch, fitting)
            losses["distil"] = distil(video_head, teacher, frames, counts["distil"])
        if progress >= self.config.streams_first:
            fused, own = self._fused(batch, (audio, video), (audio_head, video_head), teacher)
            losses, counts = losses | fused, counts | own
        weights = self._weights(now)
        unknown = losses.keys() - weights.keys()
        if unknown:
            raise ValueError(
                f"no weight for {', '.join(sorted(unknown))}: losses are {', '.join(weights)}"
            )
        losses = pooled(losses, counts, tuple(weights))
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return {**losses, "total": total}

    def _weights(self, now: Weights) -> dict[str, float]:
        """The weight of every loss that there is."""
        return {
            **dict.fromkeys(("both", "video", "audio"), 0.0),  # parts of "fused", for the log
            "fused": 2.0,
            **dict.fromkeys(("infonce_frames", "infonce_clips"), self.config.contrastive),
            **dict.fromkeys(("audio_blank", "video_blank", "blank_fused"), self.config.blank),
            **dict.fromkeys(("audio_stream", "video_stream"), now.stream),
            **dict.fromkeys(("audio_frame", "video_frame"), now.frame),
            **dict.fromkeys(("distil", "distil_fused"), now.distil),
            "mwer": self.config.mwer,
            "attention": self.config.attention,
        }

    def _fused(
        self,
        batch: Batch,
        streams: tuple[Tensor, Tensor],
        heads: tuple[Tensor, Tensor],
        teacher: Tensor | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the fused output and what each is a mean over.

        Each clip has both modalities, lips only or sound only; drawn anew each time.
        """
        config, draw = self.config, torch.rand(len(batch.ids))
        heard, seen = shown(batch, draw.to(batch.lens.device, non_blocking=True), config)
        log_probs, _, memory = self.model.fuse_and_remember(
            *streams, heard, seen, batch.valid, heads
        )
        on_host, groups = by_modality(*shown(batch.on_host, draw, config)), by_modality(heard, seen)
        of_clips, tokens = ctc_of_clips(log_probs, batch), batch.tokens.sum()
        losses, counts = {"fused": of_clips.sum() / tokens}, {}
        for name, group in groups.items():
            if on_host[name].any():
                losses[name] = per_token(of_clips, batch, group)
                counts[name] = (batch.tokens * group).sum()
        losses["blank_fused"] = blank_loss(log_probs, batch.frame_targets)
        counts |= {"fused": tokens, "blank_fused": is_blank(batch.frame_targets).sum()}
        if self.model.decoder is not None and memory is not None and config.attention > 0:
            dropout = self.model.config.dropout if self.training else 0.0
            losses["attention"] = attention_loss(self.model.decoder, memory, batch, dropout)
            counts["attention"] = (batch.target_lens + 1).sum()
        if config.mwer > 0:
            lens, texts = batch.lens * self.model.config.outputs_per_frame, self._texts(batch)
            losses["mwer"] = expected_word_errors(log_probs, lens, texts, self.tokenizer)
            counts["mwer"] = tokens.new_tensor(max(1, sum(len(text.split()) for text in texts)))
        if teacher is not None:
            # A span may have taken all the sound from lips out of step.
            alone = (groups["video"] & batch.synchronised)[:, None]
            taught = (
                seen & alone
                if config.teacher == "audio"
                else (heard | seen) & batch.synchronised[:, None]
            )
            frames, counts["distil_fused"] = self._taught(batch, taught)
            losses["distil_fused"] = distil(log_probs, teacher, frames, counts["distil_fused"])
        return losses, counts

    def _changed_mel(self, mel: Tensor, batch: Batch) -> Tensor:
        """The log-mel (B, S, M) of other vocal tracts, absent where it is masked (SpecAugment, Park
        et al. 2019)."""
        return warp_mel(mel, batch.formants).masked_fill(
            ~batch.mel_keep, self.model.audio_frontend.mel.absent
        )

    def _texts(self, batch: Batch) -> list[str]:
        """What is said in each clip."""
        rows = zip(batch.on_host.targets.tolist(), batch.on_host.target_lens.tolist(), strict=True)
        return [self.tokenizer.decode(row[:length]) for row, length in rows]

    @staticmethod
    def _taught(batch: Batch, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T) where the teacher heard and the student has something; the target tokens
        they stand for."""
        frames = batch.clean_present.any(1)[:, None] & seen
        return frames, (batch.target_lens * frames.any(1)).sum()

    @torch.no_grad()
    def _teacher(
        self, batch: Batch, video: Tensor, head: Tensor, seen: Tensor, progress: float
    ) -> Tensor:
        """What the audio stream, or all of the model, makes of the clean sound: (B, R T, U)
        log-probabilities."""
        model = self.model
        full = self.config.teacher == "full" and progress >= self.config.streams_first
        # frozen parts are not all alike
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            audio, audio_head = model.encode_audio(
                batch.clean_audio, batch.clean_present, batch.valid
            )
            if not full:
                return audio_head
            return model.fuse(
                audio, video, batch.clean_present, seen, batch.valid, (audio_head, head)
            )[0]
        finally:
            for module, mode in modes:
                module.training = mode
