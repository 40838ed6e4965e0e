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

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model.config import HEAD_DIM, ModelConfig
from avsr.preprocessing.audio import LogMel, WhisperLogMel
from avsr.preprocessing.clip import CROP_SIZE

VIEW = 88  # pixels of the stored crop that the network sees, whatever its own resolution
STEM_FRAMES = 5  # frames the spatio-temporal stem spans
WHISPER_POSITIONS = 1500  # 30 s at 50 Hz


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
    """

    log_probs: Tensor
    audio_log_probs: Tensor
    video_log_probs: Tensor
    audio_weight: Tensor
    lens: Tensor


def view_grid(size: int, affine: Tensor | None = None) -> Tensor:
    """Where in a stored crop each pixel of the view is read, (B, size, size, 2) in [-1, 1].

    Args:
        size: side of the view, pixels.
        affine: (B, 2, 3) maps output to input coordinates; by default the middle 88 pixels, B = 1.
    """
    if affine is None:
        affine = torch.eye(2, 3).mul(VIEW / CROP_SIZE)[None]
    return F.affine_grid(affine, [len(affine), 1, size, size], align_corners=False)


def view_lips(lips: Tensor, size: int, grid: Tensor | None = None) -> Tensor:
    """Resamples stored crops to what the network sees.

    Args:
        lips: (B, T, 96, 96) uint8 or float.
        size: side of the result, pixels.
        grid: (B, size, size, 2), see ``view_grid``; by default the middle 88 pixels.

    Returns:
        (B, T, size, size) float32.
    """
    if grid is None:
        grid = view_grid(size).to(lips.device).expand(len(lips), -1, -1, -1)
    # All frames of a clip share one grid, so frames can pose as channels.
    return F.grid_sample(
        lips.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _stand_in(dim: int, std: float = 1.0) -> nn.Parameter:
    """(dim,) normally distributed, what is learned for a frame in which there is nothing.

    On the meta device, where a model's shapes are made before its weights are filled in, nothing is
    drawn: there a normal distribution would import torch._dynamo, which takes longer than all the
    rest of loading a model.
    """
    values = torch.empty(dim)
    return nn.Parameter(values if values.is_meta else nn.init.normal_(values, std=std))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class VideoFrontend(nn.Module):
    """Lip crops to one vector a frame: spatio-temporal stem, then ResNet-18 (Stafylakis &
    Tzimiropoulos 2017).

    The 3-D stem is written as a 2-D convolution over the five frames around each frame: the same
    arithmetic, three times as fast on a CPU, and absent frames can be left out of the batch
    altogether.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(STEM_FRAMES, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(ResidualBlock(i, o, 1 if n == 0 else 2), ResidualBlock(o, o, 1))
                for n, (i, o) in enumerate(itertools.pairwise(widths))
            )
        )
        # Unit scale matters: blocks add to what they get, and would drown a faint embedding in
        # their own noise.
        self.project = nn.Sequential(nn.Linear(widths[-1], dim), nn.LayerNorm(dim))
        self.absent = _stand_in(dim)  # of the scale of what it stands for

    def forward(self, lips: Tensor, present: Tensor) -> Tensor:
        """(B, T, H, H) float, (B, T) bool -> (B, T, D); absent frames hold one learned vector."""
        x = standardise(lips, present)
        # (B, T, H, H, 5)
        x = F.pad(x, (0, 0, 0, 0, STEM_FRAMES // 2, STEM_FRAMES // 2)).unfold(1, STEM_FRAMES, 1)
        # Only frames that are there cost anything. The five frames are already last in memory:
        # channels_last for free.
        x = x[present].permute(0, 3, 1, 2)  # (frames, 5, H, H)
        out = self.absent.expand(*present.shape, -1)
        if len(x) == 0:
            return out
        x = self.stages(self.stem(x.contiguous(memory_format=torch.channels_last))).mean((2, 3))
        features = self.project(x)
        return out.to(features.dtype).masked_scatter(present.unsqueeze(-1), features)


def standardise(lips: Tensor, present: Tensor) -> Tensor:
    """Zero mean and unit variance over each clip's present frames (brightness and contrast go);
    absent frames 0."""
    mask = present[:, :, None, None]
    lips = lips.masked_fill(~mask, 0)
    count = (mask.sum((1, 2, 3), keepdim=True) * lips.shape[-1] ** 2).clamp_min(1)
    mean = lips.sum((1, 2, 3), keepdim=True) / count
    lips = (lips - mean).masked_fill(~mask, 0)
    std = (lips.square().sum((1, 2, 3), keepdim=True) / count).sqrt()
    return lips / std.clamp_min(4.0)  # grey levels; a black picture stays black


class AudioFrontend(nn.Module):
    """Log-mel at 100 Hz to vectors at 25 Hz by two strided convolutions."""

    def __init__(self, n_mels: int, width: int, dim: int) -> None:
        super().__init__()
        self.mel = LogMel(n_mels)
        self.conv1 = nn.Conv2d(1, width, 3, 2, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 2, 1)
        bins = ((n_mels + 1) // 2 + 1) // 2
        self.project = nn.Sequential(nn.Linear(width * bins, dim), nn.LayerNorm(dim))
        self.absent = _stand_in(dim)  # of the scale of what it stands for

    def forward(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """(B, S, M), (B, T) bool, (B, T) bool -> (B, T, D); absent frames hold one learned
        vector."""
        x = F.relu(self.conv1(mel.unsqueeze(1)))  # (B, C, 2T, M/2)
        # what lies past the end must not leak back in
        x = x * valid.repeat_interleave(2, 1)[:, None, :, None]
        x = F.relu(self.conv2(x))  # (B, C, T, M/4)
        x = self.project(x.transpose(1, 2).flatten(2))
        return torch.where(present.unsqueeze(-1), x, self.absent.to(x.dtype))


def rotary(frames: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, head_dim) of rotary position embedding (Su et al. 2021)."""
    rates = 1000.0 ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.cat([angles.cos(), angles.cos()], -1), torch.cat([angles.sin(), angles.sin()], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(B, heads, T, E) queries over S keys where mask (B, 1, 1, S) -> (B, heads, T, E); no dropout
    inside.

    On a CPU the backward pass of the fused kernel took a fifth of a training step, so there it is
    written out.
    """
    if not (query.requires_grad and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -1e9).softmax(-1).to(value.dtype) @ value


class Attention(nn.Module):
    """Multi-head attention with rotary positions, of a stream to itself or to the other stream.

    One extra key of zeros with a value of zeros is always there, so that looking at a stream that
    is wholly absent gives zero instead of NaN, and a frame is free to take nothing. ``plain``
    attention has neither; it must have something to look at.
    """

    def __init__(self, dim: int, heads: int, plain: bool = False) -> None:
        super().__init__()
        self.heads, self.plain = heads, plain
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """(B, T, D) queries over (B, T, D) source where source_mask (B, T) -> (B, T, D)."""
        batch, frames, dim = x.shape
        query, key, value = (
            # (B, T, D) -> (B, heads, T, D / heads)
            y.view(batch, frames, self.heads, -1).transpose(1, 2)
            for y in (self.query(x), *self.key_value(source).chunk(2, -1))
        )
        mask = source_mask
        if not self.plain:
            cos, sin = (y.to(query.dtype) for y in rotary(frames, dim // self.heads, x.device))
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
            key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
            mask = F.pad(mask, (0, 1), value=True)
        y = attend(query, key, value, mask[:, None, None])
        return self.out(y.transpose(1, 2).reshape(batch, frames, dim))


class FeedForward(nn.Sequential):
    def __init__(self, dim: int, mult: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * mult),
            nn.SiLU(),
            nn.Linear(dim * mult, dim),
            nn.Dropout(dropout),
        )

    @property
    def last(self) -> nn.Linear:
        """The linear map that ends the branch."""
        layer = self[-2]
        assert isinstance(layer, nn.Linear)
        return layer


class WhisperBlock(nn.Module):
    """Pre-norm Transformer block."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, dim // HEAD_DIM, plain=True)
        self.ff = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        y = self.attention_norm(x)
        x = x + self.attention(y, y, present)
        return x + self.ff(x)


class WhisperEncoder(nn.Module):
    """Whisper's encoder (Radford et al. 2022): log-mel at 100 Hz to vectors at 50 Hz. Looks at
    present frames alone.

    ``avsr.training.tools.whisper`` fills in Whisper's own weights.
    """

    def __init__(self, n_mels: int, width: int, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, width, 3, 1, 1)
        self.conv2 = nn.Conv1d(width, width, 3, 2, 1)
        self.blocks = nn.ModuleList(WhisperBlock(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """(B, S, M), (B, T) bool, (B, T) bool -> (B, 2 T, width); each clip must have a present
        frame."""
        # what lies past the end must not leak back in
        kept = valid.repeat_interleave(4, 1).unsqueeze(1)
        x = F.gelu(self.conv1(mel.transpose(1, 2) * kept)) * kept  # (B, width, S)
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, 2 T, width)
        x = x + sinusoids(x.shape[1], x.shape[2], x.device)
        present = present.repeat_interleave(2, 1)
        for block in self.blocks:
            x = block(x, present)
        return self.norm(x)


def sinusoids(frames: int, width: int, device: torch.device) -> Tensor:
    """(frames, width) fixed positions (Vaswani et al. 2017), all sines before all cosines.

    They begin again after 30 s: Whisper's weights know no later ones, and 48 s at a stretch came
    out worse for it, 37 % wrong words for 6 % so.
    """
    rates = 10_000.0 ** (-torch.arange(width // 2, device=device) / (width // 2 - 1))
    angles = (torch.arange(frames, device=device) % WHISPER_POSITIONS)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


class WhisperFrontend(nn.Module):
    """Log-mel at 100 Hz to vectors at 25 Hz by a network of the shape of Whisper's encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mel = WhisperLogMel(config.n_mels)
        self.encoder = WhisperEncoder(config.n_mels, config.audio_width, config.audio_layers)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Sequential(
            nn.Linear(2 * config.audio_width, config.dim), nn.LayerNorm(config.dim)
        )
        self.absent = _stand_in(config.dim)  # of the scale of what it stands for

    def forward(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """(B, S, M), (B, T) bool, (B, T) bool -> (B, T, D); absent frames hold one learned
        vector."""
        out = self.absent.expand(*present.shape, -1)
        rows = present.any(1)  # only clips with sound cost anything
        if not rows.any():
            return out
        x = self.encoder(mel[rows], present[rows], valid[rows])
        # (B, 2 T, width) -> (B, T, 2 width)
        x = self.project(self.dropout(x).unflatten(1, (-1, 2)).flatten(2))
        return out.to(x.dtype).masked_scatter(present.unsqueeze(-1), x[present[rows]])


class Convolution(nn.Module):
    """Gated pointwise, depthwise over time, pointwise; layer norm, so that no statistics cross
    clips."""

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = F.glu(self.expand(self.norm(x))).masked_fill(~valid.unsqueeze(-1), 0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
        return self.dropout(self.project(F.silu(self.inner_norm(x))))


class ConformerBlock(nn.Module):
    """Conformer block (Gulati et al. 2020); with ``cross`` also attention to the other stream,
    gated from zero."""

    def __init__(self, config: ModelConfig, cross: bool = False) -> None:
        super().__init__()
        dim, dropout = config.dim, config.dropout
        self.ff1 = FeedForward(dim, config.ff_mult, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, config.heads)
        self.convolution = Convolution(dim, config.conv_kernel, dropout)
        self.ff2 = FeedForward(dim, config.ff_mult, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.cross: Attention | None = None
        if cross:
            self.cross = Attention(dim, config.heads)
            self.cross_norm = nn.LayerNorm(dim)
            # tanh(0) = 0: at the start the streams ignore each other
            self.gate = nn.Parameter(torch.zeros(dim))
        # Each branch starts at zero: a block starts as a layer norm, and what lies above it learns
        # from the first step. (Measured on fixed streams, 80 steps of the fused part: CTC loss 0.32
        # a token, and 1.09 without.)
        for branch in (self.ff1.last, self.ff2.last, self.attention.out, self.convolution.project):
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)

    def forward(
        self,
        x: Tensor,
        valid: Tensor,
        other: Tensor | None = None,
        other_present: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); other (B, T, D) is looked at only where other_present (B, T)."""
        x = x + 0.5 * self.ff1(x)
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, valid))
        if self.cross is not None and other is not None and other_present is not None:
            x = x + self.gate.tanh() * self.dropout(
                self.cross(self.cross_norm(x), other, other_present)
            )
        x = x + self.convolution(x, valid)
        x = x + 0.5 * self.ff2(x)
        return self.norm(x)


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
        self.nothing = _stand_in(dim, std=0.5)
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
        separate = {
            "cross": config.stream_layers,
            "early": 0,
            "late": config.stream_layers + config.cross_layers,
        }
        joint = config.joint_layers + (config.stream_layers + config.cross_layers) * (
            config.fusion == "early"
        )
        if config.fusion == "late":
            separate["late"] += config.joint_layers
            joint = 0
        crossed = config.cross_layers if config.fusion == "cross" else 0
        self.audio_frontend: AudioFrontend | WhisperFrontend
        if config.audio_frontend == "whisper":
            self.audio_frontend = WhisperFrontend(config)
        else:
            self.audio_frontend = AudioFrontend(config.n_mels, config.audio_width, config.dim)
        self.video_frontend = VideoFrontend(config.video_width, config.dim)
        self.audio_stream = Stream(config, separate[config.fusion])
        self.video_stream = Stream(config, separate[config.fusion])
        self.audio_cross = nn.ModuleList(ConformerBlock(config, cross=True) for _ in range(crossed))
        self.video_cross = nn.ModuleList(ConformerBlock(config, cross=True) for _ in range(crossed))
        self.fusion = Fusion(config.dim)
        self.joint = nn.ModuleList(ConformerBlock(config) for _ in range(joint))
        self.head = Head(config)
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
        """Encoded streams -> fused log-probabilities (B, R T, U) and audio weight (B, T).

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
            # A frame with nothing in it goes by the streams that the clip does have.
            # (B, 1, 2)
            there = torch.stack([audio_present.any(1), video_present.any(1)], -1).unsqueeze(1)
            shares = torch.where(
                (audio_present | video_present).unsqueeze(-1), weights, there.to(weights.dtype)
            )
            absent = (shares == 0) & there.any(-1, keepdim=True)
            log_shares = shares.clamp_min(1e-6).log().masked_fill(absent, -torch.inf)
            # (B, R T, 2)
            log_shares = log_shares.repeat_interleave(self.config.outputs_per_frame, 1)
            mixed = torch.stack(
                [heads[0] + log_shares[..., :1], heads[1] + log_shares[..., 1:]]
            ).logsumexp(0)
            return mixed.log_softmax(-1), weights[..., 0]
        x, weights = self.fusion(audio, video, audio_present, video_present)
        for block in self.joint:
            x = block(x, valid)
        return self.head(x), weights[..., 0]

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
        valid = torch.arange(lips.shape[1], device=lens.device) < lens[:, None]
        audio_present, video_present = audio_present & valid, video_present & valid
        heard, audio_log_probs = self.encode_audio(audio, audio_present, valid)
        seen, video_log_probs = self.encode_video(lips, video_present, valid)
        log_probs, weight = self.fuse(
            heard, seen, audio_present, video_present, valid, (audio_log_probs, video_log_probs)
        )
        return Output(
            log_probs,
            audio_log_probs,
            video_log_probs,
            weight,
            lens * self.config.outputs_per_frame,
        )


@torch.no_grad()
def with_outputs(model: AVSR, per_frame: int) -> AVSR:
    """The same network with each output of a frame given several times: it says what it said, until
    it is trained on.

    Args:
        model: is left as it is.
        per_frame: R of the result, a multiple of the model's.
    """
    config = model.config
    wider = AVSR(config.model_copy(update={"outputs_per_frame": per_frame}))
    times, tokens = per_frame // config.outputs_per_frame, len(config.tokens)
    weights = model.state_dict()
    for name, value in weights.items():
        if name.endswith(("head.weight", "head.bias")):
            weights[name] = (
                value.unflatten(0, (-1, tokens)).repeat_interleave(times, 0).flatten(0, 1)
            )
        elif name.endswith("feedback.weight"):
            weights[name] = (
                value.unflatten(1, (-1, tokens)).repeat_interleave(times, 1).flatten(1, 2) / times
            )
    wider.load_state_dict(weights)
    return wider.train(model.training)


@torch.no_grad()
def with_tokens(model: AVSR, tokens: Sequence[str]) -> AVSR:
    """The same network with another vocabulary: what belongs to tokens that it had is kept, the
    rest starts anew.

    Args:
        model: is left as it is.
        tokens: strings of the result's vocabulary, the blank first.
    """
    old = model.config.tokens
    other = AVSR(model.config.model_copy(update={"tokens": tuple(tokens)}))
    places = {token: i for i, token in enumerate(tokens)}
    here = torch.tensor([i for i, token in enumerate(old) if token in places])
    there = torch.tensor([places[token] for token in old if token in places])
    weights = other.state_dict()
    for name, value in model.state_dict().items():
        if name.endswith(("head.weight", "head.bias")):
            weights[name].unflatten(0, (-1, len(tokens)))[:, there] = value.unflatten(
                0, (-1, len(old))
            )[:, here]
        elif name.endswith("feedback.weight"):
            weights[name].unflatten(1, (-1, len(tokens)))[..., there] = value.unflatten(
                1, (-1, len(old))
            )[..., here]
        else:
            weights[name] = value
    other.load_state_dict(weights)
    return other.train(model.training)
