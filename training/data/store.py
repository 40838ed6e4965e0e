"""The clips that a run trains on where all of them can be read at any time: what they say, and
reading them once."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.index import Texts
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.preprocessing.text import spelt
from avsr.training.data.augmentation.augment import Sample
from avsr.training.data.cache import FRAME_BYTES, Arrays, ClipCache
from avsr.training.data.selection import NO_GROUP, Selection, Use, others


class ClipStore(Selection):
    """Training clips of several prepared folders, read on demand and kept decoded in memory where
    they fit.

    Args:
        folders: prepared corpora.
        split, tokenizer, use, per_frame, language, crops, longest: see ``Selection``.
        cache_gb: clips are kept decoded if all of them fit into this size.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        split: str,
        tokenizer: Tokenizer,
        cache_gb: float = 0,
        use: Use = "both",
        per_frame: int = 1,
        language: str = "",
        crops: str = OWN.name,
        longest: int | None = None,
    ) -> None:
        super().__init__(split, tokenizer, use, per_frame, language, crops, longest)
        # what each says, as it is learnt; none where the indexes spell all of them so
        self._texts: Texts | None = Texts()
        self._indexes = [ShardIndex(folder) for folder in folders]
        self._places = array("i")  # of each clip, which index it is of, and its place there
        for number, index in enumerate(self._indexes):
            self._add(number, index, self._texts)
        self._taken()
        if all(text == self._written(i) for i, text in enumerate(self._texts)):
            self._texts = None
        self._with_lips = np.flatnonzero(self.seen).astype(np.int32)
        # the clips of each group, one group after the other, and where each begins
        self._grouped = np.argsort(self.groups, kind="stable").astype(np.int32)
        ends = np.arange(len(self.group_words) + 1)
        self._begins = np.searchsorted(self.groups[self._grouped], ends)
        self._by_words: dict[int, list[int]] = defaultdict(list)  # groups by their number of words
        for group, words in enumerate(self.group_words):
            self._by_words[words].append(group)
        self._cache: ClipCache | None = None
        if self.total_frames * FRAME_BYTES <= cache_gb * 1e9:
            counts = [len(self.text(i).split()) for i in range(len(self))]
            self._cache = ClipCache(self.frames.tolist(), counts)

    def _add(self, number: int, index: ShardIndex, texts: Texts) -> None:
        """Takes the clips of a corpus that can be used, and what they say."""
        index.require_crops(self.crops, "training")
        for place, entry in enumerate(index.entries):
            text = self._take(index.location, entry)
            if text is not None:
                texts.append(text)
                self._places.extend((number, place))

    def _place(self, i: int) -> tuple[ShardIndex, int]:
        """Where clip i is."""
        number, place = self._places[2 * i : 2 * i + 2]
        return self._indexes[number], place

    def entry(self, i: int) -> ShardEntry:
        """What the index says of clip i."""
        index, place = self._place(i)
        return index.entries[place]

    @property
    def cache_bytes(self) -> int:
        """What all clips will take in memory, once for all processes of a machine; 0 where none are
        kept."""
        return self._cache.size if self._cache is not None else 0

    def fingerprint(self) -> str:
        """See ``Selection``."""
        digest = hashlib.sha256(f"[{json.dumps(self.tokenizer.tokens)}, [".encode())
        for i in range(len(self)):
            entry = self.entry(i)
            digest.update(
                (", " if i else "").encode() + json.dumps([entry.id, entry.frames]).encode()
            )
        digest.update(b"]]")
        return digest.hexdigest()

    def text(self, i: int) -> str:
        return self._written(i) if self._texts is None else self._texts[i]

    def _written(self, i: int) -> str:
        """What clip i says, as its index spells it."""
        index, place = self._place(i)
        return index.entries.text(place) or ""

    def speaker(self, i: int) -> str | None:
        return self.entry(i).speaker

    def alike(self, i: int) -> list[int]:
        """See ``Clips``."""
        group = int(self.groups[i])
        return [] if group == NO_GROUP else self._members(group).tolist()

    def _members(self, group: int) -> np.ndarray:
        """(clips,) int32 of a group."""
        return self._grouped[self._begins[group] : self._begins[group + 1]]

    def of_other_speakers(self, i: int, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        alike = self._by_words.get(len(self.text(i).split()), [])
        groups = [group for group in alike if group != self.groups[i]]
        if not groups or not self.seen[i]:
            return []
        picked = (self._members(groups[int(rng.integers(len(groups)))]) for _ in range(count))
        return [int(rng.choice(members)) for members in picked]

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """See ``Clips``."""
        return [j for j in others(self, i) if self.text(j).split()[place] in words]

    def drawn(self, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        return rng.integers(len(self), size=count).tolist()

    def other_seen(self, i: int, rng: Generator) -> int | None:
        """See ``Clips``."""
        seen = self._with_lips
        if len(seen) < 2:
            return None
        place = int(np.searchsorted(seen, i)) + int(rng.integers(1, len(seen)))
        return int(seen[place % len(seen)])

    def words_seen(self) -> set[str]:
        """See ``Clips``."""
        return self.seen_words

    def share(self, fabric: Any) -> None:
        """Lets the ranks of one machine share the clips that any of them has decoded. All ranks
        must call it."""
        if self._cache is not None:
            self._cache.share(fabric)

    def sample(self, i: int) -> Sample:
        """Clip i as it was prepared.

        Raises:
            AvsrError: it cannot be read.
        """
        entry, text = self.entry(i), self.text(i)
        arrays = self._cache.get(i) if self._cache is not None else None
        if arrays is None:
            arrays = self._read(i)
            if self._cache is not None:
                self._cache.put(i, arrays)
        return sample_of(entry.id, text, entry.speaker, arrays)

    def audio(self, i: int) -> np.ndarray:
        """The sound of clip i alone, (N,) float32.

        Raises:
            AvsrError: it cannot be read.
        """
        arrays = self._cache.get(i) if self._cache is not None else None
        if arrays is not None:
            return arrays[1]
        index, place = self._place(i)
        return index.audio(place)

    def _read(self, i: int) -> Arrays:
        """The arrays of clip i."""
        index, place = self._place(i)
        return arrays_of(index.load(place), self.text(i), self.language)


def arrays_of(clip: Clip, text: str, language: str) -> Arrays:
    """The arrays of a clip, see ``ClipCache``. Times are dropped where they are not those of the
    words of its text, as it is learnt."""
    # Times may come in another letter case, and with words of which nothing can be seen.
    spans = [[start, end] for word, start, end in clip.words or () if spelt(word, language)]
    times = np.array(spans) if spans and len(spans) == len(text.split()) else None
    return clip.lips, clip.audio, clip.audio_present, clip.video_present, times


def sample_of(id: str, text: str, speaker: str | None, arrays: Arrays) -> Sample:
    """A clip of these arrays."""
    lips, audio, audio_present, video_present, times = arrays
    words = None
    if times is not None:
        words = [(word, a, b) for word, (a, b) in zip(text.split(), times.tolist(), strict=True)]
    return Sample(id, text, speaker, audio, lips, audio_present, video_present, words)
