"""Which clips of a stream make which batch: a function of the seed and the step, as for clips that
can be read at any time, and known before any of them is read.

Shards come in another order each epoch. Each loader process of each rank, a reader, takes every
n-th of them, front to back, into a pool of bounded size. A batch is a clip drawn from the pool and
the clips there that are about as long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

from avsr.base.errors import AvsrError
from avsr.training.config import DataConfig
from avsr.training.data.plan import Key, fitting
from avsr.training.data.selection import NO_GROUP
from avsr.training.data.stream.catalogue import Catalogue, Shard

TURNS, POOL = 2**31, 2**31 + 1  # what a generator is for; no clip has such a number


class Draw(NamedTuple):
    """A batch drawn from the pool of a reader.

    Attributes:
        admitted: (shard, numbers of clips of it) that come into the pool before it is drawn, in
            order; a clip comes as often as it has turns.
        keys: its clips.
    """

    admitted: list[tuple[Shard, int]]
    keys: list[Key]


class Waiting(NamedTuple):
    """A clip in the pool.

    Attributes:
        shard, clip, turn: which, and for which time in this epoch.
        followers: how many clips are to follow it, if there are some of its speaker.
        length: frames that it will take, about.
    """

    shard: Shard
    clip: int
    turn: int
    followers: int
    length: float


class StreamPlan:
    """Batches of the steps from ``first`` to before ``last`` of one rank, see ``data.plan.Plan``.

    Rank r of w with n loader processes has n readers, and takes a batch of each in turn. With as
    many ranks and processes a run that is resumed goes on exactly. With others the epoch is cut
    anew: up to its end some clips come twice and some not at all.

    Raises:
        AvsrError: there are fewer shards than readers.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        config: DataConfig,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        world: int = 1,
        begun: int | None = None,
    ) -> None:
        self.catalogue, self.config, self.seed, self.rank = catalogue, config, seed, rank
        self.readers = max(1, config.workers)
        self.world, self.everywhere = world, world * self.readers
        self.done = first if begun is None else begun // world  # batches of this rank
        self.count = last - first
        turns, heard = catalogue.turns(config)
        self._turns = np.where(catalogue.seen, turns[catalogue.speakers], heard)
        self.shards = [shard for shard in catalogue.shards if self._turns[shard.numbers].any()]
        if len(self.shards) < self.everywhere:
            raise AvsrError(
                f"{len(self.shards)} shards for {world} x {self.readers} loader processes, each of "
                "which streams its own: set data.workers lower, or prepare the corpus with fewer "
                "clips a shard"
            )

    def __len__(self) -> int:
        return self.count

    def draws(self, worker: int) -> Iterator[Draw]:
        """The batches of one of the loader processes, from where the run goes on."""
        reader = (self.done + worker) % self.readers
        skipped = len(range(reader, self.done, self.readers))
        wanted = len(range(worker, self.count, self.readers))
        held: dict[int, list[Shard]] = {}  # by clip, the shard as often as the clip waits
        number = 0
        for epoch in itertools.count():
            for draw in self._epoch(epoch, reader):
                if number == skipped + wanted:
                    return
                number += 1
                if number <= skipped:
                    _account(held, draw)
                    continue
                waiting = [(shard, clip) for clip, shards in held.items() for shard in shards]
                held.clear()
                yield Draw(waiting + draw.admitted, draw.keys)

    def _epoch(self, epoch: int, reader: int) -> Iterator[Draw]:
        """The batches of a reader in an epoch: each clip of its shards once, or as balance wants
        it."""
        order = default_rng([self.seed, epoch]).permutation(len(self.shards))
        own = order[self.rank + reader * self.world :: self.everywhere]
        rng = default_rng([self.seed, epoch, POOL, self.rank, reader])
        pool: list[Waiting] = []
        admitted: list[tuple[Shard, int]] = []
        frames = 0
        for number in own.tolist():
            for waiting in self._shown(self.shards[number], epoch, rng):
                pool.append(waiting)
                admitted.append((waiting.shard, waiting.clip))
                frames += int(self.catalogue.frames[waiting.clip])
                while frames > self.config.shuffle_frames:
                    keys = self._drawn(pool, epoch, rng)
                    frames -= sum(int(self.catalogue.frames[key.clip]) for key in keys)
                    yield Draw(admitted, keys)
                    admitted = []
        while pool:
            yield Draw(admitted, self._drawn(pool, epoch, rng))
            admitted = []

    def _shown(self, shard: Shard, epoch: int, rng: Generator) -> Iterator[Waiting]:
        """The clips of a shard that come in an epoch, with their turns."""
        config, numbers = self.config, shard.numbers
        chances = default_rng([self.seed, epoch, TURNS, shard.first]).random(len(numbers))
        turns = (self._turns[numbers.start : numbers.stop] + chances).astype(int)
        # A little noise on the lengths, so that the same clips do not always meet.
        noise = rng.uniform(0.85, 1.15, len(numbers))
        for place, clip in enumerate(numbers):
            for turn in range(turns[place]):
                followers = 0
                if self.catalogue.groups[clip] != NO_GROUP and rng.random() < config.join:
                    followers = int(rng.integers(1, config.join_most + 1))
                length = self.catalogue.frames[clip] * (1 + followers) * noise[place]
                yield Waiting(shard, clip, turn, followers, float(length))

    def _drawn(self, pool: list[Waiting], epoch: int, rng: Generator) -> list[Key]:
        """Takes a batch out of the pool: a clip drawn at random and those about as long, padding
        included at most ``max_frames``."""
        lengths = np.array([waiting.length for waiting in pool])
        nearest = np.argsort(np.abs(lengths - lengths[rng.integers(len(pool))]), kind="stable")
        frames, most = self.catalogue.frames, self.config.max_frames
        keys: list[Key] = []
        longest = 0
        for place in nearest.tolist():
            waiting = pool[place]
            followers = self._followers(pool, waiting, rng) if waiting.followers else ()
            taken = int(sum(frames[clip] for clip in (waiting.clip, *followers)))
            longest = max(longest, taken)
            if keys and longest * (len(keys) + 1) > most:
                break
            keys.append(Key(epoch, waiting.clip, followers, waiting.turn))
        for place in sorted(nearest[: len(keys)].tolist(), reverse=True):
            del pool[place]
        return keys

    def _followers(self, pool: list[Waiting], waiting: Waiting, rng: Generator) -> tuple[int, ...]:
        """Clips of the pool that follow one of the same speaker."""
        groups, frames = self.catalogue.groups, self.catalogue.frames
        same = [
            other.clip
            for other in pool
            if groups[other.clip] == groups[waiting.clip] and other.clip != waiting.clip
        ]
        if not same:
            return ()
        picks = rng.choice(same, waiting.followers).tolist()
        return fitting(frames, waiting.clip, picks, self.config.max_frames)


def _account(held: dict[int, list[Shard]], draw: Draw) -> None:
    """Notes what comes into a pool and what is drawn from it."""
    for shard, clip in draw.admitted:
        held.setdefault(clip, []).append(shard)
    for key in draw.keys:
        held[key.clip].pop()
        if not held[key.clip]:
            del held[key.clip]
