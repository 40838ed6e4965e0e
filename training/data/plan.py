"""Which clips make which batch, in what order: a function of the seed and the step."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

from avsr.training.config import DataConfig
from avsr.training.data.selection import others
from avsr.training.data.store import ClipStore


class Key(NamedTuple):
    """A clip as an epoch shows it: what follows it, and how often it was shown before."""

    epoch: int
    clip: int
    followers: tuple[int, ...] = ()
    turn: int = 0


class Batches:
    """The batches of an epoch in columns, 25 bytes a clip; as tuples they would take 130.

    Attributes:
        epoch: its number.
        clips, turns: (K,) int32 of its keys.
        followers: (F,) int32 of all of them, one after the other.
        follow: (K + 1,) where in these those of a key begin.
        order: (K,) int32, the places of the keys, one batch after the other.
        begins: (batches + 1,) where in it a batch begins.
        shuffled: (batches,) in the order in which they come.
    """

    def __init__(
        self,
        epoch: int,
        clips: np.ndarray,
        turns: np.ndarray,
        followers: array[int],
        follow: array[int],
        order: np.ndarray,
        begins: np.ndarray,
        shuffled: np.ndarray,
    ) -> None:
        self.epoch, self.clips, self.turns = epoch, clips, turns
        self.followers, self.follow = followers, follow
        self.order, self.begins, self.shuffled = order, begins, shuffled

    def __len__(self) -> int:
        return len(self.shuffled)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> list[Key]:
        batch = self.shuffled[number]
        places = self.order[self.begins[batch] : self.begins[batch + 1]]
        return [self._key(place) for place in places.tolist()]

    def _key(self, place: int) -> Key:
        followers = tuple(self.followers[self.follow[place] : self.follow[place + 1]])
        return Key(self.epoch, int(self.clips[place]), followers, int(self.turns[place]))


def plan_epoch(store: ClipStore, config: DataConfig, seed: int, epoch: int) -> Batches:
    """The batches of an epoch: every clip with video once, some with others after it, and a share
    without video.

    With ``balance`` clips of speakers who have few come several times, see ``shown``. Clips of like
    length go together and batches come in random order. A batch holds at most ``max_frames``
    frames, padding and the slowest change of speed included only in so far as the lengths in the
    index tell.
    """
    rng = default_rng([seed, epoch])
    seen, heard = np.flatnonzero(store.seen), np.flatnonzero(~store.seen)
    if len(seen) and len(heard):
        wanted = round(len(seen) * config.audio_only_share / (1 - config.audio_only_share))
        heard = rng.choice(heard, min(wanted, len(heard)), replace=False)
    clips, turns = shown(store, seen, config.balance, rng)
    clips = np.concatenate([clips, heard]).astype(np.int32)
    turns = np.concatenate([turns, np.zeros(len(heard))]).astype(np.int32)
    followers, follow = array("i"), array("q", [0])
    frames = store.frames[clips].astype(np.int64)
    for place, clip in enumerate(clips.tolist()):
        for follower in _followers(store, clip, config, rng):
            followers.append(follower)
            frames[place] += store.frames[follower]
        follow.append(len(followers))
    # A little noise on the lengths, so that the same clips do not always meet.
    order = np.argsort(frames * rng.uniform(0.85, 1.15, len(frames))).astype(np.int32)
    begins = _begins(frames[order], config.max_frames)
    shuffled = rng.permutation(len(begins) - 1)
    return Batches(epoch, clips, turns, followers, follow, order, begins, shuffled)


def _begins(frames: np.ndarray, most: int) -> np.ndarray:
    """Where batches of clips in this order begin, each as long as can be with ``most`` frames; and
    where the last one ends.

    Args:
        frames: (K,) of the clips.
        most: in a batch, padding included.
    """
    begins = [0]
    longest = 0
    for place, length in enumerate(frames.tolist()):
        longest = max(longest, length)
        count = place - begins[-1]
        if count and longest * (count + 1) > most:
            begins.append(place)
            longest = length
    return np.array([*begins, len(frames)])


def _followers(store: ClipStore, i: int, config: DataConfig, rng: Generator) -> tuple[int, ...]:
    """Clips of the same speaker that follow clip i; none for most."""
    same = others(store, i) if rng.random() < config.join else []
    if not same:
        return ()
    count = int(rng.integers(1, config.join_most + 1)) if config.join_most > 1 else 1
    picks = rng.choice(same, count).tolist()
    return fitting(store.frames, i, picks, config.max_frames)


def fitting(
    frames: np.ndarray, i: int, followers: Sequence[int], max_frames: int
) -> tuple[int, ...]:
    """As many of the clips that are to follow clip i as leave room for two such clips in a
    batch, one at least; frames of all clips are (clips,) int32."""
    room = max_frames // 2 - int(frames[i])
    kept: list[int] = []
    for j in followers:
        room -= int(frames[j])
        if kept and room < 0:
            break
        kept.append(j)
    return tuple(kept)


def shown(
    store: ClipStore, clips: np.ndarray, balance: float, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Clips and their turns, as many as there are clips.

    A speaker's share is proportional to the number of its clips to the power ``1 - balance``.
    """
    if not balance or not len(clips):
        return clips, np.zeros(len(clips))
    speakers: dict[str | None, list[int]] = defaultdict(list)
    for i in clips.tolist():
        speakers[store.speaker(i)].append(i)
    shares = np.array([len(own) ** (1 - balance) for own in speakers.values()])
    wanted = np.round(len(clips) * shares / shares.sum()).astype(int)
    picked, turns = [], []
    for own, count in zip(speakers.values(), wanted.tolist(), strict=True):
        whole, rest = divmod(count, len(own))
        picked += [np.tile(own, whole), rng.choice(own, rest, replace=False)]
        turns += [np.repeat(np.arange(whole), len(own)), np.full(rest, whole)]
    return np.concatenate(picked), np.concatenate(turns)


class Plan:
    """Batches of the steps from ``first`` to before ``last``; rank r of w takes every w-th.

    Resuming is starting at a later step: ``begun`` batches were taken before it, by all ranks, as
    many as these would have taken by default.
    """

    def __init__(
        self,
        store: ClipStore,
        config: DataConfig,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        world: int = 1,
        begun: int | None = None,
    ) -> None:
        self.args = (store, config, seed)
        self.first, self.last, self.rank, self.world = first, last, rank, world
        self.begun = first * world if begun is None else begun

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = 0, 0  # start: global number of the epoch's first batch
        batches = plan_epoch(*self.args, epoch)
        for step in range(self.first, self.last):
            number = self.begun + (step - self.first) * self.world + self.rank
            while number >= start + len(batches):
                start += len(batches)
                epoch += 1
                batches = plan_epoch(*self.args, epoch)
            yield batches[number - start]
