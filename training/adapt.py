"""A model adapted to one person from a few of their clips: low-rank changes, minutes on a CPU.

Only the visual encoder is adapted, on lips alone: sound is heard and joined with them as before.
Sound that is clear has given the texts, see `data.material`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from avsr.base.errors import AvsrError
from avsr.model.adapter import LowRank, attach, detach
from avsr.model.network import AVSR
from avsr.model.tokenizer import Tokenizer
from avsr.training.config import AugmentConfig, DataConfig, LossConfig
from avsr.training.data.batch import Batch
from avsr.training.data.dataset import TrainSet
from avsr.training.data.loading import loader
from avsr.training.data.plan import Plan
from avsr.training.data.store import ClipStore
from avsr.training.losses import Objective

PARTS = ("video_frontend", "video_stream")
BATCH_FRAMES = 600  # eight clips of three seconds
WARMUP = 10  # steps
CLIP_NORM = 2.0

# A few clips come again and again: pieces of them are put together anew, in other light and at
# another pace, but with that person's mouth in that person's picture.
AUGMENT = AugmentConfig(
    splice=0.5, speed=0.2, warp_px=2.0, borrow=0.0, noise=0.0, voice=0.0, equalise=0.0
)
# CTC of the lips' own head, and of the fused part that gets lips alone.
LOSS = LossConfig(streams_first=0.0, frame=0.0, frame_end=0.0, distil=0.0, contrastive=0.0)


@dataclass(frozen=True)
class Settings:
    """How long and how far a model is adapted.

    Attributes:
        steps: of the optimiser.
        rank: of the changes to each weight.
        lr: learning rate, at its highest.
        seed: of all that is drawn.
    """

    steps: int
    rank: int
    lr: float
    seed: int


def adapt(
    model: AVSR,
    folders: Sequence[Path],
    settings: Settings,
    tell: Callable[[float, float], None] = lambda done, of: None,
    say: Callable[[str], object] = print,
) -> dict[str, LowRank]:
    """Learns changes to a model's weights from prepared clips with texts.

    Args:
        model: where it is computed; is left as it is.
        folders: prepared clips, all of which are used, of split train or none.
        settings: see `Settings`.
        tell: told how many steps are done, and of how many.
        say: takes a line about clips that cannot be used.

    Returns:
        The changes, see `adapter.attach`.

    Raises:
        AvsrError: no clip can be used, or numbers are not finite.
    """
    config = model.config
    tokenizer = Tokenizer.of(config.tokens, config.piece_scores)
    store = ClipStore(
        folders,
        "train",
        tokenizer,
        cache_gb=1.0,
        use="video",
        per_frame=config.outputs_per_frame,
        language=config.language,
    )
    store.check_losses(most=1.0)
    if store.dropped:
        name, reason = store.dropped[0]
        say(f"{len(store.dropped)} clips cannot be used, such as {name}: {reason}")
    dataset = TrainSet(store, tokenizer, config, AUGMENT, settings.seed, use="video")
    data = DataConfig(max_frames=BATCH_FRAMES)
    plan = Plan(store, data, settings.seed, 0, settings.steps)
    changes = attach(model, PARTS, settings.rank, settings.seed)
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            _train(model, changes, loader(dataset, plan, workers=0), settings, device, tell)
    finally:
        detach(model, list(changes), keep=False)
        model.eval().requires_grad_(False)
    return changes


def _train(
    model: AVSR,
    changes: dict[str, LowRank],
    batches: Iterator[Batch],
    settings: Settings,
    device: torch.device,
    tell: Callable[[float, float], None],
) -> None:
    """Takes the steps; the changes are what is trained."""
    objective = Objective(model, LOSS).to(device).train()
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # statistics are those of all the speakers before
    learnt = [parameter for change in changes.values() for parameter in change.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.01)
    for step, batch in enumerate(batches):
        rise = min(1.0, (step + 1) / WARMUP)
        fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimizer.param_groups[0]["lr"] = settings.lr * rise * fall
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = objective(batch.to(device), progress=1.0)["total"]
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        if not math.isfinite(loss.item()):
            raise AvsrError(f"step {step}: loss not finite; lower --lr")
        tell(step + 1, settings.steps)
