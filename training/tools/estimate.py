"""What a run will need, measured before it begins: its largest batch, its speed, the hours.

avsr train RECIPE --data DIR --dry-run
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import cores, peak_memory_mb
from avsr.preprocessing.clip import FPS
from avsr.training.config import TrainConfig, load_recipe
from avsr.training.data.batch import Batch, collate
from avsr.training.data.loading import items, loader, plan_of
from avsr.training.data.plan import Key, plan_epoch
from avsr.training.data.store import ClipStore
from avsr.training.train import NO_DATA, Run, hash_seed

FEW = 8  # batches of a stream, all of which are nearly as large as they may be
WARM = 2  # steps before the clock starts: what is planned once, what the loader makes ahead


@dataclass(frozen=True)
class Estimate:
    """What was found and measured.

    Attributes:
        model: name and parameters.
        device: where it was measured; one device, whatever the recipe says.
        devices: of the run, all machines together.
        clips, hours: of the training split.
        epochs: of the run.
        frames_a_step: of all devices, padding included.
        largest: clips and padded frames of the largest batch of the first epoch.
        memory_gb: peak of all that was measured: of the device, or of the process on a CPU.
        memory_of_gb: what a GPU has.
        clips_gb: memory for decoded clips, once for all processes of a machine; 0 where none are
            kept.
        step_s: seconds of a step.
        waiting: share of them in which the device waited for the loader.
        frames_per_s: lip frames a second, of one device.
        steps: of the run.
        validation_s, saving_s: of once.
        validations, savings: how often.
    """

    model: str
    device: str
    devices: int
    clips: int
    hours: float
    epochs: float
    frames_a_step: float
    largest: tuple[int, int]
    memory_gb: float
    memory_of_gb: float | None
    clips_gb: float
    step_s: float
    waiting: float
    frames_per_s: float
    steps: int
    validation_s: float
    saving_s: float
    validations: int
    savings: int

    @property
    def total_s(self) -> float:
        """Seconds of the whole run."""
        once = self.validations * self.validation_s + self.savings * self.saving_s
        return self.steps * self.step_s + once

    def __str__(self) -> str:
        clips, frames = self.largest
        of = f" of {self.memory_of_gb:.0f}" if self.memory_of_gb else " in the process"
        kept = f", besides {self.clips_gb:.2g} GB for the decoded clips" if self.clips_gb else ""
        others = f", taken {self.devices} times side by side" if self.devices > 1 else ""
        return "\n".join(
            [
                f"{self.model} on {self.device}{others}",
                f"data: {self.clips} clips, {self.hours:.2f} h; {self.steps} steps of "
                f"{self.frames_a_step:,.0f} frames are {self.epochs:.1f} epochs",
                f"largest batch: {clips} clips, {frames:,} frames with padding",
                f"memory: {self.memory_gb:.1f} GB{of}{kept}",
                f"speed: {self.step_s:.2f} s a step, {self.frames_per_s:,.0f} lip frames a second "
                f"on a device, {self.waiting:.0%} of the time waiting for the loader",
                f"besides: {self.validations} validations of {self.validation_s:.1f} s, "
                f"{self.savings} times saving of {self.saving_s:.1f} s",
                f"estimate: {_duration(self.total_s)}",
            ]
        )


def estimate(
    recipe: str,
    data: Sequence[str | Path],
    overrides: Sequence[str] = (),
    steps: int = 6,
    say: Callable[[str], object] = print,
) -> Estimate:
    """Checks recipe and data as a run does, then measures its largest batch and some steps.

    One device is measured, with all losses at work, which at the start of a run they are not. What
    several devices tell each other is not in it.

    Args:
        recipe: name or path, see ``load_recipe``.
        data: folders that ``avsr prepare`` made.
        overrides: ``section.key=value``.
        steps: how many are timed.
        say: takes the lines that the run would say first.

    Raises:
        AvsrError: what a run would raise.
    """
    config = load_recipe(recipe, list(overrides))
    if not data:
        raise AvsrError(NO_DATA)
    alone = config.model_copy(update={"devices": 1, "nodes": 1})
    if config.devices > 1 and not torch.accelerator.is_available():  # as each of them has
        torch.set_num_threads(max(1, cores() // config.devices))
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(alone, list(data), Path(scratch), say)
        run._start_log()
        run.step = config.optim.steps - 1  # all losses take part
        largest = _largest(run)
        step_s, waiting, frames = _speed(run, steps)
        validation_s = _took(run._error_rates) if run.val else 0.0
        saving_s = _took(run._save)
        memory_gb = _peak_gb(run.fabric.device)
    return _told(config, run, largest, memory_gb, step_s, waiting, frames, validation_s, saving_s)


def _told(
    config: TrainConfig,
    run: Run,
    largest: tuple[int, int],
    memory_gb: float,
    step_s: float,
    waiting: float,
    frames: float,
    validation_s: float,
    saving_s: float,
) -> Estimate:
    device, total = run.fabric.device, run.store.total_frames
    optim, devices = config.optim, config.devices * config.nodes
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    threads = f"{torch.get_num_threads()} threads of the CPU"
    return Estimate(
        model=run.start.told(run.model),
        device=gpu.name if gpu else threads,
        devices=devices,
        clips=len(run.store),
        hours=total / FPS / 3600,
        epochs=optim.steps * frames * devices / max(1, total),
        frames_a_step=frames * devices,
        largest=largest,
        memory_gb=memory_gb,
        memory_of_gb=gpu.total_memory / 1e9 if gpu else None,
        clips_gb=run.store.cache_bytes / 1e9 if isinstance(run.store, ClipStore) else 0.0,
        step_s=step_s,
        waiting=waiting,
        frames_per_s=frames / step_s,
        steps=optim.steps,
        validation_s=validation_s,
        saving_s=saving_s,
        validations=optim.steps // config.val_every if run.val else 0,
        savings=-(-optim.steps // config.save_every),
    )


def _largest(run: Run) -> tuple[int, int]:
    """Clips and padded frames of the first epoch's largest batch, of which a step is taken."""
    made, device = _largest_items(run), run.fabric.device
    batch = collate(made)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    _step(run, [batch.to(device)] * run.config.optim.accumulate)
    return len(made), batch.lips.shape[0] * batch.lips.shape[1]


def _peak_gb(device: torch.device) -> float:
    """The most memory so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    return peak_memory_mb() * 2**20 / 1e9


def _largest_items(run: Run) -> list[dict]:
    """The clips of the first epoch's largest batch; of a stream, the largest of the first FEW."""
    store, config = run.store, run.config
    if not isinstance(store, ClipStore):
        few = items(run.dataset, plan_of(store, config.data, config.seed, 0, FEW))
        return max(few, key=lambda batch: len(batch) * max(len(item["lips"]) for item in batch))

    def padded(keys: list[Key]) -> int:
        lengths = [int(store.frames[[key.clip, *key.followers]].sum()) for key in keys]
        return max(lengths) * len(keys)

    keys = max(plan_epoch(store, config.data, config.seed, 0), key=padded)
    return [run.dataset[key] for key in keys]


def _speed(run: Run, steps: int) -> tuple[float, float, float]:
    """Seconds of a step, share of them spent waiting for the loader, padded frames of a step."""
    config, device, each = run.config, run.fabric.device, run.config.optim.accumulate
    run.step, late = 0, run.step
    plan = run._plan(0, WARM + steps)
    run.step = late
    made = loader(run.dataset, plan, config.data.workers, device.type == "cuda")
    began, waited, frames = 0.0, 0.0, 0
    for number in range(WARM + steps):
        if number == WARM:
            _settle(device)
            began, waited, frames = time.perf_counter(), 0.0, 0
        asked = time.perf_counter()
        batches = [next(made).to(device) for _ in range(each)]
        waited += time.perf_counter() - asked
        frames += sum(batch.lips.shape[0] * batch.lips.shape[1] for batch in batches)
        _step(run, batches)
    _settle(device)
    took = time.perf_counter() - began
    return took / steps, waited / took, frames / steps


def _step(run: Run, batches: list[Batch]) -> None:
    torch.manual_seed(hash_seed(run.config.seed, run.step))
    run._update(batches)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
