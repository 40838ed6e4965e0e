"""From lip crops and log-mel to one vector a frame.

B  clips in a batch        T  frames, 25 a second        S  mel frames, 4 T
M  mel bins                H  side of a lip crop         D  width of a block
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsr.model.config import HEAD_DIM, ModelConfig
from avsr.model.layers.blocks import Attention, stand_in
from avsr.preprocessing.audio import LogMel, WhisperLogMel
from avsr.preprocessing.clip import CROP_SIZE

VIEW = 88  # pixels of the stored crop that the network sees, whatever its own resolution
STEM_FRAMES = 5  # frames the spatio-temporal stem spans
WHISPER_POSITIONS = 1500  # 30 s at 50 Hz
FEW_FRAMES = 100  # seen at a time where nothing is trained: more take memory and no less time
PLANS = ("cuda",)  # devices that take long over a new number of frames, see ``even``


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
        grid = view_grid(size).to(lips.device).expand(lips.shape[0], -1, -1, -1)
    # All frames of a clip share one grid, so frames can pose as channels.
    return F.grid_sample(
        lips.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


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

    Attributes:
        dense: absent frames are computed too, so that no shape depends on what is there; an
            exported graph needs that.
    """

    dense = False

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
        self.absent = stand_in(dim)  # of the scale of what it stands for

    def forward(self, lips: Tensor, present: Tensor) -> Tensor:
        """(B, T, H, H) float, (B, T) bool -> (B, T, D); absent frames hold one learned vector."""
        x = windows(standardise(lips, present))
        if self.dense:
            features = self.see(x.flatten(0, 1).permute(0, 3, 1, 2))
            return torch.where(
                present.unsqueeze(-1), features.unflatten(0, present.shape), self.absent
            )
        # Only frames that are there cost anything.
        places = present.flatten().nonzero().squeeze(1)  # waits for the device
        out, count = self.absent.expand(present.numel(), -1), len(places)
        if count == 0:
            return out.unflatten(0, present.shape)
        if x.device.type in PLANS:
            places = torch.cat([places, places[: even(count) - count]])
        x = x.flatten(0, 1)
        # normalised over the batch in training; else what a few frames take is enough memory
        few = len(places) if self.training or x.device.type in PLANS else FEW_FRAMES
        features = torch.cat([self.see(_pictures(x, part)) for part in places.split(few)])[:count]
        out = out.to(features.dtype).index_copy(0, places[:count], features)
        return out.unflatten(0, present.shape)

    def see(self, frames: Tensor) -> Tensor:
        """(frames, 5, H, H) -> (frames, D)."""
        return self.project(self.stages(self.stem(frames)).mean((2, 3)))


def _pictures(frames: Tensor, places: Tensor) -> Tensor:
    """(frames, H, H, 5) -> (places, 5, H, H)."""
    # the five are already last in memory: channels_last for free
    pictures = frames[places].permute(0, 3, 1, 2)
    return pictures.contiguous(memory_format=torch.channels_last)


def windows(lips: Tensor) -> Tensor:
    """(B, T, H, H) -> (B, T, H, H, 5): each frame with its neighbours, zeros past the ends."""
    return F.pad(lips, (0, 0, 0, 0, STEM_FRAMES // 2, STEM_FRAMES // 2)).unfold(1, STEM_FRAMES, 1)


def even(count: int) -> int:
    """The next of sixteen counts between one power of two and the next.

    On a GPU cuDNN plans every convolution anew for a number of frames that it has not met, forward
    and twice backward, at about a millisecond each. So the first frames are shown once more, until
    their number is one of a few.
    """
    step = max(1, 1 << count.bit_length() >> 5)
    return -(-count // step) * step


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
        self.absent = stand_in(dim)  # of the scale of what it stands for

    def forward(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """(B, S, M), (B, T) bool, (B, T) bool -> (B, T, D); absent frames hold one learned
        vector."""
        x = F.relu(self.conv1(mel.unsqueeze(1)))  # (B, C, 2T, M/2)
        # what lies past the end must not leak back in
        x = x * valid.repeat_interleave(2, 1)[:, None, :, None]
        x = F.relu(self.conv2(x))  # (B, C, T, M/4)
        x = self.project(x.transpose(1, 2).flatten(2))
        return torch.where(present.unsqueeze(-1), x, self.absent.to(x.dtype))


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
        return self.norm(self.after(len(self.blocks), mel, present, valid))

    def after(self, blocks: int, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """What so many blocks make of it; as `forward`, but not normalised."""
        # what lies past the end must not leak back in
        kept = valid.repeat_interleave(4, 1).unsqueeze(1)
        x = F.gelu(self.conv1(mel.transpose(1, 2) * kept)) * kept  # (B, width, S)
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, 2 T, width)
        x = x + sinusoids(x.shape[1], x.shape[2], x.device)
        present = present.repeat_interleave(2, 1)
        for block in self.blocks[:blocks]:
            x = block(x, present)
        return x


def sinusoids(frames: int, width: int, device: torch.device) -> Tensor:
    """(frames, width) fixed positions (Vaswani et al. 2017), all sines before all cosines.

    They begin again after 30 s: Whisper's weights know no later ones, and 48 s at a stretch came
    out worse for it, 37 % wrong words for 6 % so.
    """
    rates = 10_000.0 ** (-torch.arange(width // 2, device=device) / (width // 2 - 1))
    angles = (torch.arange(frames, device=device) % WHISPER_POSITIONS)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


class WhisperFrontend(nn.Module):
    """Log-mel at 100 Hz to vectors at 25 Hz by a network of the shape of Whisper's encoder.

    Attributes:
        dense: clips without sound are computed too, see ``VideoFrontend``.
    """

    dense = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mel = WhisperLogMel(config.n_mels)
        self.encoder = WhisperEncoder(config.n_mels, config.audio_width, config.audio_layers)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Sequential(
            nn.Linear(2 * config.audio_width, config.dim), nn.LayerNorm(config.dim)
        )
        self.absent = stand_in(config.dim)  # of the scale of what it stands for

    def forward(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """(B, S, M), (B, T) bool, (B, T) bool -> (B, T, D); absent frames hold one learned
        vector."""
        if self.dense:
            silent = ~present.any(1, keepdim=True)  # attention must have something to look at
            heard = self.hear(mel, present | silent, valid)
            return torch.where(present.unsqueeze(-1), heard, self.absent)
        # Only clips with sound cost anything.
        rows = present.any(1).nonzero().squeeze(1)  # waits for the device
        if len(rows) == 0:
            return self.absent.expand(*present.shape, -1)
        x = self.hear(mel[rows], present[rows], valid[rows])
        everywhere = x.new_zeros(*present.shape, x.shape[-1]).index_copy(0, rows, x)
        return torch.where(present.unsqueeze(-1), everywhere, self.absent.to(x.dtype))

    def hear(self, mel: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """As forward, for clips with a present frame each; absent frames hold anything."""
        x = self.encoder(mel, present, valid)
        # (B, 2 T, width) -> (B, T, 2 width)
        return self.project(self.dropout(x).unflatten(1, (-1, 2)).flatten(2))
