"""Which clips make which batch, in what order: a function of the seed and the step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
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


def plan_epoch(store: ClipStore, config: DataConfig, seed: int, epoch: int) -> list[list[Key]]:
    """The batches of an epoch: every clip with video once, some with others after it, and a share
    without video.

    With ``balance`` clips of speakers who have few come several times, see ``shown``. Clips of like
    length go together and batches come in random order. A batch holds at most ``max_frames``
    frames, padding and the slowest change of speed included only in so far as the lengths in the
    index tell.
    """
    rng = default_rng([seed, epoch])
    seen = [i for i in range(len(store)) if store.has_video(i)]
    heard = [i for i in range(len(store)) if not store.has_video(i)]
    if seen and heard:
        wanted = round(len(seen) * config.audio_only_share / (1 - config.audio_only_share))
        heard = [int(i) for i in rng.choice(heard, min(wanted, len(heard)), replace=False)]
    keys = [
        Key(epoch, i, _followers(store, i, config, rng), turn)
        for i, turn in shown(store, seen, config.balance, rng) + [(i, 0) for i in heard]
    ]
    frames = [sum(map(store.frames, (key.clip, *key.followers))) for key in keys]
    # A little noise on the lengths, so that the same clips do not always meet.
    order = np.argsort(np.array(frames) * rng.uniform(0.85, 1.15, len(frames)))
    batches: list[list[Key]] = [[]]
    longest = 0
    for place in order:
        longest = max(longest, frames[place])
        if batches[-1] and longest * (len(batches[-1]) + 1) > config.max_frames:
            batches.append([])
            longest = frames[place]
        batches[-1].append(keys[place])
    return [batches[int(i)] for i in rng.permutation(len(batches))]


def _followers(store: ClipStore, i: int, config: DataConfig, rng: Generator) -> tuple[int, ...]:
    """Clips of the same speaker that follow clip i; none for most."""
    same = others(store, i) if rng.random() < config.join else []
    if not same:
        return ()
    count = int(rng.integers(1, config.join_most + 1)) if config.join_most > 1 else 1
    return fitting(store.frames, i, rng.choice(same, count).tolist(), config.max_frames)


def fitting(
    frames: Callable[[int], int], i: int, followers: Sequence[int], max_frames: int
) -> tuple[int, ...]:
    """As many of the clips that are to follow clip i as leave room for two such clips in a
    batch, one at least."""
    room = max_frames // 2 - frames(i)
    kept: list[int] = []
    for j in followers:
        room -= frames(j)
        if kept and room < 0:
            break
        kept.append(j)
    return tuple(kept)


def shown(
    store: ClipStore, clips: Sequence[int], balance: float, rng: Generator
) -> list[tuple[int, int]]:
    """Clips and their turns, as many as there are clips.

    A speaker's share is proportional to the number of its clips to the power ``1 - balance``.
    """
    if not balance:
        return [(i, 0) for i in clips]
    speakers: dict[str | None, list[int]] = defaultdict(list)
    for i in clips:
        speakers[store.speaker(i)].append(i)
    shares = np.array([len(own) ** (1 - balance) for own in speakers.values()])
    wanted = np.round(len(clips) * shares / shares.sum()).astype(int)
    out = []
    for own, count in zip(speakers.values(), wanted.tolist(), strict=True):
        turns, rest = divmod(count, len(own))
        out += [(i, turn) for turn in range(turns) for i in own]
        out += [(int(i), turns) for i in rng.choice(own, rest, replace=False)]
    return out


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
