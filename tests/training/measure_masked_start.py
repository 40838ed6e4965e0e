"""Whether lips that learn from sound without texts first need fewer steps with texts afterwards.

    python tests/training/measure_masked_start.py WHISPER --unlabelled data/s1 data/others
        --labelled data/s1 [--crop 32] [--width 8] [--units 100] [--masked N] [--steps N]

An experiment after AV-HuBERT (Shi et al. 2022): frames of sound are put into groups by k-means over
what Whisper's encoder makes of them. The visual stream says the group of every frame, also of those
whose lips are masked. Then it learns to read lips with texts (CTC, and the letter of each frame as
in the recipes), and so does one from random weights, in as many steps.

B  clips in a batch        T  frames, 25 a second        H  side of a lip crop        D  width
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from avsr.decoding.ctc import greedy
from avsr.eval.metrics.wer import wer
from avsr.model.config import SIZES, ModelConfig
from avsr.model.layers.frontends import WhisperFrontend, view_lips
from avsr.model.network import AVSR
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.shards import ShardIndex
from avsr.training.tools.whisper import start_from

MARGIN = 4  # pixels that a crop may move by
SPANS, SPAN = 3, (5, 13)  # masked in a clip: how many, and frames of each
UNKNOWN = -1  # as a target
SMOOTHING = 0.1
WARMUP = 50  # steps
CLIP_NORM = 5.0


@dataclass
class Video:
    """Lips (T, H + MARGIN, H + MARGIN) uint8, the groups of its sound (T,), and what is said."""

    lips: Tensor
    units: Tensor
    text: str
    letters: Tensor  # (T,) where the word alignment puts them, 0 outside words


class Learner(nn.Module):
    """The visual stream of our network with what says groups and letters of single frames."""

    def __init__(self, config: ModelConfig, units: int) -> None:
        super().__init__()
        self.network = AVSR(config)
        self.to_units = nn.Linear(config.dim, units)
        self.to_letters = nn.Linear(config.dim, len(config.tokens))
        self.tokenizer = Tokenizer.of(config.tokens)

    def encode(self, lips: Tensor, present: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.encode_video(lips, present & valid, valid, viewed=True)


# ---- clips


def read(folders: Sequence[Path], split: str) -> list[Clip]:
    """All clips of a split that have lips and sound."""
    found = []
    for index in map(ShardIndex, folders):
        clips = (index.load(place) for place in index.select(split))
        found += [clip for clip in clips if clip.video_present.all() and clip.audio_present.all()]
    return found


@torch.inference_mode()
def group_sound(clips: Sequence[Clip], whisper: Path, data: Path, units: int) -> list[Tensor]:
    """(T,) the group of each frame of each clip, of what Whisper's encoder makes of its sound."""
    from sklearn.cluster import MiniBatchKMeans

    ear = start_from(whisper, data=[data])[0].eval().audio_frontend
    assert isinstance(ear, WhisperFrontend)
    features = []
    for clip in clips:
        present = torch.ones(1, clip.frames, dtype=torch.bool)
        mel = ear.mel(torch.from_numpy(clip.audio)[None], present)
        heard = ear.encoder(mel, present, present)  # (1, 2 T, width)
        features.append(heard[0].unflatten(0, (-1, 2)).flatten(1).numpy())  # (T, 2 width)
    means = MiniBatchKMeans(units, random_state=0, n_init=3, batch_size=4096)
    means.fit(np.concatenate(features))
    return [torch.from_numpy(means.predict(frames)).long() for frames in features]


def small(clip: Clip, size: int) -> Tensor:
    """(T, H + MARGIN, H + MARGIN) uint8, lips as small as the network sees them."""
    lips = view_lips(torch.from_numpy(clip.lips)[None], size + MARGIN)[0]
    return lips.round().clamp(0, 255).byte()


def letters_of(clip: Clip, tokenizer: Tokenizer) -> Tensor:
    """(T,) the letter of each frame, spread evenly over each word; unknown without alignment."""
    letters = torch.zeros(clip.frames, dtype=torch.long)
    for word, start_s, end_s in clip.words or ():
        first, last = round(start_s * FPS), min(clip.frames, round(end_s * FPS))
        spelt = torch.tensor(tokenizer.encode(word))
        places = torch.arange(last - first)
        letters[first:last] = spelt[places * len(spelt) // max(1, last - first)]
    return letters if clip.words else torch.full_like(letters, UNKNOWN)


# ---- learning


def batch_of(videos: Sequence[Video], size: int) -> tuple[Tensor, Tensor]:
    """Lips (B, T, H, H) float, moved and flipped at random, and which frames are clips', (B, T)."""
    moved = []
    for video in videos:
        top, left = random.randrange(MARGIN + 1), random.randrange(MARGIN + 1)
        lips = video.lips[:, top : top + size, left : left + size].float()
        lips = lips.flip(-1) if random.random() < 0.5 else lips
        moved.append(lips * random.uniform(0.8, 1.2))
    frames = torch.tensor([len(lips) for lips in moved])
    valid = torch.arange(int(frames.max())) < frames[:, None]
    return pad_sequence(moved, batch_first=True), valid


def train(
    learner: Learner, videos: Sequence[Video], loss: Callable, steps: int, args: argparse.Namespace
) -> None:
    """Takes steps of AdamW; the learning rate rises, then falls to zero by a cosine."""
    learner.train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=args.lr, weight_decay=0.02)
    for step in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = args.lr * min(1.0, (step + 1) / WARMUP) * fall
        chosen = random.sample(videos, args.batch)
        lips, valid = batch_of(chosen, args.crop)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(learner, chosen, lips, valid, step / steps)
        value.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            print(f"  step {step + 1}: {value.item():.3f}, {time.process_time():.0f} s", flush=True)


def units_loss(
    learner: Learner, videos: Sequence[Video], lips: Tensor, valid: Tensor, progress: float
) -> Tensor:
    """Cross-entropy of the groups of frames whose lips are masked, and of the others."""
    seen = valid.clone()
    for row in seen:
        for _ in range(SPANS):
            first = random.randrange(len(row))
            row[first : first + random.randrange(*SPAN)] = False
    stream, _ = learner.encode(lips, seen, valid)
    logits = learner.to_units(stream).float()
    units = pad_sequence([video.units for video in videos], True, UNKNOWN)
    parts = [(logits[frames], units[frames]) for frames in (valid & ~seen, seen)]
    return torch.stack([F.cross_entropy(*part) for part in parts]).sum()


def text_loss(
    learner: Learner, videos: Sequence[Video], lips: Tensor, valid: Tensor, progress: float
) -> Tensor:
    """CTC, and the letter of each frame, which fades over the first half, as in the recipes."""
    stream, log_probs = learner.encode(lips, valid, valid)
    targets = [torch.tensor(learner.tokenizer.encode(video.text)) for video in videos]
    lens = torch.tensor([len(target) for target in targets])
    outputs = valid.sum(1) * learner.network.config.outputs_per_frame
    said = F.ctc_loss(
        log_probs.transpose(0, 1).float(), torch.cat(targets), outputs, lens, reduction="sum"
    )
    letters = pad_sequence([video.letters for video in videos], True, UNKNOWN)
    frames = F.cross_entropy(
        learner.to_letters(stream).float().transpose(1, 2),
        letters,
        ignore_index=UNKNOWN,
        label_smoothing=SMOOTHING,
    )
    return said / lens.sum() + (1 - 0.9 * min(1.0, 2 * progress)) * frames


@torch.inference_mode()
def score(learner: Learner, clips: Sequence[Clip], size: int) -> str:
    """Word errors from lips alone, greedily."""
    learner.eval()
    found = []
    for clip in clips:
        lips = small(clip, size)[None, :, MARGIN // 2 :, MARGIN // 2 :][..., :size, :size]
        present = torch.ones(1, clip.frames, dtype=torch.bool)
        _, log_probs = learner.encode(lips.float(), present, present)
        found += greedy(log_probs, torch.tensor([log_probs.shape[1]]))
    texts = [learner.tokenizer.decode(ids) for ids in found]
    rate = wer([clip.text or "" for clip in clips], texts)
    low, high = rate.low or 0.0, rate.high or 0.0
    return f"{rate.errors} of {rate.units} words wrong, in % [{low:.1%}, {high:.1%}]"


# ---- the experiment


def main() -> None:
    args = arguments()
    labelled = read(args.labelled, "train")
    random.Random(0).shuffle(labelled)
    labelled = labelled[: args.texts]
    ids = {clip.id for clip in labelled}
    rest = [clip for clip in read(args.unlabelled, "train") if clip.id not in ids]
    clips, val = labelled + rest, read(args.labelled, "val")
    tokenizer = Tokenizer.from_texts([clip.text or "" for clip in labelled])
    units = group_sound(clips, args.whisper, args.labelled[0], args.units)
    videos = []
    for clip, groups in zip(clips, units, strict=True):
        known = clip.id in ids
        letters = letters_of(clip, tokenizer) if known else torch.full_like(groups, UNKNOWN)
        text = clip.text if known else None
        videos.append(Video(small(clip, args.crop), groups, text or "", letters))
    with_texts = videos[: len(labelled)]
    said = f"{len(videos)} clips without texts, {len(with_texts)} with, {len(val)} to test"
    print(f"{said}; {time.process_time():.0f} s", flush=True)
    shape = {**SIZES["grid-tiny"], "crop": args.crop, "video_width": args.width}
    for name, masked in (("random start", 0), ("masked prediction first", args.masked)):
        torch.manual_seed(args.seed)
        random.seed(args.seed)
        learner = Learner(ModelConfig(tokens=tokenizer.tokens, **shape), args.units)
        begin = time.process_time()
        if masked:
            train(learner, videos, units_loss, masked, args)
        before = time.process_time()
        train(learner, with_texts, text_loss, args.steps, args)
        after = time.process_time()
        spent = f"{before - begin:.0f} s without texts and {after - before:.0f} s with"
        print(f"{name}: lips {score(learner, val, args.crop)}; {spent}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whisper", type=Path, help="folder with the weights of tiny.en")
    parser.add_argument("--unlabelled", type=Path, nargs="+", required=True)
    parser.add_argument("--labelled", type=Path, nargs="+", required=True)
    parser.add_argument("--texts", type=int, help="clips with texts, so many; all")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--masked", type=int, default=600, help="steps without texts")
    parser.add_argument("--steps", type=int, default=600, help="steps with texts")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
