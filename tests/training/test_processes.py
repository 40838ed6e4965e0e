"""Several processes train one model: alike to one process with all the clips, and they end together."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from toy import TEXTS, make_clip

from avsr.config import ModelConfig
from avsr.model import AVSR
from avsr.tokenizer import Tokenizer
from avsr.training.batch import Batch, collate
from avsr.training.config import AugmentConfig, LossConfig
from avsr.training.data import ClipStore, TrainSet
from avsr.training.losses import Objective

TOKENIZER = Tokenizer.from_texts(TEXTS)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def objective() -> Objective:
    """Nothing is drawn in it, and nothing in it depends on which clips share a process."""
    small = {"crop": 32, "dim": 32, "heads": 2, "video_width": 4, "audio_width": 4, "stream_layers": 1}
    model = ModelConfig(tokens=TOKENIZER.tokens, joint_layers=1, dropout=0, **small)
    torch.manual_seed(0)
    made = Objective(AVSR(model), LossConfig(lips_only=0, sound_only=0, distil_start=0, teacher="full", space=0))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # its statistics are those of a process
    return made


def gradients(module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    losses = module(batch, 1.0)
    losses["total"].backward()
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    found = {f"loss {name}": value.detach() for name, value in losses.items()}
    return found | {name: p.grad for name, p in inner.named_parameters() if p.grad is not None}


def one_of_two(rank: int, port: int, batches: list[Batch], out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    module = DistributedDataParallel(objective(), find_unused_parameters=True)
    torch.save(gradients(module, batches[rank]), f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one_with_all_clips(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """Though one has four short clips, one of them sound alone, and the other a single long one."""
    clips = [make_clip(i, text) for i, text in enumerate(TEXTS[:3])]
    clips += [make_clip(3, "a", video=False), make_clip(4, "bin d set a lay c put", frames=40)]
    store = ClipStore([corpus(clips)], "train", TOKENIZER)
    made = objective()
    dataset = TrainSet(store, TOKENIZER, made.model.config, AugmentConfig(nothing=0), 0)
    items = [dataset[(0, i, -1)] for i in range(len(clips))]
    whole, batches = collate(items), [collate(items[:4]), collate(items[4:])]
    mp.spawn(one_of_two, (free_port(), batches, str(tmp_path)), nprocs=2)
    alone = gradients(made, whole)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        lacking = alone.keys() - found.keys()
        assert not found.keys() - alone.keys()
        assert lacking <= {"loss audio"}  # the one long clip has lips
        for name in alone.keys() - lacking:
            value = alone[name]
            torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
