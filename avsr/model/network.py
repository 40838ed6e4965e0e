"""The whole network: two streams at 25 Hz that attend to each other, fuse, and end in CTC.

Dimensions
    B  clips in a batch            N  audio samples, 640 T
    T  video frames, 25 a second   S  mel frames, 4 T
    M  mel bins                    H  side of a lip crop
    R  CTC outputs of a frame
    D  width of a block            U  vocabulary, blank first
    P  width of the shared space

What is missing is said by masks: ``audio_present`` and ``video_present`` (B, T). What stands in an
absent frame is overwritten before anything can look at it, so it cannot change an output. Frames
past a clip's length are absent in both and also hidden from attention and convolution, so a clip
alone and the same clip in a padded batch agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model.config import ModelConfig
from avsr.model.layers.blocks import ConformerBlock, stand_in
from avsr.model.layers.decoder import Decoder, DecoderConfig
from avsr.model.layers.frontends import AudioFrontend, VideoFrontend, WhisperFrontend, view_lips
from avsr.preprocessing.clip import CROP_SIZE


@dataclass
class Output:
    """What a forward pass gives; all log-probabilities are (B, R T, U) float32.

    Attributes:
        log_probs: of the fused recogniser.
        audio_log_probs: of the audio stream's own head.
        video_log_probs: of the video stream's own head.
        audio_weight: (B, T) in [0, 1], share of the fused representation taken from the audio
            stream; 0 where there is no sound, 1 where there is sound and no picture.
        lens: (B,) outputs that count, R for each valid frame.
        memory: (B, T, D), what the attention decoder reads; None where there is none.
    """

    log_probs: Tensor
    audio_log_probs: Tensor
    video_log_probs: Tensor
    audio_weight: Tensor
    lens: Tensor
    memory: Tensor | None = None


@dataclass
class Encoded:
    """The two streams of a batch, each encoded without the other.

    Attributes:
        audio: (B, T, D).
        video: (B, T, D).
        audio_log_probs: (B, R T, U) of the audio stream's own head.
        video_log_probs: (B, R T, U) of the video stream's own head.
        audio_present: (B, T) bool; past its end a clip has no sound.
        video_present: (B, T) bool, the same of its lips.
        valid: (B, T) bool, the frames that are the clip's.
    """

    audio: Tensor
    video: Tensor
    audio_log_probs: Tensor
    video_log_probs: Tensor
    audio_present: Tensor
    video_present: Tensor
    valid: Tensor


class Head(nn.Linear):
    """Frames to CTC log-probabilities, R of them for each.

    With letters for tokens, 25 outputs a second are too few for fast speech; more frames would cost
    more everywhere.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.tokens = len(config.tokens)
        super().__init__(config.dim, config.outputs_per_frame * self.tokens)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, R T, U)."""
        return (
            super()
            .forward(x)
            .float()
            .unflatten(-1, (-1, self.tokens))
            .flatten(1, 2)
            .log_softmax(-1)
        )


class Stream(nn.Module):
    """Blocks of one modality and its own CTC head (intermediate CTC, Lee & Watanabe 2021).

    With self-conditioning the head's posteriors are added back to the stream (Nozaki & Komatsu
    2021).
    """

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(layers))
        self.head = Head(config)
        self.feedback = (
            nn.Linear(self.head.out_features, config.dim) if config.self_conditioning else None
        )

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D), log-probabilities (B, R T, U)."""
        for block in self.blocks:
            x = block(x, valid)
        log_probs = self.head(x)
        if self.feedback is not None:
            # (B, R T, U) -> (B, T, R U)
            x = x + self.feedback(log_probs.exp().reshape(*x.shape[:2], -1))
        return x, log_probs


class Fusion(nn.Module):
    """Weighs the two streams frame by frame and adds them; a stream weighs nothing where it is
    absent."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.audio, self.video = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.weigh = nn.Linear(2 * dim, 2)
        # A faint vector would be blown up by the layer norms that follow, and its gradients with
        # it.
        self.nothing = stand_in(dim, std=0.5)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def weights(
        self, audio: Tensor, video: Tensor, audio_present: Tensor, video_present: Tensor
    ) -> Tensor:
        """(B, T, 2) shares of audio and video; both zero where neither is there."""
        present = torch.stack([audio_present, video_present], -1)
        heard = torch.cat(
            [audio * audio_present.unsqueeze(-1), video * video_present.unsqueeze(-1)], -1
        )
        logits = self.weigh(heard).float().masked_fill(~present, -1e4)
        return logits.softmax(-1) * present

    def forward(
        self, audio: Tensor, video: Tensor, audio_present: Tensor, video_present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Two streams (B, T, D) -> fused (B, T, D), weights (B, T, 2)."""
        weights = self.weights(audio, video, audio_present, video_present)
        fused = weights[..., :1] * self.audio(audio) + weights[..., 1:] * self.video(video)
        nothing = ~(audio_present | video_present).unsqueeze(-1)
        return fused + self.nothing * nothing, weights


class AVSR(nn.Module):
    """Dual-stream audio-visual CTC recogniser. One forward pass serves every mix of modalities; the
    masks decide."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # How many blocks a stream has to itself, attends to the other in, and shares with it.
        own, crossed, joint = config.stream_layers, config.cross_layers, config.joint_layers
        if config.fusion == "early":
            own, crossed, joint = 0, 0, own + crossed + joint
        elif config.fusion == "late":
            own, crossed, joint = own + crossed + joint, 0, 0
        self.audio_frontend: AudioFrontend | WhisperFrontend
        if config.audio_frontend == "whisper":
            self.audio_frontend = WhisperFrontend(config)
        else:
            self.audio_frontend = AudioFrontend(config.n_mels, config.audio_width, config.dim)
        self.video_frontend = VideoFrontend(config.video_width, config.dim)
        self.audio_stream = Stream(config, own)
        self.video_stream = Stream(config, own)
        self.audio_cross = nn.ModuleList(ConformerBlock(config, cross=True) for _ in range(crossed))
        self.video_cross = nn.ModuleList(ConformerBlock(config, cross=True) for _ in range(crossed))
        self.fusion = Fusion(config.dim)
        self.joint = nn.ModuleList(ConformerBlock(config) for _ in range(joint))
        self.head = Head(config)
        self.decoder: Decoder | None = None
        if config.decoder_layers:
            shape = DecoderConfig(
                width=config.dim,
                heads=config.heads,
                feed_forward=config.decoder_ff,
                layers=config.decoder_layers,
            )
            # one token more than CTC has, behind all others: it begins and ends a text
            self.decoder = Decoder(shape, len(config.tokens) + 1)
        self.audio_space = nn.Linear(config.dim, config.space_dim)
        self.video_space = nn.Linear(config.dim, config.space_dim)

    def encode_audio(
        self,
        audio: Tensor,
        present: Tensor,
        valid: Tensor,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Audio (B, N) -> stream (B, T, D) and its head's log-probabilities (B, R T, U).

        ``change`` is what training does to the log-mel (B, S, M).
        """
        # power spectra need the range of float32
        with torch.autocast(audio.device.type, enabled=False):
            mel = self.audio_frontend.mel(audio.float(), present)
        if change is not None:
            mel = change(mel)
        return self.audio_stream(self.audio_frontend(mel, present, valid), valid)

    def encode_video(
        self, lips: Tensor, present: Tensor, valid: Tensor, viewed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Lips (B, T, 96, 96), or already (B, T, crop, crop), -> stream (B, T, D) and
        log-probabilities (B, R T, U).

        ``viewed`` says that they are what the network sees, which a crop of 96 cannot tell from
        stored ones.
        """
        if lips.shape[-1] == CROP_SIZE and not viewed:
            lips = view_lips(lips, self.config.crop)
        return self.video_stream(self.video_frontend(lips.float(), present), valid)

    def encode(
        self,
        audio: Tensor,
        lips: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        lens: Tensor,
    ) -> Encoded:
        """Both streams of a batch, as `forward` takes it, each on its own."""
        valid = torch.arange(lips.shape[1], device=lens.device) < lens[:, None]
        audio_present, video_present = audio_present & valid, video_present & valid
        heard, audio_log_probs = self.encode_audio(audio, audio_present, valid)
        seen, video_log_probs = self.encode_video(lips, video_present, valid)
        return Encoded(
            heard, seen, audio_log_probs, video_log_probs, audio_present, video_present, valid
        )

    def share(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded streams (B, T, D) -> unit vectors (B, T, P) of one space: sound and lips of one
        moment lie close."""
        return F.normalize(self.audio_space(audio), dim=-1), F.normalize(
            self.video_space(video), dim=-1
        )

    def fuse(
        self,
        audio: Tensor,
        video: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        valid: Tensor,
        heads: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Encoded streams -> fused log-probabilities (B, R T, U) and audio weight (B, T)."""
        log_probs, weight, _ = self.fuse_and_remember(
            audio, video, audio_present, video_present, valid, heads
        )
        return log_probs, weight

    def fuse_and_remember(
        self,
        audio: Tensor,
        video: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        valid: Tensor,
        heads: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As `fuse`, and what the decoder reads, (B, T, D); None where nothing is fused.

        A whole modality may be dropped here by an all-false mask: the result is the same as if it
        had never been there, so one encoding serves several masks.
        """
        audio = audio * audio_present.any(1)[:, None, None]
        video = video * video_present.any(1)[:, None, None]
        for audio_block, video_block in zip(self.audio_cross, self.video_cross, strict=True):
            audio, video = (
                audio_block(audio, valid, video, video_present),
                video_block(video, valid, audio, audio_present),
            )
        if self.config.fusion == "late":
            weights = self.fusion.weights(audio, video, audio_present, video_present)
            mixed = self._mixed(heads, weights, audio_present, video_present)
            return mixed, weights[..., 0], None
        x, weights = self.fusion(audio, video, audio_present, video_present)
        for block in self.joint:
            x = block(x, valid)
        return self.head(x), weights[..., 0], x

    def _mixed(
        self,
        heads: tuple[Tensor, Tensor],
        weights: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
    ) -> Tensor:
        """Late fusion: what the heads (B, R T, U) say, mixed by weights (B, T, 2)."""
        # A frame with nothing in it goes by the streams that the clip does have: (B, 1, 2)
        there = torch.stack([audio_present.any(1), video_present.any(1)], -1).unsqueeze(1)
        something = (audio_present | video_present).unsqueeze(-1)
        shares = torch.where(something, weights, there.to(weights.dtype))
        absent = (shares == 0) & there.any(-1, keepdim=True)
        log_shares = shares.clamp_min(1e-6).log().masked_fill(absent, -torch.inf)
        log_shares = log_shares.repeat_interleave(self.config.outputs_per_frame, 1)  # (B, R T, 2)
        mixed = [head + log_shares[..., [i]] for i, head in enumerate(heads)]
        return torch.stack(mixed).logsumexp(0).log_softmax(-1)

    def forward(
        self,
        audio: Tensor,
        lips: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        lens: Tensor,
    ) -> Output:
        """Recognises a batch.

        Args:
            audio: (B, N) float32 in [-1, 1], N = 640 T.
            lips: (B, T, 96, 96) uint8, or (B, T, crop, crop) float in grey levels.
            audio_present: (B, T) bool.
            video_present: (B, T) bool.
            lens: (B,) int64 valid frames of each clip.
        """
        streams = self.encode(audio, lips, audio_present, video_present, lens)
        log_probs, weight, memory = self.fuse_and_remember(
            streams.audio,
            streams.video,
            streams.audio_present,
            streams.video_present,
            streams.valid,
            (streams.audio_log_probs, streams.video_log_probs),
        )
        return Output(
            log_probs,
            streams.audio_log_probs,
            streams.video_log_probs,
            weight,
            lens * self.config.outputs_per_frame,
            memory if self.decoder is not None else None,
        )
