"""The clips of a stream that are in memory, undecoded: batches are made of them, and whatever of
other clips a clip is mixed with comes from among them."""

from __future__ import annotations

import copy
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from avsr.base.errors import AvsrError
from avsr.preprocessing.members import decode_audio
from avsr.preprocessing.shards import SHARD_TROUBLE
from avsr.preprocessing.streaming import Members, decode
from avsr.preprocessing.text import spelt
from avsr.training.data.augmentation.augment import Sample
from avsr.training.data.dataset import TrainSet
from avsr.training.data.selection import NO_GROUP, others
from avsr.training.data.store import arrays_of, sample_of
from avsr.training.data.stream.catalogue import Catalogue, Shard
from avsr.training.data.stream.plan import Draw, StreamPlan


@dataclass
class Held:
    """A clip in the pool: its members, what it says, and how often it still comes."""

    shard: Shard
    members: Members
    text: str
    turns: int = 1


class Pool:
    """Clips by their numbers in the catalogue, see ``selection.Clips``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._held: dict[int, Held] = {}
        self._numbers: list[int] = []  # in the order in which they came, as are those that follow
        self._seen: list[int] = []
        self._groups: dict[int, list[int]] = defaultdict(list)

    def add(self, i: int, shard: Shard, members: Members) -> None:
        """Takes clip i.

        Raises:
            AvsrError: its text cannot be read.
        """
        try:
            text = spelt(json.loads(members["json"])["text"] or "", self.catalogue.language)
        except SHARD_TROUBLE as error:
            raise self._damaged(shard, members, "its json cannot be read") from error
        self._held[i] = Held(shard, members, text)
        self._numbers.append(i)
        if self.catalogue.seen[i]:
            self._seen.append(i)
        group = int(self.catalogue.groups[i])
        if group != NO_GROUP:
            self._groups[group].append(i)

    def again(self, i: int) -> bool:
        """Lets clip i come once more, if it is there."""
        if i not in self._held:
            return False
        self._held[i].turns += 1
        return True

    def drop(self, i: int) -> None:
        """Clip i has come once; it goes where that was the last time."""
        self._held[i].turns -= 1
        if self._held[i].turns:
            return
        del self._held[i]
        self._numbers.remove(i)
        if self.catalogue.seen[i]:
            self._seen.remove(i)
        group = int(self.catalogue.groups[i])
        if group != NO_GROUP:
            self._groups[group].remove(i)
            if not self._groups[group]:
                del self._groups[group]

    def __len__(self) -> int:
        return len(self._numbers)

    def sample(self, i: int) -> Sample:
        """Clip i as it was prepared.

        Raises:
            AvsrError: it is damaged, or not the one that the index tells of.
        """
        held = self._held[i]
        clip = decode(held.members, held.shard.part.source)
        if clip.frames != self.catalogue.frames[i]:
            raise self._damaged(held.shard, held.members, "its index has other lengths")
        arrays = arrays_of(clip, held.text, self.catalogue.language)
        return sample_of(clip.id, held.text, clip.speaker, arrays)

    def audio(self, i: int) -> np.ndarray:
        """The sound of clip i alone, (N,) float32.

        Raises:
            AvsrError: it is damaged.
        """
        held = self._held[i]
        try:
            return decode_audio(held.members["flac"], int(self.catalogue.frames[i]))
        except SHARD_TROUBLE as error:
            raise self._damaged(held.shard, held.members, str(error)) from error

    def text(self, i: int) -> str:
        """See ``Clips``."""
        return self._held[i].text

    def alike(self, i: int) -> list[int]:
        """See ``Clips``."""
        return self._groups.get(int(self.catalogue.groups[i]), [])

    def of_other_speakers(self, i: int, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        own, words = int(self.catalogue.groups[i]), self.catalogue.group_words
        speakers = [
            clips
            for group, clips in self._groups.items()
            if group != own and words[group] == words[own]
        ]
        if not speakers or own == NO_GROUP:
            return []
        return [int(rng.choice(speakers[int(rng.integers(len(speakers)))])) for _ in range(count)]

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """See ``Clips``."""
        return [j for j in others(self, i) if self._held[j].text.split()[place] in words]

    def drawn(self, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        return [self._numbers[k] for k in rng.integers(len(self), size=count)]

    def other_seen(self, i: int, rng: Generator) -> int | None:
        """See ``Clips``."""
        seen = self._seen
        if len(seen) < 2:
            return None
        return seen[(seen.index(i) + int(rng.integers(1, len(seen)))) % len(seen)]

    def words_seen(self) -> set[str]:
        """See ``Clips``."""
        return self.catalogue.seen_words

    @staticmethod
    def _damaged(shard: Shard, members: Members, what: str) -> AvsrError:
        return AvsrError(
            f"{shard.part.source}: clip {members.get('__key__')!r}: {what}; copy "
            "or prepare the shards again"
        )


class Reader:
    """Makes the batches of one loader process: reads, decodes, changes.

    Args:
        dataset: makes the items; a copy of it works on this reader's pool.
        plan: says which.
        worker: number of the process.
    """

    def __init__(self, dataset: TrainSet, plan: StreamPlan, worker: int) -> None:
        self.pool = Pool(plan.catalogue)
        self.dataset = copy.copy(dataset)
        self.dataset.store = self.pool
        self.draws = plan.draws(worker)
        self._shard: Shard | None = None  # that is open, in an epoch
        self._epoch = -1
        self._clips: Iterator[tuple[int, Members]] = iter(())

    def __iter__(self) -> Iterator[list[dict]]:
        """The items of each batch.

        Raises:
            AvsrError: a shard cannot be read, or a clip is damaged.
        """
        for draw in self.draws:
            self._admit(draw)
            yield [self.dataset[key] for key in draw.keys]
            for key in draw.keys:
                self.pool.drop(key.clip)

    def _admit(self, draw: Draw) -> None:
        """Reads on until all clips are in the pool from which the batch is drawn."""
        if draw.keys[0].epoch != self._epoch:
            self._epoch, self._shard = draw.keys[0].epoch, None
        for shard, clip in draw.admitted:
            if self.pool.again(clip):
                continue
            if shard is not self._shard:
                self._shard, self._clips = shard, zip(shard.numbers, shard.part.read(), strict=True)
            members = next(members for number, members in self._clips if number == clip)
            self.pool.add(clip, shard, members)


def streamed(dataset: TrainSet, plan: StreamPlan) -> Iterator[list[dict]]:
    """The items of all batches of a plan, in order, made in this process."""
    readers = [iter(Reader(dataset, plan, worker)) for worker in range(plan.readers)]
    for reader in itertools.islice(itertools.cycle(readers), len(plan)):
        yield next(reader)
