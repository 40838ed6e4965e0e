"""One visible training loop on Lightning Fabric: one CPU to many nodes, and resumable to the bit on a CPU."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import pickle
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from avsr import checkpoint
from avsr.decoding import greedy
from avsr.model import AVSR, with_outputs
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.shards import ShardIndex
from avsr.tokenizer import Tokenizer
from avsr.training.batch import Batch
from avsr.training.config import TrainConfig, load_recipe
from avsr.training.data import ClipStore, Plan, TrainSet, loader
from avsr.training.losses import Objective

STATE = "state.ckpt"  # all that resuming needs; our own file, read as tensors only
MODEL = "model.safetensors"
LINEAGE = ("ear", "license")  # of a model's info, what holds for every model that is trained on from it
# losses in the log line
LOSSES = (
    "total",
    "both",
    "audio",
    "video",
    "audio_stream",
    "video_stream",
    "word_errors",
    "distil",
    "moments",
    "clips",
)


def train(
    recipe: str,
    data: Sequence[str | Path],
    out: str | Path,
    resume: bool = False,
    overrides: Sequence[str] = (),
    say: Any = print,
) -> Path | None:
    """Trains a model and writes ``out/model.safetensors``.

    Args:
        recipe: name or path, see ``load_recipe``.
        data: folders that ``avsr prepare`` made.
        out: folder of the run; must be new or empty unless the run is resumed.
        resume: go on from the last saved state of ``out``.
        overrides: ``section.key=value``.
        say: takes one line of the log at a time.

    Returns:
        Path of the model; None in the processes that help the first one.

    Raises:
        AvsrError: anything about recipe, data or folder that the user can mend, or a loss that is not finite.
    """
    config = load_recipe(recipe, list(overrides))
    out = Path(out)
    started = (out / STATE).exists()
    if started and not resume:
        raise AvsrError(f"{out} holds a run already: continue it with --resume or choose another --out")
    if (out / MODEL).exists() and not started:
        raise AvsrError(f"{out} holds a {MODEL} already: choose another --out, so that it is not lost")
    if not data:
        raise AvsrError("no training data: give one or more prepared folders with --data")
    run = Run(config, [Path(d) for d in data], out, say)
    path = run.go(resume and started)
    return path if run.fabric.is_global_zero else None


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero."""
    optim = config.optim
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    return optim.lr * 0.5 * (1 + math.cos(math.pi * (step - optim.warmup) / max(1, optim.steps - optim.warmup)))


def parameter_groups(objective: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by weight decay, which spares vectors, and by ``share``, what part of the learning rate they get."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        decay = config.optim.weight_decay if parameter.ndim > 1 else 0.0
        share = config.optim.encoder_lr if "audio_frontend.encoder." in name else 1.0
        groups.setdefault((decay, share), []).append(parameter)
    return [{"params": own, "weight_decay": decay, "share": share} for (decay, share), own in groups.items()]


class Run:
    """A training run: what it is made of (``__init__``), its loop (``go``) and what the loop calls."""

    def __init__(self, config: TrainConfig, data: list[Path], out: Path, say: Any) -> None:
        self.config, self.out = config, out
        self.fabric = launch(config)
        self.say = say if self.fabric.is_global_zero else lambda _: None
        torch.manual_seed(config.seed)
        init, about = checkpoint.load(str(config.init)) if config.init else (None, {})
        self.lineage = {key: about[key] for key in LINEAGE if key in about}
        self.tokenizer = Tokenizer(init.config.tokens) if init else vocabulary(data, config.data.train_split)
        network = config.network(self.tokenizer.tokens)
        use, cache_gb, per_frame = config.data.use, config.data.cache_gb, network.outputs_per_frame
        self.store = ClipStore(data, config.data.train_split, self.tokenizer, cache_gb, use, per_frame)
        self._tell_dropped()
        if not len(self.store):
            raise AvsrError(f"no clip of split {config.data.train_split!r} in {', '.join(map(str, data))} can be used")
        model = AVSR(network)
        if init:
            if per_frame % init.config.outputs_per_frame == 0:
                init = with_outputs(init, per_frame)
            if init.config.audio_frontend != network.audio_frontend:
                self.say(
                    f"the audio front end of {config.init} is of another kind and starts anew; "
                    f"python -m avsr.training.whisper gives a network the ear of Whisper"
                )
            taken, whole = load_matching(model, init, config.init_parts)
            self.say(f"{len(taken)} of {whole} tensors taken from {config.init}, the others start anew")
            for name in config.freeze:
                missing = of_part(model.state_dict(), name) - taken
                if missing and config.init_parts:  # asked for
                    self.say(
                        f"{name} is frozen and {len(missing)} of its tensors are in no init_parts: they stay at random"
                    )
                elif missing or of_part(init.state_dict(), name) - taken:
                    raise AvsrError(
                        f"freeze: {name} of {config.init} has another shape and would stay at random: take a model of "
                        f"the size {config.size}, or leave {name} out of freeze"
                    )
            if not of_part(taken, "audio_frontend.encoder"):
                self.lineage.pop("ear", None)
        elif config.freeze:
            self.say(
                f"no init is given: {', '.join(config.freeze)} stay at random; --set init=MODEL names a checkpoint"
            )
        for name in config.freeze:
            part(model, name).requires_grad_(False).eval()
        self.average = copy.deepcopy(model).eval().requires_grad_(False).to(self.fabric.device)
        objective = Objective(model, config.loss)
        fused = config.optim.precision != "16-mixed"  # its gradient scaler cannot clip what a fused optimiser unscales
        optimizer = torch.optim.AdamW(
            parameter_groups(objective, config), lr=config.optim.lr, betas=(0.9, 0.98), fused=fused
        )
        self.model = model
        self.objective, self.optimizer = self.fabric.setup(objective, optimizer)
        self.dataset = TrainSet(self.store, self.tokenizer, network, config.augment, config.seed, use)
        self.val = validation_clips(data, config)
        self.step = 0

    def go(self, resume: bool) -> Path:
        """Trains to the last step, saves the averaged model and returns its path."""
        config, fabric = self.config, self.fabric
        if resume:
            self._load_state()
        self._start_log()
        self.store.preload()
        plan = Plan(
            self.store, config.data, config.seed, self.step, config.optim.steps, fabric.global_rank, fabric.world_size
        )
        began, clips, parts = time.monotonic(), 0, []
        for batch in loader(self.dataset, plan, config.data.workers):
            batch = batch.to(fabric.device)
            torch.manual_seed(hash_seed(config.seed, self.step, fabric.global_rank))  # dropout, alike after a resume
            losses = self._update(batch)
            self.step += 1
            clips += len(batch.ids) * fabric.world_size
            parts.append({name: float(value.detach()) for name, value in losses.items()})
            if self.step % config.log_every == 0 or self.step == config.optim.steps:
                self._log(parts, clips, time.monotonic() - began)
                began, clips, parts = time.monotonic(), 0, []
            if self.val and self.step % config.val_every == 0 and fabric.is_global_zero:
                self._validate()
            if self.step % config.save_every == 0 or self.step == config.optim.steps:
                self._save()
        return self.out / MODEL

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step; returns the losses of the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.step, self.config)
        losses = self.objective(batch, self.step / self.config.optim.steps)
        if not torch.isfinite(losses["total"]):
            self._stop_on(batch, losses)
        self.fabric.backward(losses["total"])
        self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.config.optim.clip_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.config.optim.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value.to(mean.dtype), 1 - decay)
                else:
                    mean.copy_(value)
        return losses

    def _stop_on(self, batch: Batch, losses: dict[str, Tensor]) -> None:
        """Saves a batch whose loss is not finite and ends the run."""
        path = self.out / "bad_batch.safetensors"
        tensors = {name: value.contiguous() for name, value in batch.tensors()}
        values = {name: str(float(value.detach())) for name, value in losses.items()}
        save_file(tensors, path, {"ids": json.dumps(batch.ids), "step": str(self.step), "losses": json.dumps(values)})
        bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
        raise AvsrError(
            f"step {self.step}: loss not finite ({bad}); the batch is in {path}. Lower optim.lr or look at its clips, "
            f"then continue with --resume from the last saved state"
        )

    # ------------------------------------------------------------------------------------------------ log and files

    def _tell_dropped(self) -> None:
        """Names the clips that cannot be trained on: some in the log, all in a file."""
        for name, reason in self.store.dropped[:10]:
            self.say(f"dropped {name}: {reason}")
        if len(self.store.dropped) > 10:
            self.say(f"dropped {len(self.store.dropped) - 10} more, all in {self.out / 'dropped.txt'}")
        if self.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{name}\t{reason}\n" for name, reason in self.store.dropped)
            (self.out / "dropped.txt").write_text(text, encoding="utf-8")

    def _start_log(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board: Any = None
        if self.fabric.is_global_zero:
            self.board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step or None)
            (self.out / "config.json").write_text(self.config.model_dump_json(indent=1), encoding="utf-8")
        count = sum(p.numel() for p in self.model.parameters())
        frames = sum(self.store.frames(i) for i in range(len(self.store)))
        self.say(
            f"{self.config.size}: {count / 1e6:.2f} M parameters, {self.model.config.fusion} fusion, {len(self.store)} "
            f"clips ({frames / FPS / 3600:.2f} h), {len(self.tokenizer)} tokens, on {self.fabric.device}, step "
            f"{self.step} of {self.config.optim.steps}"
        )

    def _log(self, parts: list[dict[str, float]], clips: int, seconds: float) -> None:
        """One line: step, mean losses, learning rate, clips a second, time left."""
        if not self.fabric.is_global_zero:
            return
        names = sorted({name for part in parts for name in part})
        means = {name: float(np.mean([part[name] for part in parts if name in part])) for name in names}
        rate = learning_rate(self.step - 1, self.config)
        left_min = (self.config.optim.steps - self.step) * seconds / len(parts) / 60
        shown = " ".join(f"{name} {means[name]:.3f}" for name in LOSSES if name in means)
        self.say(
            f"step {self.step}/{self.config.optim.steps} {shown} lr {rate:.1e} {clips / seconds:.1f} clips/s "
            f"{left_min:.0f} min left"
        )
        for name, value in means.items():
            self.board.add_scalar(f"loss/{name}", value, self.step)
        self.board.add_scalar("clips_per_s", clips / seconds, self.step)
        self.board.add_scalar("learning_rate", rate, self.step)

    @torch.inference_mode()
    def _validate(self) -> None:
        """WER of the averaged model on a few clips, with both modalities and with each alone."""
        import jiwer

        texts = [clip.text for clip in self.val]
        rates = {}
        for name, use_audio, use_video in (("both", True, True), ("audio", True, False), ("video", False, True)):
            ids = []
            for clip in self.val:
                inputs = [
                    torch.from_numpy(x)[None].to(self.fabric.device)
                    for x in (
                        clip.audio,
                        clip.lips,
                        clip.audio_present & use_audio,
                        clip.video_present & use_video,
                        np.array(clip.frames),
                    )
                ]
                output = self.average(*inputs)
                ids += greedy(output.log_probs, output.lens)
            rates[name] = jiwer.wer(texts, [self.tokenizer.decode(i) for i in ids])
            self.board.add_scalar(f"wer/{name}", rates[name], self.step)
        shown = " ".join(f"{name} {100 * rate:.1f}" for name, rate in rates.items())
        self.say(f"step {self.step} WER % on {len(self.val)} validation clips: {shown}")

    def _save(self) -> None:
        """State and averaged model, each beside its place and renamed: a kill leaves the last whole ones."""
        state = {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
            "config": self.config.model_dump_json(),
            "data": self._data(),
        }
        part = self.out / f"{STATE}.tmp"
        try:
            self.fabric.save(part, state)
        except (OSError, RuntimeError) as error:  # torch's writer says a full disk with a RuntimeError
            part.unlink(missing_ok=True)
            raise AvsrError(
                f"{self.out}: cannot save step {self.step} ({str(error).splitlines()[0]}): free some space, then "
                f"continue from the last saved state with --resume"
            ) from error
        if self.fabric.is_global_zero:
            # The model first: a state that says the run is over must not be there without it.
            info = {"recipe": self.config.model_dump(mode="json"), "step": self.step, "clips": len(self.store)}
            info |= self.lineage
            checkpoint.save(self.out / MODEL, self.average, info)
            os.replace(part, self.out / STATE)
            self.board.flush()
        self.fabric.barrier()

    def _load_state(self) -> None:
        try:
            state = torch.load(self.out / STATE, map_location="cpu", weights_only=True)  # tensors; runs no code
            config, data = state["config"], state["data"]
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError) as error:
            raise AvsrError(
                f"{self.out / STATE}: not a saved state of this version ({str(error).splitlines()[0]}): choose "
                f"another --out"
            ) from error
        if config != self.config.model_dump_json():
            old, new = json.loads(config), json.loads(self.config.model_dump_json())
            if new["optim"].keys() != old["optim"].keys():
                raise AvsrError(
                    f"{self.out}: the run was begun by another version: go on from its weights with "
                    f"--set init={self.out / MODEL} and another --out"
                )
            changed = sorted(key for key in new if new[key] != old.get(key))
            raise AvsrError(
                f"{self.out} was trained with another recipe (changed: {', '.join(changed)}): resume it "
                f"with the same recipe and --set, or choose another --out"
            )
        if data != self._data():
            raise AvsrError(
                f"{self.out} was trained on other clips: resume it with the same --data, or choose another --out"
            )
        try:
            self.objective.load_state_dict(state["objective"])
        except RuntimeError as error:  # the same recipe, but its size has another shape in this version
            raise AvsrError(
                f"{self.out}: the run was begun by a version whose {self.config.size} has another shape: go on from "
                f"its weights with --set init={self.out / MODEL} and another --out"
            ) from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.step = state["step"]

    def _data(self) -> str:
        """What the data are, as far as the plan of an epoch and the vocabulary depend on them."""
        clips = [[entry.id, entry.frames] for _, _, entry in self.store.entries]
        return hashlib.sha256(json.dumps([self.tokenizer.tokens, clips]).encode()).hexdigest()


def launch(config: TrainConfig) -> Any:
    """Starts the processes of the run. Lightning starts the others by running this process's command again."""
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    for name in ("lightning.fabric", "lightning.pytorch"):  # whichever was imported last speaks for both
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*(Grad strides do not match|find_unused_parameters)")
    several = config.devices * config.nodes > 1
    # A batch of sound alone leaves the picture network without gradients.
    strategy = DDPStrategy(find_unused_parameters=True) if several else "auto"
    fabric = Fabric(precision=config.optim.precision, devices=config.devices, num_nodes=config.nodes, strategy=strategy)
    if several and fabric.device.type == "cpu":
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // config.devices))
    fabric.launch()
    return fabric


def hash_seed(*numbers: int) -> int:
    """A seed that differs wherever any of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def vocabulary(data: Sequence[Path], split: str) -> Tokenizer:
    """The characters of the training texts."""
    texts = [
        entry.text
        for folder in data
        for entry in ShardIndex(folder).entries
        if entry.text and (entry.split or "train") == split
    ]
    if not texts:
        raise AvsrError(f"no clip of split {split!r} with a text in {', '.join(map(str, data))}: nothing to train on")
    return Tokenizer.from_texts(texts)


def validation_clips(data: Sequence[Path], config: TrainConfig) -> list:
    """A few clips of the validation split, spread over it; none where there is no such split."""
    places = [
        (index, i)
        for index in map(ShardIndex, data)
        for i, entry in enumerate(index.entries)
        if entry.split == config.data.val_split and entry.text
    ]
    picks = np.unique(np.linspace(0, len(places) - 1, min(config.val_clips, len(places))).round().astype(int))
    return [places[i][0].load(places[i][1]) for i in picks]


def part(model: nn.Module, name: str) -> nn.Module:
    """A part of the network by its name, such as ``video_frontend`` or ``audio_frontend.encoder``."""
    try:
        found = model.get_submodule(name)
    except AttributeError:
        found = model
    if found is model or not found.state_dict():
        parts = ", ".join(child for child, module in model.named_children() if module.state_dict())
        raise AvsrError(f"no part {name!r} in the network: choose among {parts}, or what is in them")
    return found


def of_part(names: Iterable[str], name: str) -> set[str]:
    """Those of the tensors' names that belong to a part."""
    return {key for key in names if key.startswith(f"{name}.")}


def load_matching(model: nn.Module, source: nn.Module, parts: Sequence[str] = ()) -> tuple[set[str], int]:
    """Copies every weight whose name and shape agree; the rest keeps its fresh start. Parts that are named fit whole.

    Returns:
        Names of the tensors that were copied, and how many there are.

    Raises:
        AvsrError: there is no such part, or the source's has another shape.
    """
    own, kept = model.state_dict(), source.state_dict()
    fitting = {name: value for name, value in kept.items() if name in own and own[name].shape == value.shape}
    for name in parts:
        part(model, name)
        if not of_part(own, name) == of_part(fitting, name) == of_part(kept, name):
            raise AvsrError(f"{name} cannot be taken from init, whose {name} has another shape: leave it out")
    if parts:
        fitting = {key: fitting[key] for name in parts for key in of_part(fitting, name)}
    model.load_state_dict(own | fitting)
    return set(fitting), len(own)
