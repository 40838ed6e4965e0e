"""The processes that train one model: how they are started, find each other and end together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

import torch

from avsr.base.errors import AvsrError
from avsr.base.processes.crew import leave_with_parent
from avsr.base.processes.machine import cores
from avsr.base.processes.signals import kept_from_children
from avsr.training.config import TrainConfig

WAIT_FOR_NODES_S = 50
# how nodes find each other that are started by hand
OPEN = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
# says that nobody of them opens it, as torchrun does
OPENED = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
# what their variables begin with
LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "LSB_", "OMPI_", "PMI_", "PMIX_", "HYDRA_")
# what gloo and NCCL say where the other side of a connection is no more
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL", "Broken pipe")
Say = Callable[[str], object]


def run_together(work: Callable[..., object], config: TrainConfig, say: Say) -> bool:
    """Does a run's work in as many processes as its recipe asks for, and waits for them.

    One process works right here. Several are started from here, and this one speaks for them: their
    log and their mistakes are told once. When one of them fails or is killed, the others are ended.
    Where torchrun, srun or the like started this process as one of several, it is one of the
    workers, and whoever started it watches over it.

    Args:
        work: called in each process with ``say``; can be pickled.
        config: says how many.
        say: takes one line of the log at a time.

    Returns:
        Whether this process has the result: false in the helpers of another one.

    Raises:
        AvsrError: a process was killed, or the processes do not find each other.
        Exception: whatever work raised first.
    """
    count = config.devices * config.nodes
    rank, started = _started_elsewhere()
    if started > 1 and started != count:
        raise AvsrError(
            f"devices = {config.devices}, nodes = {config.nodes}: {started} processes were started "
            "from outside "
            f"(torchrun, srun, ...): devices times nodes must be as many"
        )
    if count == 1 or started > 1:
        with _losses_told(others=started > 1):
            work(say=say)
        return rank == 0
    if config.nodes > 1 and any(name not in os.environ for name in OPEN):
        raise AvsrError(
            f"nodes = {config.nodes}: this is one machine. Start the command on every node with "
            "torchrun or srun, or "
            f"by hand with {', '.join(OPEN)} set; --set nodes=1 trains here alone"
        )
    most, kind = (
        (torch.accelerator.device_count(), "GPUs")
        if torch.accelerator.is_available()
        else (cores(), "cores")
    )
    if config.devices > max(2, most):  # two processes find room on one core
        raise AvsrError(
            f"devices = {config.devices}: this machine has {most} {kind}; --set devices={most} "
            "uses them all"
        )
    # PyTorch's C++ warns each rank of find_unused_parameters, which is asked for; it reads this
    # when it is imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    _Workers(work, config, say).watch()
    return os.environ.get("NODE_RANK", "0") == "0" or config.nodes == 1


def connect(config: TrainConfig) -> Any:
    """Lightning Fabric for this process: its device, and its connection to the others.

    Raises:
        AvsrError: there are not as many devices.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    # whichever was imported last speaks for both
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*Grad strides do not match")
    several = config.devices * config.nodes > 1
    strategy: Any = "auto"
    if several and config.strategy == "fsdp":
        from avsr.training.run import sharded  # takes a second to import

        strategy = sharded.strategy(config.devices * config.nodes)
    elif several:
        # A batch of sound alone leaves the picture network without gradients.
        strategy = DDPStrategy(find_unused_parameters=True)
    try:
        fabric = Fabric(
            precision=config.optim.precision,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=strategy,
        )
        if several and fabric.device.type == "cpu":
            torch.set_num_threads(max(1, cores() // config.devices))
        fabric.launch()
    except (ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise AvsrError(f"devices = {config.devices}, nodes = {config.nodes}: {reason}") from error
    return fabric


def _started_elsewhere() -> tuple[int, int]:
    """Rank of this process among those that a launcher started, and their number; 0 and 1 where
    none did."""
    if not any(name.startswith(LAUNCHERS) for name in os.environ):
        return 0, 1  # without Lightning's five seconds of import
    from lightning.fabric.plugins.environments import (
        LSFEnvironment,
        MPIEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    for kind in (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment):
        if kind.detect():
            found = kind()
            return found.global_rank(), found.world_size()
    return 0, 1


class _Workers:
    """The processes of this machine, seen from the one that started them."""

    def __init__(self, work: Callable[..., object], config: TrainConfig, say: Say) -> None:
        self.config, self.say = config, say
        context = multiprocessing.get_context("spawn")  # forked processes cannot use a GPU
        self.mail = context.SimpleQueue()
        self.errors: dict[int, BaseException] = {}  # by rank, in the order in which they came
        self.connected = 0
        place: dict[str, str] = {}
        if config.nodes == 1:
            # where they find each other; a port chosen for one of them to open may be taken by then
            self.meeting = torch.distributed.TCPStore(
                "127.0.0.1", 0, is_master=True, wait_for_workers=False
            )
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.meeting.port)} | OPENED
        self.processes = [
            context.Process(
                target=_worker, args=(work, self.mail, place | {"LOCAL_RANK": str(rank)})
            )
            for rank in range(config.devices)
        ]

    def watch(self) -> None:
        """Starts them and tells what they say until all are done; ends all when one fails."""
        began = time.monotonic()
        if self.config.nodes > 1:
            self.say(
                f"waiting for {self.config.nodes - 1} more nodes at "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            )
        try:
            with kept_from_children():
                for process in self.processes:
                    process.start()
            while not all(process.exitcode == 0 for process in self.processes):
                running = [
                    process.sentinel for process in self.processes if process.exitcode is None
                ]
                wait(running, timeout=0.1)
                self._read_mail()
                if any(process.exitcode for process in self.processes):
                    self._fail()
                if self.config.nodes > 1 and self.connected < len(self.processes):
                    self._check_nodes(time.monotonic() - began)
            self._read_mail()
        finally:
            for process in self.processes:
                if process.is_alive():
                    process.kill()
            for process in self.processes:
                if process.pid is not None:
                    process.join()

    def _read_mail(self) -> None:
        while not self.mail.empty():
            kind, content = self.mail.get()
            if kind == "say":
                self.say(content)
            elif kind == "error":
                rank, error = content
                self.errors.setdefault(rank, error)
            else:
                self.connected += 1

    def _fail(self) -> None:
        """Raises what happened first. A process that loses another one in the middle of its work
        fails, too."""
        time.sleep(0.5)  # what the same fault did to the others
        self._read_mail()
        errors = list(self.errors.values())
        own = [error for error in errors if isinstance(error, AvsrError)]
        if own:
            raise own[0]
        by_signal = [
            (-process.exitcode, rank)
            for rank, process in enumerate(self.processes)
            if process.exitcode and process.exitcode < 0
        ]
        # Who loses another process in a collective gets a RuntimeError, or is aborted for it, or
        # is aborted on its way out after an error that it told: none of that happened first.
        killed = [end for end in by_signal if end[0] != signal.SIGABRT]
        aborted = [end for end in by_signal if end[1] not in self.errors]
        told = [error for error in errors if not isinstance(error, RuntimeError)]
        if killed or (aborted and not told):
            number, rank = (killed or aborted)[0]
            raise AvsrError(
                f"process {rank + 1} of {len(self.processes)} was ended by "
                f"{signal.Signals(number).name}, so all were "
                "(memory may have run out: less data.cache_gb, data.max_frames or data.workers); "
                "go on with --resume"
            )
        if errors:
            raise (told or errors)[0]
        raise AvsrError(
            f"one of {len(self.processes)} processes ended before its time; go on with --resume"
        )

    def _check_nodes(self, waited_s: float) -> None:
        if waited_s > WAIT_FOR_NODES_S:
            raise AvsrError(
                f"nodes = {self.config.nodes}: not all came to "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
                f"within {WAIT_FOR_NODES_S} s: start the same command on all of them, each with "
                "its NODE_RANK"
            )


def _worker(work: Callable[..., object], mail: Any, environment: dict[str, str]) -> None:
    """One of several processes: works, and writes to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them: the parent ends them
    leave_with_parent()  # nobody goes on training into a folder of a run that was killed
    os.environ.update(environment)
    try:
        with _losses_told(others=False):  # of them the process that started this one tells
            work(
                say=lambda line: mail.put(("say", line)),
                connected=lambda: mail.put(("connected", None)),
            )
    except Exception as error:
        mail.put(("error", (int(environment["LOCAL_RANK"]), _portable(error))))
        raise SystemExit(1) from None


@contextmanager
def _losses_told(*, others: bool) -> Iterator[None]:
    """What the loss of another process does to this one, as one line.

    Args:
        others: whether that of another rank is told, too.

    Raises:
        AvsrError: a loader process of this one was lost, or another rank.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        said = str(error)
        # the loader's own words, and what happens to who reads from a process that is no more
        if "DataLoader worker" in said or isinstance(error, (ConnectionResetError, EOFError)):
            raise AvsrError(
                "a process that reads clips was ended (memory may have run out: less "
                "data.cache_gb, data.shuffle_frames or data.workers); go on with --resume"
            ) from error
        if others and isinstance(error, RuntimeError) and any(words in said for words in LOST):
            raise AvsrError(
                "another process of this run has ended, so this one does, too; that one says why, "
                "unless it was killed; go on with --resume"
            ) from error
        raise


def _portable(error: Exception) -> Exception:
    """The error as another process can read it, with a note of where it was raised."""
    where = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception may hold anything
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(where)
    return error
