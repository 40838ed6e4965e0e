"""Processes of a run that fail. They import little, because each is a Python of its own."""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from avsr.base.errors import AvsrError


def meet() -> int:
    """Joins the others; returns the rank."""
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=2)
    return rank


def arrives_late() -> list[Any]:
    """For `Late`: says which process this is, and waits until the one that started it is gone."""
    started_by = os.getppid()
    print(os.getpid(), flush=True)
    while os.getppid() == started_by:
        time.sleep(0.01)
    return [0]


class Late:
    """A data set that a process cannot begin with while the one that started it lives."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[()]]:
        return arrives_late, ()


def fails_in(
    ranks: tuple[int, ...], how: str, say: Callable[[str], object], connected: Callable[[], object]
) -> None:
    """Says its process id, then some ranks fail while the others wait for them."""
    rank = meet()
    connected()
    say(str(os.getpid()))
    dist.barrier()
    if rank not in ranks:
        dist.all_reduce(torch.zeros(1))
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "bug":
        raise KeyError("no such thing")
    elif how == "bug and abort":
        atexit.register(os.abort)  # as a thread that still waits for the others does now and then
        raise KeyError("no such thing")
    elif how == "abort":
        os.abort()
    elif how == "sleeps":
        time.sleep(600)
    raise AvsrError("clip7 cannot be read: name another")
