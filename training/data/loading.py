"""From prepared corpora to batches: all of a corpus within reach, or streamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from avsr.base.errors import AvsrError
from avsr.base.processes.crew import leave_with_parent
from avsr.base.processes.machine import cores
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.streaming import ShardFolder
from avsr.training.config import DataConfig
from avsr.training.data.batch import Batch, collate
from avsr.training.data.dataset import TrainSet
from avsr.training.data.plan import Key, Plan
from avsr.training.data.selection import Clips, Reads, Selection, Use
from avsr.training.data.store import ClipStore
from avsr.training.data.stream.catalogue import Catalogue
from avsr.training.data.stream.plan import StreamPlan
from avsr.training.data.stream.pool import Pool, Reader, streamed

AHEAD = 4  # batches that each loader process makes beforehand


def streams(locations: Sequence[str | Path], config: DataConfig) -> bool:
    """Whether shards are read front to back: where the recipe says so, and from any URL.

    Raises:
        AvsrError: the recipe forbids it, and one of the locations is a URL.
    """
    remote = [folder.location for folder in map(ShardFolder.of, locations) if folder.remote]
    if remote and config.stream == "no":
        raise AvsrError(
            f"data.stream is no, and {remote[0]} is a URL, of which shards are only streamed: "
            "leave data.stream out, or copy the shards to a disk"
        )
    return config.stream == "yes" or bool(remote)


def open_clips(
    locations: Sequence[str | Path],
    config: DataConfig,
    tokenizer: Tokenizer,
    network: Reads,
    use: Use | None = None,
) -> Selection:
    """The clips that a run trains on.

    Args:
        locations: prepared corpora.
        config: of the recipe.
        tokenizer, network: what is to be trained.
        use: in place of the recipe's.

    Raises:
        AvsrError: an index cannot be read, or its shards cannot be streamed or only that.
    """
    rest: Any = (
        use or config.use,
        network.outputs_per_frame,
        network.language,
        network.crops,
        network.longest,
    )
    if streams(locations, config):
        return Catalogue(locations, config.train_split, tokenizer, *rest)
    return ClipStore(locations, config.train_split, tokenizer, config.cache_gb, *rest)


def clips_of(selection: Selection) -> Clips:
    """What a training set makes its items from; of a stream nothing before it is read."""
    if isinstance(selection, Catalogue):
        return Pool(selection)
    assert isinstance(selection, ClipStore)
    return selection


def plan_of(selection: Selection, *args: Any, **more: Any) -> Plan | StreamPlan:
    """Which clips make which batch; arguments as of ``Plan``."""
    if isinstance(selection, Catalogue):
        return StreamPlan(selection, *args, **more)
    assert isinstance(selection, ClipStore)
    return Plan(selection, *args, **more)


def items(dataset: TrainSet, plan: Plan | StreamPlan) -> Iterator[list[dict]]:
    """The clips of each batch of a plan, made in this process."""
    if isinstance(plan, StreamPlan):
        return streamed(dataset, plan)
    return ([dataset[key] for key in keys] for keys in plan)


def loader(
    dataset: TrainSet,
    plan: Plan | StreamPlan,
    workers: int,
    pinned: bool = False,
    multiprocessing_context: str | None = None,
) -> Iterator[Batch]:
    """Batches in the plan's order, made ahead in worker processes.

    Args:
        dataset: makes the clips.
        plan: says which.
        workers: processes; 0 makes the batches here.
        pinned: batches lie in memory from which a GPU copies while the CPU goes on.
        multiprocessing_context: how workers start: fork, spawn or forkserver; by default as this
            Python does.

    Raises:
        AvsrError: a clip cannot be read.
    """
    how: dict[str, Any] = {
        "num_workers": workers,
        "prefetch_factor": AHEAD if workers else None,
        "worker_init_fn": _set_up,
        "pin_memory": pinned,
        "multiprocessing_context": multiprocessing_context if workers else None,
    }
    batches: DataLoader
    with warnings.catch_warnings():
        # more workers than cores, see `workers_told`
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        if isinstance(plan, StreamPlan):
            batches = DataLoader(_ToldStream(dataset, plan), batch_size=None, **how)
        else:
            # its items are (epoch, clip, followers) keys
            batches = DataLoader(
                _Told(dataset),
                batch_sampler=plan,
                collate_fn=_collate_told,
                **how,  # type: ignore[arg-type]
            )
        made = iter(batches)
    for batch in made:
        if isinstance(batch, AvsrError):
            raise batch
        yield batch


def workers_told(workers: int) -> str:
    """That there are more workers than cores, in a line for people; empty where there are not."""
    most = cores()
    if workers <= most:
        return ""
    there = "there is 1 core" if most == 1 else f"there are {most} cores"
    return f"data.workers is {workers}, and {there}: more workers than cores make nothing faster"


class _Told(Dataset):
    """The same items, and errors as items: raised in a worker, torch would wrap them into its
    traceback."""

    def __init__(self, dataset: TrainSet) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> dict | AvsrError:
        try:
            return self.dataset[key]
        except AvsrError as error:
            return error


class _ToldStream(IterableDataset):
    """The batches of a stream, and errors as batches."""

    def __init__(self, dataset: TrainSet, plan: StreamPlan) -> None:
        self.dataset, self.plan = dataset, plan

    def __iter__(self) -> Iterator[Batch | AvsrError]:
        worker = get_worker_info()
        made = (
            Reader(self.dataset, self.plan, worker.id) if worker else items(self.dataset, self.plan)
        )
        try:
            yield from map(collate, made)
        except AvsrError as error:
            yield error


def _collate_told(items: list[dict | AvsrError]) -> Batch | AvsrError:
    errors = [item for item in items if isinstance(item, AvsrError)]
    return errors[0] if errors else collate([item for item in items if isinstance(item, dict)])


def _set_up(_: int) -> None:
    torch.set_num_threads(1)
    leave_with_parent()
