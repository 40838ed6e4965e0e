"""Shards read front to back, from a disk, over HTTP or from object storage: for training that
streams, and for the loaders of others.

Memory does not grow with the corpus but by a few bytes a clip: the index is read line by line, and
of the clips there are those that are being shuffled, undecoded.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.index import MEMBERS, ShardEntry, in_one_line, parse_lines
from avsr.preprocessing.members import decode_clip
from avsr.preprocessing.remote import (
    CHUNK,
    is_url,
    no_index,
    open_file,
    open_filesystem,
    tries,
)
from avsr.preprocessing.shards import INDEX, SHARD_TROUBLE

Members = Mapping[str, bytes]  # contents of a clip's members by extension


@dataclass(frozen=True)
class ShardFolder:
    """Where the shards of a prepared corpus are; can be pickled into worker processes.

    Attributes:
        location: a path, or a URL that fsspec knows, without the name of the index.
    """

    location: str

    @classmethod
    def of(cls, location: str | Path) -> ShardFolder:
        """The folder of an index, or the folder itself."""
        folder = str(location).removesuffix(INDEX).rstrip("/")
        return cls(folder or ("/" if str(location).startswith("/") else "."))

    @property
    def remote(self) -> bool:
        return is_url(self.location)

    def open(self, name: str) -> IO[bytes]:
        """A file of the folder; over a network its blocks are fetched one after another.

        Raises:
            OSError: it is not there; a network's library has errors of its own.
        """
        # anew in each process: connections do not survive a fork
        filesystem, root = open_filesystem(self.location)
        if filesystem is not None:
            return open_file(filesystem, f"{root}/{name}")
        path = Path(root) / name
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("is no file")
        return path.open("rb")

    def index(self) -> tuple[dict[str, Any], Iterator[ShardEntry]]:
        """What the index says of the corpus, and its clips one by one, shard after shard.

        Raises:
            AvsrError: none can be read there, or the clips of a shard are not together.
        """
        name = f"{self.location}/{INDEX}"
        try:
            info, entries = parse_lines(self._lines(INDEX), name)
        except AvsrError:
            raise
        # each file system has errors of its own
        except Exception as error:
            raise no_index(self.location, INDEX, error) from error
        return info, _shard_by_shard(entries, name)

    def _lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, which need not be one that can seek."""
        rest = b""
        with self.open(name) as file:
            while chunk := file.read(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
        yield rest

    def clips(self, shard: str, count: int) -> Iterator[Members]:
        """The clips of a shard in order, undecoded.

        Args:
            shard: its name.
            count: how many the index says there are.

        Raises:
            AvsrError: it is missing, damaged or holds another number of clips. Over a network only
                after TRIES, of which each goes on behind the last whole clip.
        """
        done = 0
        for _ in tries() if self.remote else range(1):
            try:
                with self.open(shard) as file:
                    for number, members in enumerate(_members(file, shard)):
                        if number >= done:
                            done += 1
                            yield members
                if done == count:
                    return
                trouble: Exception = ValueError(f"it holds {done} clips, and {INDEX} says {count}")
            except AvsrError:
                raise
            # each file system has errors of its own, and tar
            except Exception as error:
                trouble = error
        said = getattr(trouble, "strerror", None) or str(*trouble.args[:1])
        said = said.partition(" @ ")[0]  # behind it webdataset names objects of Python
        raise AvsrError(
            f"{self.location}/{shard}: cannot be read behind its clip {done} "
            f"({in_one_line(said) or type(trouble).__name__}); copy or prepare the shards again"
        ) from trouble


def _shard_by_shard(entries: Iterator[ShardEntry], name: str) -> Iterator[ShardEntry]:
    """The same clips; raises AvsrError where those of a shard are not together and in order."""
    begun: set[str] = set()
    last: ShardEntry | None = None
    for entry in entries:
        if last is None or entry.shard != last.shard:
            in_order = entry.shard not in begun
            begun.add(entry.shard)
        else:
            in_order = entry.span > last.span
        if not in_order:
            raise AvsrError(
                f"{name}: its clips are not in the order of the shards, as streaming needs them; "
                "run `avsr prepare` again"
            )
        last = entry
        yield entry


def _members(file: IO[bytes], shard: str) -> Iterator[Members]:
    """The clips of an open shard, by the webdataset package."""
    try:
        from webdataset.tariterators import group_by_keys, tar_file_expander
    except ImportError as error:
        raise AvsrError(f"streaming shards needs webdataset ({install('webdataset')})") from error
    for members in group_by_keys(tar_file_expander([{"url": shard, "stream": file}])):
        lacking = [name for name in MEMBERS if name not in members]
        if lacking:  # it ends between two members
            raise ValueError(f"clip {members['__key__']!r} lacks its {lacking[0]}")
        yield members


def decode(members: Members, source: str) -> Clip:
    """The clip of these members.

    Raises:
        AvsrError: they are damaged; names clip and source.
    """
    try:
        return decode_clip(members)
    except SHARD_TROUBLE as error:
        raise AvsrError(
            f"{source}: cannot read clip {members.get('__key__')!r} ({in_one_line(str(error))}); "
            "copy or prepare the shards again"
        ) from error


@dataclass(frozen=True)
class ShardPart:
    """Some of the clips of a shard.

    Attributes:
        folder, name: where it is.
        clips: that it holds.
        places: (P,) int32, where in it those are that are wanted.
    """

    folder: ShardFolder
    name: str
    clips: int
    places: np.ndarray

    @property
    def source(self) -> str:
        """For messages."""
        return f"{self.folder.location}/{self.name}"

    def read(self) -> Iterator[Members]:
        """The clips that are wanted, in order, undecoded; raises as ``ShardFolder.clips``."""
        wanted = set(self.places.tolist())
        for place, members in enumerate(self.folder.clips(self.name, self.clips)):
            if place in wanted:
                yield members


def parts(
    folder: ShardFolder, wanted: Callable[[ShardEntry], bool]
) -> tuple[dict[str, Any], Iterator[ShardPart]]:
    """What the index of a folder says of it, and the shards that hold clips that are wanted.

    Args:
        folder: of shards.
        wanted: is asked of every clip, in order.

    Raises:
        AvsrError: see ``ShardFolder.index``.
    """
    info, entries = folder.index()

    def found() -> Iterator[ShardPart]:
        for name, own in itertools.groupby(entries, lambda entry: entry.shard):
            chosen = np.array([wanted(entry) for entry in own])
            if chosen.any():
                places = np.flatnonzero(chosen).astype(np.int32)
                yield ShardPart(folder, name, len(chosen), places)

    return info, found()


class ShardDataset(IterableDataset):
    """The clips of prepared shards, each once an epoch, for any loader that takes an iterable
    data set of PyTorch.

    Each worker process of a loader, and each rank of a run, reads shards of its own, front to
    back: of ``n`` ranks with ``w`` workers every ``n * w``-th. So there should be at least as many
    shards. Clips are decoded behind the shuffle buffer.

    Args:
        locations: folders that ``avsr prepare`` made: paths, or URLs that fsspec knows.
        split: clips of this split alone; clips of no split count as ``train``. None for all.
        shuffle_clips: size of the shuffle buffer. 0 leaves everything in the order of the shards.
        seed: of the shuffling; the same seed, epoch, ranks and workers give the same order.
        rank, world: of this process among those that share the clips; by default those of
            ``torch.distributed``, where it is initialised.
        transform: what to make of a clip, in the worker; the clip itself by default.

    Attributes:
        clips, frames: of the split.
        crops: how the mouths were cut out, see ``preprocessing.faces.crop_styles``; by location.

    Raises:
        AvsrError: no index can be read, or no clip is of this split. While it is read: a shard is
            missing or damaged.
    """

    def __init__(
        self,
        locations: str | Path | Sequence[str | Path],
        split: str | None = None,
        *,
        shuffle_clips: int = 0,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        transform: Callable[[Clip], Any] | None = None,
    ) -> None:
        if isinstance(locations, (str, Path)):
            locations = [locations]
        self.split, self.shuffle_clips, self.seed = split, shuffle_clips, seed
        self.rank, self.world, self.transform = rank, world, transform
        self.epoch = self.clips = self.frames = 0
        self.crops: dict[str, str] = {}
        self._shards: list[ShardPart] = []
        for folder in map(ShardFolder.of, locations):
            self._add(folder)
        if not self.clips:
            where = ", ".join(map(str, locations))
            raise AvsrError(f"{where}: no clip of split {split!r}; leave split out for all clips")

    def _add(self, folder: ShardFolder) -> None:
        """Counts the clips of a folder by its index."""
        info, found = parts(folder, self._asked_for)
        self.crops[folder.location] = str(info.get("crops", OWN.name))
        self._shards += found

    def _asked_for(self, entry: ShardEntry) -> bool:
        if self.split not in (None, entry.split or "train"):
            return False
        self.clips += 1
        self.frames += entry.frames
        return True

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass. Workers that persist do not hear of it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        rank, world = self._place()
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        order = np.arange(len(self._shards))
        if self.shuffle_clips:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        own = order[rank::world][number::workers]
        shards = (self._shards[i] for i in own)
        read = ((shard.source, members) for shard in shards for members in shard.read())
        if self.shuffle_clips:
            from webdataset.filters import shuffle

            size = self.shuffle_clips
            rng = random.Random(f"{self.seed} {self.epoch} {rank} {number}")
            read = shuffle(bufsize=size, initial=size, rng=rng)(read)
        for source, members in read:
            clip = decode(members, source)
            yield self.transform(clip) if self.transform else clip

    def _place(self) -> tuple[int, int]:
        """Rank and number of the processes that share the clips."""
        if self.world is not None:
            return self.rank or 0, self.world
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
