"""A few clips of the validation split, read once at the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.preprocessing.streaming import ShardFolder, decode, parts
from avsr.preprocessing.text import canonical
from avsr.training.config import TrainConfig
from avsr.training.data.loading import streams

FEW_SHARDS = 8  # are read for them where the shards are streamed


def validation_clips(data: Sequence[str | Path], config: TrainConfig) -> list[Clip]:
    """A few clips of the validation split, spread over it; none where there is no such split.

    Where shards are streamed they are spread over FEW_SHARDS that hold some, which are read front
    to back.
    """
    split, most = config.data.val_split, config.val_clips
    if streams(data, config.data):
        return _streamed(data, split, most)
    places = [
        (index, i)
        for index in map(ShardIndex, data)
        for i, entry in enumerate(index.entries)
        if entry.split == split and canonical(entry.text or "")
    ]
    return [places[i][0].load(places[i][1]) for i in _spread(len(places), most)]


def _streamed(data: Sequence[str | Path], split: str, most: int) -> list[Clip]:
    def wanted(entry: ShardEntry) -> bool:
        return entry.split == split and bool(canonical(entry.text or ""))

    holding = [part for folder in map(ShardFolder.of, data) for part in parts(folder, wanted)[1]]
    few = [holding[i] for i in _spread(len(holding), FEW_SHARDS)]
    picks = _spread(sum(len(part.places) for part in few), most)
    found = ((part.source, members) for part in few for members in part.read())
    return [decode(members, source) for i, (source, members) in enumerate(found) if i in picks]


def _spread(count: int, most: int) -> list[int]:
    """At most so many of a number of places, evenly spread."""
    picks = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return np.unique(picks).tolist()
