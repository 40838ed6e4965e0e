"""What a run that streams knows of its corpora beforehand: a few numbers a clip, by one pass over
each index."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardEntry
from avsr.preprocessing.streaming import ShardFolder, ShardPart, parts
from avsr.training.config import DataConfig
from avsr.training.data.selection import Selection, Use


@dataclass(frozen=True)
class Shard:
    """A shard that holds clips for training.

    Attributes:
        part: these clips.
        first: number of the first of them.
    """

    part: ShardPart
    first: int

    @property
    def numbers(self) -> range:
        """Of its clips, in order."""
        return range(self.first, self.first + len(self.part.places))


class Catalogue(Selection):
    """What is known of the clips of a stream before any of them is read.

    Args:
        locations: prepared corpora, folders or URLs.
        split, tokenizer, use, per_frame, language, crops, longest: see ``Selection``.

    Attributes:
        shards: those with such clips.
    """

    def __init__(
        self,
        locations: Sequence[str | Path],
        split: str,
        tokenizer: Tokenizer,
        use: Use = "both",
        per_frame: int = 1,
        language: str = "",
        crops: str = OWN.name,
        longest: int | None = None,
    ) -> None:
        super().__init__(split, tokenizer, use, per_frame, language, crops, longest)
        self.shards: list[Shard] = []
        self._digest = hashlib.sha256(json.dumps(tokenizer.tokens).encode())
        for location in locations:
            self._add(ShardFolder.of(location))
        self._taken()
        self._fingerprint = self._digest.hexdigest()
        del self._digest  # cannot be pickled, as for loader processes that are spawned

    def _add(self, folder: ShardFolder) -> None:
        """Takes the clips of a corpus."""
        info, found = parts(folder, functools.partial(self._wanted, folder))
        crops = info.get("crops", OWN.name)
        if crops != self.crops:
            raise AvsrError(
                f"{folder.location}: its mouths are cut out as {crops!r} crops, and training takes "
                f"{self.crops!r}: run `avsr prepare` with --crops {self.crops}"
            )
        for part in found:
            self.shards.append(Shard(part, len(self) - len(part.places)))

    def _wanted(self, folder: ShardFolder, entry: ShardEntry) -> bool:
        """Takes a clip, if it can be trained on."""
        taken = self._take(folder.location, entry) is not None
        if taken:
            self._digest.update(json.dumps([entry.id, entry.frames]).encode())
        return taken

    def fingerprint(self) -> str:
        """See ``Selection``."""
        return self._fingerprint

    def turns(self, config: DataConfig) -> tuple[np.ndarray, float]:
        """How often clips come in an epoch, on average.

        Returns:
            For each speaker, how often one of its clips with lips comes, (speakers,) float64:
            their shares are proportional to the numbers of their clips to the power
            ``1 - balance``. And how often a clip without lips comes, so that such clips are
            ``audio_only_share``.
        """
        counts = np.bincount(self.speakers[self.seen], minlength=len(self._speakers))
        shares = np.where(counts, counts.clip(1) ** (1.0 - config.balance), 0.0)
        turns = counts.sum() * shares / max(shares.sum(), 1e-9) / counts.clip(1)
        seen, heard = int(counts.sum()), len(self) - int(counts.sum())
        if not (seen and heard):
            return turns, 1.0
        wanted = seen * config.audio_only_share / (1 - config.audio_only_share)
        return turns, min(1.0, wanted / heard)
