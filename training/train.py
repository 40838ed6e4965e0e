"""One visible training loop on Lightning Fabric: one CPU to many nodes, and resumable to the bit on
a CPU."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.imported.store import is_one
from avsr.model.layers.blocks import ConformerBlock
from avsr.preprocessing.clip import FPS
from avsr.training.config import TrainConfig, load_recipe
from avsr.training.data.batch import Batch, collate
from avsr.training.data.dataset import TrainSet
from avsr.training.data.loading import clips_of, items, loader, open_clips, plan_of, workers_told
from avsr.training.data.plan import Plan
from avsr.training.data.stream.plan import StreamPlan
from avsr.training.data.validation import validation_clips
from avsr.training.imported.start import ImportedStart
from avsr.training.run import record, sharded, state
from avsr.training.run.log import BOARD, Log, tell_dropped
from avsr.training.run.processes import Say, connect, run_together
from avsr.training.run.running import Follower
from avsr.training.run.start import Start, check_folder
from avsr.training.run.state import MODEL, STATE

NO_DATA = "no training data: give one or more prepared folders with --data"


def train(
    recipe: str,
    data: Sequence[str | Path],
    out: str | Path,
    resume: bool = False,
    overrides: Sequence[str] = (),
    say: Say = print,
) -> Path | None:
    """Trains a model and writes ``out/model.safetensors``.

    Where the recipe asks for several ``devices``, processes are started that import the caller's
    main module: a script that calls this does so below ``if __name__ == "__main__":``.

    Args:
        recipe: name or path, see ``load_recipe``.
        data: folders that ``avsr prepare`` made, or URLs of such.
        out: folder of the run; must be new or empty unless the run is resumed.
        resume: go on from the last saved state of ``out``, or begin where there is none yet. All of
            ``[optim]`` may be another then, as may the number of devices: the learning rate is what
            it would be at that step of a run with the new values.
        overrides: ``section.key=value``.
        say: takes one line of the log at a time.

    Returns:
        Path of the model; None in processes that torchrun or srun started to help the first one.

    Raises:
        AvsrError: anything about recipe, data or folder that the user can mend, or numbers that are
            not finite.
    """
    config = load_recipe(recipe, list(overrides))
    out = Path(out)
    started = check_folder(out, resume)
    if not data:
        raise AvsrError(NO_DATA)
    work = functools.partial(_work, config, list(data), out, resume, started)
    return out / MODEL if run_together(work, config, say) else None


def _work(
    config: TrainConfig,
    data: list[str | Path],
    out: Path,
    resume: bool,
    started: bool,
    say: Say,
    connected: Callable[[], object] = int,
) -> None:
    """The whole run, in each of its processes."""
    run = Run(config, data, out, say, connected, started)
    if resume and not started:
        run.say(f"{out} holds no saved state to resume from: the run begins at step 0")
    run.go()


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero."""
    optim = config.optim
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    return (
        optim.lr
        * 0.5
        * (1 + math.cos(math.pi * (step - optim.warmup) / max(1, optim.steps - optim.warmup)))
    )


def parameter_groups(objective: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by weight decay, which spares vectors, and by ``share``, what part of the learning
    rate they get."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        groups.setdefault((parameter.ndim > 1, "audio_frontend.encoder." in name), []).append(
            parameter
        )
    return [
        {
            "params": own,
            "weight_decay": config.optim.weight_decay if decays else 0.0,
            "share": config.optim.encoder_lr if encoder else 1.0,
        }
        for (decays, encoder), own in groups.items()
    ]


class Run:
    """A training run: what it is made of (``__init__``), its loop (``go``) and what the loop
    calls."""

    def __init__(
        self,
        config: TrainConfig,
        data: list[str | Path],
        out: Path,
        say: Say,
        connected: Callable[[], object] = int,
        resume: bool = False,
    ) -> None:
        self.config, self.folders, self.out = config, data, out
        self.fabric = connect(config)
        connected()
        self.first = self.fabric.is_global_zero
        self.say: Say = say if self.first else lambda _: None
        torch.manual_seed(config.seed)
        self.start = start = start_of(config, data)
        self.config = config = start.config
        # before the clips, which another recipe may not be able to use
        self.kept = self._kept_state() if resume else None
        self.store = open_clips(data, config.data, start.tokenizer, start.reads, start.use)
        if self.first:
            tell_dropped(self.store.dropped, out / "dropped.txt", say)
        self.store.check_losses(config.data.max_dropped)
        self.model = start.network(self.say)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False).to(self.fabric.device)
        objective = start.objective(self.model)
        if config.optim.compile == "on":
            compile_blocks(self.model)
        self.objective = self.fabric.setup_module(objective)
        # its gradient scaler cannot clip what a fused optimiser unscales
        fused = config.optim.precision != "16-mixed"
        groups = parameter_groups(objective, config)  # those that fabric leaves, parted perhaps
        optimizer = torch.optim.AdamW(groups, lr=config.optim.lr, betas=(0.9, 0.98), fused=fused)
        self.optimizer = self.fabric.setup_optimizers(optimizer)
        self.follower = Follower(self.average, self.model)
        clips, rest = clips_of(self.store), (config.augment, config.seed, start.use)
        self.dataset = TrainSet(clips, start.tokenizer, start.reads, *rest)
        self.val = validation_clips(data, config)
        self.step = self.batches = 0  # done; batches by all processes

    def go(self) -> Path:
        """Trains to the last step, saves the averaged model and returns its path."""
        config, fabric = self.config, self.fabric
        if self.kept is not None:
            self._go_on_from(self.kept)
            self.kept = None  # it is as large as all that is trained
        self._start_log()
        self.store.share(fabric)
        began, clips = time.monotonic(), 0
        unread: list[dict[str, Tensor]] = []  # of steps since the device was last waited for
        values: list[dict[str, float]] = []  # of steps since the last line of the log
        for batches in self._batches():
            # dropout, alike after a resume
            torch.manual_seed(hash_seed(config.seed, self.step, fabric.global_rank))
            unread.append(self._update(batches))
            self.step += 1
            self.batches += len(batches) * fabric.world_size
            clips += sum(len(batch.ids) for batch in batches) * fabric.world_size
            last = self.step == config.optim.steps
            log, save = (
                last or self.step % every == 0 for every in (config.log_every, config.save_every)
            )
            validate = self.step % config.val_every == 0 and bool(self.val)
            if not (log or save or validate):
                continue
            values += self._read(unread)
            unread = []
            if log and self.first:
                rate = learning_rate(self.step - 1, config)
                self.log.steps(self.step, values, rate, clips, time.monotonic() - began)
            if log:
                began, clips, values = time.monotonic(), 0, []
            if save or validate:
                self.follower.gather()
            if validate and self.first:
                rates = self._error_rates()
                self.log.error_rates(self.step, rates, len(self.val))
                record.keep_best(self.out, self.average, self._info(), rates, self.start.save)
            if save:
                self._save()
        return self.out / MODEL

    def _batches(self) -> Iterator[list[Batch]]:
        """The batches of each step that is left, on the device."""
        plan, device = self._plan(self.step, self.config.optim.steps), self.fabric.device
        made = loader(self.dataset, plan, self.config.data.workers, device.type == "cuda")
        for _ in range(self.step, self.config.optim.steps):
            taken = itertools.islice(made, self.config.optim.accumulate)
            yield [batch.to(device) for batch in taken]

    def _plan(self, first: int, last: int) -> Plan | StreamPlan:
        """The batches of this process from one step to another."""
        fabric, config, each = self.fabric, self.config, self.config.optim.accumulate
        return plan_of(
            self.store,
            config.data,
            config.seed,
            first * each,
            last * each,
            fabric.global_rank,
            fabric.world_size,
            self.batches + (first - self.step) * each * fabric.world_size,
        )

    def _update(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """One optimiser step; returns the losses of the batches and the norm of the gradient, still
        on the device."""
        optim = self.config.optim
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.step, self.config)
        found: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.fabric.device))
        for i, (batch, share) in enumerate(zip(batches, self._shares(batches), strict=True), 1):
            with self.fabric.no_backward_sync(self.objective, enabled=i < len(batches)):
                losses = self.objective(batch, self.step / optim.steps)
                self.fabric.backward(losses["total"] * share)
            for name, value in losses.items():
                found[name] = found[name] + value.detach() * share
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=optim.clip_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.follower.follow(1 - min(optim.ema, (self.step + 1) / (self.step + 10)))
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        return {**found, "gradient": norm.to(self.fabric.device)}

    def _shares(self, batches: Sequence[Batch]) -> Tensor:
        """(batches,) weights of the batches of a step: by their target tokens, as the losses in
        each are means over them."""
        if len(batches) == 1:
            return torch.ones(1, device=self.fabric.device)
        tokens = torch.stack([batch.tokens.sum() for batch in batches])
        tokens = self.fabric.all_reduce(tokens, reduce_op="sum")
        return tokens / tokens.sum()

    def _read(self, unread: Sequence[dict[str, Tensor]]) -> list[dict[str, float]]:
        """The values of the last steps, in one synchronisation with the device.

        Raises:
            AvsrError: one is not finite; nothing of these steps is on disk.
        """
        flat = torch.stack([value.float() for step in unread for value in step.values()]).tolist()
        numbers = iter(flat)
        values = [{name: next(numbers) for name in step} for step in unread]
        # skips steps whose gradient overflows
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        for step, found in enumerate(values, self.step - len(values)):
            bad = [name for name, value in found.items() if not math.isfinite(value)]
            if bad == ["gradient"] and not (scaler and scaler.get_scale() >= 1):
                self._stop(step, "gradient not finite, though the loss is")
            elif bad and bad != ["gradient"]:
                self._stop(
                    step,
                    f"loss not finite ({', '.join(name for name in bad if name != 'gradient')})",
                )
        return values

    def _stop(self, step: int, what: str) -> None:
        """Ends the run, and keeps the batch of a step: it is made again, as the same step always
        has the same one."""
        batches = items(self.dataset, self._plan(step, step + 1))
        batch = collate([item for batch in batches for item in batch])
        rank = self.fabric.global_rank
        path = self.out / (
            "bad_batch.safetensors" if rank == 0 else f"bad_batch-{rank}.safetensors"
        )
        tensors = {name: value.contiguous() for name, value in batch.tensors()}
        save_file(tensors, path, {"ids": json.dumps(batch.ids), "step": str(step), "what": what})
        self.fabric.barrier()
        raise AvsrError(
            f"step {step}: {what}; the batch is in {path}. Lower optim.lr or look at its clips, "
            "then continue with "
            f"--resume from the last saved state"
        )

    # -------------------------------------------------------------------------------- log and files

    def _start_log(self) -> None:
        config = self.config
        if self.first:
            self.log = Log(self.out / BOARD, self.say, self.step, config.optim.steps)
            outputs.write(self.out / "config.json", [config.model_dump_json(indent=1).encode()])
            device = f"{self.fabric.world_size} x {self.fabric.device.type}"
            record.write_record(self.out, self.folders, config.seed, self.step, device)
        frames = self.store.total_frames
        self.say(
            f"{self.start.told(self.model)}, {len(self.store)} "
            f"clips ({frames / FPS / 3600:.2f} h), {len(self.start.tokenizer)} tokens, on "
            f"{self.fabric.device}, step "
            f"{self.step} of {config.optim.steps}"
        )
        if told := workers_told(config.data.workers):
            self.say(told)

    def _error_rates(self) -> dict[str, float]:
        """WER of the averaged model on a few clips, by modality."""
        return self.start.error_rates(self.average, self.val, self.fabric.device)

    def _save(self) -> None:
        """State and averaged model, each beside its place and renamed: a kill leaves the last whole
        ones."""
        optimizer = sharded.whole(self.optimizer.state_dict())
        kept = {
            "objective": sharded.whole(dict(self.objective.state_dict())),
            "optimizer": optimizer,
            "trained": len(optimizer["state"]),  # what was never trained has no moments
            "average": self.average.state_dict(),
            "step": self.step,
            "batches": self.batches,
            "config": self.config.model_dump_json(),
            "data": self.store.fingerprint(),
        }
        if bad := state.first_not_finite(state.kept_tensors(kept)):
            self._stop(self.step - 1, f"{bad} not finite after it")
        if self.first:
            state.write_state(self.out / STATE, kept)
        self._save_model()
        if self.first:
            self.log.flush()
        self.fabric.barrier()

    def _save_model(self) -> None:
        """The averaged model; the state has it too, so it comes after it: a kill between the two
        loses nothing."""
        if self.first:
            save = self.start.save
            save(self.out / MODEL, self.average, self._info())
            record.keep_last(self.out, self.average, self._info(), self.config.keep, save)

    def _info(self) -> dict[str, Any]:
        """What the files of models say about the run."""
        recipe = self.config.model_dump(mode="json")
        return {"recipe": recipe, "step": self.step, "clips": len(self.store), **self.start.lineage}

    def _kept_state(self) -> dict[str, Any]:
        """The saved state; says what the recipe has changed since.

        Raises:
            AvsrError: it is not one, or not of this recipe.
        """
        kept = state.read_state(self.out / STATE)
        for line in state.changes(kept["config"], self.config, kept["step"], self.out):
            self.say(line)
        return kept

    def _go_on_from(self, kept: dict[str, Any]) -> None:
        """Goes on from the saved state, in all processes.

        Raises:
            AvsrError: it is not of this network and these clips.
        """
        config, out = self.config, self.out
        if kept["data"] != self.store.fingerprint():
            raise AvsrError(
                f"{out} was trained on other clips: resume it with the same --data, or go on from "
                "its weights with "
                f"--set init={out / MODEL} and another --out"
            )
        state.check_tensors(kept["objective"], self.objective.state_dict(), out, config.size)
        state.check_tensors(kept["average"], self.average.state_dict(), out, config.size)
        optimizer = state.fitted_optimizer(kept, self.optimizer.optimizer, out)
        state.check_finite(kept, out)
        own = self.objective.state_dict()
        parted = {n: sharded.parted_like(value, own[n]) for n, value in kept["objective"].items()}
        self.objective.load_state_dict(parted)
        self.follower.load(kept["average"], self.average)
        optimizer["state"] = sharded.fitted_moments(optimizer["state"], self.optimizer.optimizer)
        self.optimizer.load_state_dict(optimizer)
        self.step, self.batches = kept["step"], kept["batches"]
        self._save_model()


def start_of(config: TrainConfig, data: Sequence[str | Path]) -> Start | ImportedStart:
    """What a run starts from: an imported network where ``init`` names one, else ours.

    Raises:
        AvsrError: there is no such model, or it does not go with the recipe.
    """
    if config.init and is_one(str(config.init)):
        return ImportedStart(config, data)
    return Start(config, data)


def compile_blocks(model: nn.Module) -> None:
    """Compiles what is of one shape but for the number of clips and frames, where it lies: names of
    weights stay. The picture network takes any number of frames at once, and stays as it is."""
    for module in model.modules():
        if isinstance(module, ConformerBlock):
            module.compile(dynamic=True)


def hash_seed(*numbers: int) -> int:
    """A seed that differs wherever any of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
