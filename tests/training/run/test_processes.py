"""Several processes train one model: alike to one process with all the clips, and they end
together."""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import failing
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ended import ended, until_ended
from failing import fails_in
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from toy import SHAPE, TEXTS, TINY, make_clip

from avsr.base.errors import AvsrError
from avsr.model import checkpoint
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.model.tokenizer import Tokenizer
from avsr.training.config import AugmentConfig, LossConfig, TrainConfig
from avsr.training.data.batch import Batch, collate
from avsr.training.data.dataset import TrainSet
from avsr.training.data.store import ClipStore
from avsr.training.losses import Objective
from avsr.training.run import processes
from avsr.training.run.processes import run_together
from avsr.training.train import train

TOKENIZER = Tokenizer.from_texts(TEXTS)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def objective() -> Objective:
    """Nothing is drawn in it, and nothing in it depends on which clips share a process."""
    model = ModelConfig(tokens=TOKENIZER.tokens, dropout=0, **SHAPE)
    torch.manual_seed(0)
    made = Objective(
        AVSR(model),
        LossConfig(lips_only=0, sound_only=0, distil_start=0, teacher="full"),
    )
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


def one_of_two(rank: int, batches: list[Batch], out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{out}/meeting", rank=rank, world_size=2)
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
    # a picture borrowed from another clip of the batch is another one in a batch of fewer clips
    config = AugmentConfig(non_speech=0, borrow=0)
    dataset = TrainSet(store, TOKENIZER, made.model.config, config, 0)
    items = [dataset[(0, i)] for i in range(len(clips))]
    whole, batches = collate(items), [collate(items[:4]), collate(items[4:])]
    mp.spawn(one_of_two, (batches, str(tmp_path)), nprocs=2)
    alone = gradients(made, whole)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        lacking = alone.keys() - found.keys()
        assert not found.keys() - alone.keys()
        assert lacking <= {"loss audio"}  # the one long clip has lips
        for name in alone.keys() - lacking:
            value = alone[name]
            torch.testing.assert_close(
                found[name], value, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


# -------------------------------------------------------------------------------- they end together


@pytest.mark.parametrize(
    ("ranks", "how", "error", "told"),
    [
        ((1,), "mistake", AvsrError, "clip7 cannot be read: name another$"),
        ((0,), "mistake", AvsrError, "clip7 cannot be read: name another$"),
        ((0, 1), "mistake", AvsrError, "clip7 cannot be read: name another$"),
        ((1,), "bug", KeyError, "no such thing"),
        ((0,), "bug and abort", KeyError, "no such thing"),
        ((1,), "abort", AvsrError, "process 2 of 2 was ended by SIGABRT, so all were .*--resume$"),
        ((0,), "killed", AvsrError, "process 1 of 2 was ended by SIGKILL, so all were .*--resume$"),
        ((1,), "killed", AvsrError, "process 2 of 2 was ended by SIGKILL, so all were .*--resume$"),
    ],
)
def test_one_processs_error_ends_all_and_is_told_once(
    ranks: tuple[int, ...],
    how: str,
    error: type[Exception],
    told: str,
    capfd: pytest.CaptureFixture,
) -> None:
    lines: list[str] = []
    began = time.monotonic()
    with pytest.raises(error, match=told):
        run_together(functools.partial(fails_in, ranks, how), TrainConfig(devices=2), lines.append)
    assert time.monotonic() - began < 300  # gloo would wait for half an hour
    assert len(lines) == 2
    assert all(ended(int(pid)) for pid in lines)
    assert "Traceback" not in capfd.readouterr().err


def test_nobody_goes_on_when_the_one_who_started_them_is_killed() -> None:
    folder = str(Path(failing.__file__).parent)
    code = (
        f"import sys, functools; sys.path.insert(0, {folder!r})\n"
        "from avsr.training.config import TrainConfig\n"
        "from avsr.training.run.processes import run_together\n"
        "from failing import fails_in\n"
        "say = functools.partial(print, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    run_together(functools.partial(fails_in, (1,), 'sleeps'), TrainConfig(devices=2), "
        "say)\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    pids = [int(victim.stdout.readline()) for _ in range(2)]
    assert not any(ended(pid) for pid in pids)
    victim.kill()
    victim.wait()
    until_ended(pids)


def never(**_: object) -> None:
    raise AssertionError("works alone")


def test_nodes_that_are_not_there_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in processes.OPEN:
        monkeypatch.delenv(name, raising=False)
    for devices in (1, 2):
        with pytest.raises(
            AvsrError,
            match=r"^nodes = 5: this is one machine\. .*torchrun or srun.*--set nodes=1 trains",
        ):
            run_together(never, TrainConfig(nodes=5, devices=devices), print)


def test_more_devices_than_there_are_start_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 4)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(
        AvsrError, match=r"^devices = 64: this machine has 4 cores; --set devices=4 uses them all$"
    ):
        run_together(never, TrainConfig(devices=64), print)


def waits_for_a_node(say: Callable[[str], object], connected: Callable[[], object]) -> None:
    dist.init_process_group("gloo", rank=0, world_size=2)
    connected()


def test_a_node_that_does_not_come_is_said_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.WAIT_FOR_NODES_S < 60
    monkeypatch.setattr(processes, "WAIT_FOR_NODES_S", 5)
    port, lines = free_port(), []
    for name, value in zip(processes.OPEN, ("0", "127.0.0.1", str(port)), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(
        AvsrError, match=rf"nodes = 2: not all came to 127\.0\.0\.1:{port} within 5 s"
    ):
        run_together(waits_for_a_node, TrainConfig(nodes=2), lines.append)
    assert lines == [f"waiting for 1 more nodes at 127.0.0.1:{port}"]


def test_as_many_processes_as_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        AvsrError, match=r"devices = 2, nodes = 1: 3 processes were started from outside"
    ):
        run_together(never, TrainConfig(devices=2), print)
    # this one helps another
    assert not run_together(lambda say: None, TrainConfig(devices=3), print)


class _EndsItsReader(Dataset):
    """Its first item kills the process that reads it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return i


def reads(say: Callable[[str], object]) -> None:
    list(DataLoader(_EndsItsReader(), num_workers=1))


def loses_another(say: Callable[[str], object]) -> None:
    raise RuntimeError("[/third_party/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:1")


def test_a_reading_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(AvsrError, match=r"^a process that reads clips was ended .*--resume$"):
        run_together(reads, TrainConfig(), print)


def test_a_rank_that_torchrun_started_says_that_it_lost_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RuntimeError, match="gloo"):
        run_together(loses_another, TrainConfig(), print)  # alone, that is something else
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AvsrError, match=r"^another process of this run has ended.*--resume$"):
        run_together(loses_another, TrainConfig(devices=2), print)


# ---------------------------------------------------------------------------------- a run of theirs


LEARN = [*TINY, "optim.warmup=5", "optim.lr=3e-3", "log_every=10", "save_every=100"]
LEARN += ["loss.streams_first=0"]


def losses_of(lines: list[str]) -> dict[int, float]:
    """Mean total loss by step, as the log has it."""
    found = [re.match(r"step (\d+)/\d+ total ([\d.]+)", line) for line in lines]
    return {int(match[1]): float(match[2]) for match in found if match}


@pytest.mark.slow
def test_two_processes_learn_and_go_on_as_one_and_as_two_again(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = corpus(), tmp_path / "run"

    def go(steps: int, devices: int, resume: bool = True) -> list[str]:
        lines: list[str] = []
        more = [*LEARN, f"optim.steps={steps}", f"devices={devices}"]
        path = train("grid-tiny", [folder], out, resume=resume, overrides=more, say=lines.append)
        assert path == out / "model.safetensors"
        assert checkpoint.load(path)[1]["step"] == steps
        return lines

    first = go(40, 2, resume=False)
    assert losses_of(first).keys() == {10, 20, 30, 40}
    assert losses_of(first)[40] < 0.8 * losses_of(first)[10]
    state = torch.load(out / "state.ckpt", weights_only=True)
    assert state["batches"] == 80
    alone = go(50, 1)
    assert "resumed with devices = 1 (was 2)" in alone
    assert losses_of(alone)[50] < losses_of(first)[20]
    assert torch.load(out / "state.ckpt", weights_only=True)["batches"] == 90
    again = go(60, 2)
    assert losses_of(again)[60] < losses_of(first)[20]
    assert torch.load(out / "state.ckpt", weights_only=True)["batches"] == 110


@pytest.mark.slow
def test_a_run_whose_weights_are_parted_is_the_run_in_which_each_process_has_them(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """Also where one batch is sound alone; and the one goes on as the other."""
    folder = corpus([make_clip(i, text, video=i != 2) for i, text in enumerate(TEXTS)])

    def go(name: str, steps: int, strategy: str, resume: bool = False) -> dict[int, float]:
        lines: list[str] = []
        more = [*LEARN, f"optim.steps={steps}", "devices=2", f"strategy={strategy}", "log_every=1"]
        more += ["model.dropout=0", "optim.accumulate=2"]
        out = tmp_path / name
        train("grid-tiny", [folder], out, resume=resume, overrides=more, say=lines.append)
        return losses_of(lines)

    each = go("each", 4, "ddp")
    parted = go("parted", 4, "fsdp")
    assert list(parted.values()) == pytest.approx(list(each.values()), rel=1e-3)
    first, second = (
        torch.load(tmp_path / name / "state.ckpt", weights_only=True) for name in ("each", "parted")
    )
    assert first["batches"] == second["batches"] == 16
    for name, value in first["average"].items():
        torch.testing.assert_close(second["average"][name], value, rtol=1e-3, atol=1e-4)
    assert list(go("parted", 5, "ddp", resume=True)) == [5]


@pytest.mark.slow
def test_two_devices_and_a_mistake_are_one_line(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "avsr",
        "train",
        "grid-tiny",
        "--data",
        str(corpus()),
        "--out",
        str(tmp_path / "a"),
    ]
    more = [*LEARN, "devices=2", "freeze=['ears']"]
    done = subprocess.run(
        [*command, *(part for value in more for part in ("--set", value))],
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("avsr: ")]
    assert done.returncode == 1
    assert len(said) == 1
    assert "no part 'ears' in the network" in said[0]
    assert "Traceback" not in done.stderr
