"""How fast a recipe trains on this machine, where the time goes, and how far that is from what
arithmetic allows.

    avsr bench --recipe grid-tiny --data data/grid

One process, whatever the recipe says, with the threads that torch takes (``OMP_NUM_THREADS``).
Nothing is kept of the few steps that it trains.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from avsr.base.errors import UsageError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.streaming import decode
from avsr.training.config import load_recipe
from avsr.training.data.augmentation.pictures import change_pictures
from avsr.training.data.batch import Batch, collate
from avsr.training.data.loading import clips_of, items, plan_of
from avsr.training.data.selection import Selection
from avsr.training.data.stream.catalogue import Catalogue
from avsr.training.train import Run, hash_seed

T = TypeVar("T")
CROP = 88  # pixels that networks see whose configuration names no other size
PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# Kinds of operations, by what their names hold; the first that fits.
KINDS = {
    "CTC": ("ctc",),
    "optimiser, gradient norm, average": ("adam", "foreach", "lerp", "linalg"),
    "convolutions": ("conv",),
    "attention, fused": ("scaled_dot_product", "flash", "efficient_attention"),
    "matrix products": ("mm", "linear", "einsum", "gemm"),
    "batch norm": ("batch_norm",),
    "layer norm": ("layer_norm",),
    "activations, softmax": ("silu", "gelu", "glu", "relu", "sigmoid", "softmax", "tanh"),
    "dropout": ("dropout", "bernoulli"),
    "pooling, resampling": ("pool", "grid_sampler", "upsample", "interpolate"),
    "log-mel": ("fft", "stft"),
    "copies, casts": (
        "copy",
        "aten::to",
        "clone",
        "contiguous",
        "cat",
        "fill",
        "zero",
        "pad",
        "memcpy",
        "memset",
    ),
    "other arithmetic": ("",),
}


@dataclass(frozen=True)
class TrainingSpeed:
    """What was measured.

    Attributes:
        machine: device, threads and version of torch.
        recipe: its name.
        clips_per_s: by step: reading, augmentation (with what it reads, where the corpus does not
            fit the cache), network (forward, backward, update).
        frames_per_cpu_s: lip frames of the input pipeline alone, in a second of one core: with
            reading, where the corpus is streamed or does not fit the cache.
        shown_per_cpu_s: the same with what the model's device does to pixels, done by the core.
        seconds_per_clip: of media, on average.
        gflop: of one clip, forward and backward.
        peak_gflops: of a large matrix product in the recipe's precision.
        shares: of the network's time, by kind of operation.
    """

    machine: str
    recipe: str
    clips_per_s: dict[str, float]
    frames_per_cpu_s: float
    shown_per_cpu_s: float
    seconds_per_clip: float
    gflop: float
    peak_gflops: float
    shares: dict[str, float]

    @property
    def floor(self) -> float:
        """Clips a second, if the network were nothing but matrix products at the machine's peak."""
        return self.peak_gflops / self.gflop

    def __str__(self) -> str:
        speeds = (
            f"{name:<36}{speed:9,.1f} clips/s{speed * self.seconds_per_clip:9,.0f} x real time"
            for name, speed in self.clips_per_s.items()
        )
        kinds = sorted(self.shares.items(), key=lambda item: -item[1])
        lines = [
            f"{self.recipe} on {self.machine}, clips of {self.seconds_per_clip:.1f} s",
            *speeds,
            f"input pipeline alone: {self.frames_per_cpu_s:,.0f} lip frames a second of one core; "
            f"{self.shown_per_cpu_s:,.0f} if",
            "it also did what the model's device does to pixels",
            f"{self.gflop:.1f} GFLOP a clip, forward and backward; products of matrices reach "
            f"{self.peak_gflops:,.0f}",
            f"GFLOP/s here, which would allow {self.floor:,.0f} clips/s: the network runs at "
            f"{self.clips_per_s['network'] / self.floor:.1%} of that. Its time by kind of "
            "operation:",
            *(f"{kind:<36}{100 * share:9.1f} %" for kind, share in kinds),
        ]
        return "\n".join(lines)


def measure(
    recipe: str, data: Sequence[str | Path], overrides: Sequence[str] = (), batches: int = 6
) -> TrainingSpeed:
    """Times a recipe's steps on its first batches; the first one only warms up.

    Args:
        recipe: name or path, see ``load_recipe``.
        data: folders that ``avsr prepare`` made.
        overrides: ``section.key=value``.
        batches: how many, 2 or more.

    Raises:
        AvsrError: anything about recipe or data that the user can mend, or too few batches.
    """
    if batches < 2:
        raise UsageError(f"{batches} batches: take at least 2, of which the first only warms up")
    config = load_recipe(recipe, list(overrides))
    loud = config.augment.model_copy(update={"noise_warmup": 0})  # all of the noise
    config = config.model_copy(update={"devices": 1, "nodes": 1, "augment": loud})
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(config, list(data), Path(scratch), lambda _: None)
        device, store = run.fabric.device, run.store
        plan = plan_of(store, config.data, config.seed, 0, batches)
        # reads all that takes part, as a run has before it is under way
        made = list(items(run.dataset, plan))
        flat = sum(map(len, made))
        read_s = seconds(lambda: read(store, flat), device)[1]
        (made, busy_s), change_s = seconds(
            lambda: cpu_seconds(lambda: list(items(run.dataset, plan))), device
        )
        frames_made = sum(len(item["lips"]) for batch in made for item in batch)
        collated = [collate(batch) for batch in made]
        _, shown_s = cpu_seconds(lambda: show(collated, getattr(run.model.config, "crop", CROP)))
        first, *rest = (batch.to(device) for batch in collated)

        def step(batch: Batch) -> None:
            torch.manual_seed(hash_seed(config.seed, run.step))
            run._update([batch])
            run.step += 1

        def steps() -> None:
            for batch in rest:
                step(batch)

        run.step = config.optim.steps // 2  # all losses take part
        step(first)
        network_s = seconds(steps, device)[1]
        clips = sum(len(batch.ids) for batch in rest)
        frames = sum(int(batch.lens.sum()) for batch in rest)
        return TrainingSpeed(
            f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            recipe,
            {
                "reading": flat / read_s,
                "augmentation": flat / change_s,
                "network": clips / network_s,
            },
            frames_made / busy_s,
            frames_made / (busy_s + shown_s),
            frames / FPS / clips,
            flops(steps) / clips / 1e9,
            peak_gflops(device, PRECISIONS[config.optim.precision]),
            shares_by_kind(steps, device),
        )


def read(store: Selection, count: int) -> None:
    """Reads and decodes as many clips, or all where there are fewer."""
    if isinstance(store, Catalogue):
        parts = (shard.part for shard in store.shards)
        found = ((members, part.source) for part in parts for members in part.read())
        for members, source in itertools.islice(found, count):
            decode(members, source)
    else:
        clips = clips_of(store)
        for i in range(min(count, len(store))):
            clips.sample(i)


def show(batches: Sequence[Batch], size: int) -> None:
    """Changes the pixels of batches as a network would see them."""
    for batch in batches:
        change_pictures(batch.lips, batch.video_present, batch.looks, size)


def cpu_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and how long the processor worked on it, whoever else wants it."""
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def seconds(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """What the work gives, and how long it took."""
    begin = time.perf_counter()
    result = work()
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
    return result, time.perf_counter() - begin


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention, 2 for a
    multiplication and addition."""
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        work()
    return counter.get_total_flops()


def _convolution_backward(
    grad: list, x: list, weight: list, *rest: Any, out_shape: Any = None, **_: Any
) -> int:
    """Twice the forward pass, or once where only one gradient is asked for; torch's own formula
    forgets the groups."""
    asked, transposed = rest[-1], rest[4]
    positions = math.prod(grad[2:]) if not transposed else math.prod(x[2:])
    return 2 * grad[0] * positions * math.prod(weight) * (asked[0] + asked[1])


def _attention(
    query: list, key: list, value: list, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    """Scores and their use."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


COUNTED: dict[Any, Callable[..., int]] = {  # what torch's counter gets wrong, or does not know
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}


def peak_gflops(device: torch.device, precision: torch.dtype) -> float:
    """What a square matrix product reaches, GFLOP/s: the best of ten."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
    a @ b
    return max(2 * size**3 / seconds(lambda: a @ b, device)[1] / 1e9 for _ in range(10))


def shares_by_kind(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Shares of the time that operations took themselves, by kind."""
    cuda = device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells its stages otherwise
    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    ) as profiled:
        work()
    times: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel: its time is that of the operation that called it, too
        took = event.self_device_time_total if cuda else event.self_cpu_time_total
        kind = next(
            kind
            for kind, parts in KINDS.items()
            if any(part in event.key.lower() for part in parts)
        )
        times[kind] += took
    total = sum(times.values())
    return {kind: took / total for kind, took in times.items()}
