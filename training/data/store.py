"""The clips that a run trains on where all of them can be read at any time: what they say, and
reading them once."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.preprocessing.text import spelt
from avsr.training.data.augmentation.augment import Sample
from avsr.training.data.cache import FRAME_BYTES, Arrays, ClipCache
from avsr.training.data.selection import Selection, Use, others


class ClipStore(Selection):
    """Training clips of several prepared folders, read on demand and kept decoded in memory where
    they fit.

    Args:
        folders: prepared corpora.
        split, tokenizer, use, per_frame, language, crops, longest: see ``Selection``.
        cache_gb: clips are kept decoded if all of them fit into this size.

    Attributes:
        entries: (index, place in it, entry) of every clip that can be trained on.
        texts: what each says, as it is learnt.
        seen: numbers of the clips with lips.
        group: for a clip that may be spliced, all clips of its speaker that it may be spliced
            with, itself among them.
        by_words: such groups by their clips' number of words.
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
        self.entries: list[tuple[ShardIndex, int, ShardEntry]] = []
        self.texts: list[str] = []
        for folder in folders:
            self._add(ShardIndex(folder))
        self.seen = [i for i, (_, _, entry) in enumerate(self.entries) if entry.video_present]
        self.group, self.by_words = self._groups()
        self._cache: ClipCache | None = None
        frames = [entry.frames for _, _, entry in self.entries]
        if sum(frames) * FRAME_BYTES <= cache_gb * 1e9:
            self._cache = ClipCache(frames, [len(text.split()) for text in self.texts])

    def _add(self, index: ShardIndex) -> None:
        """Takes the clips of a corpus that can be used."""
        index.require_crops(self.crops, "training")
        for i, entry in enumerate(index.entries):
            text = self.usable(entry)
            if text is not None:
                self.entries.append((index, i, entry))
                self.texts.append(text)

    def _groups(self) -> tuple[dict[int, list[int]], dict[int, list[list[int]]]]:
        """Clips with lips of one corpus and speaker and with as many words; by clip and by number
        of words."""
        by_speaker: dict[tuple, list[int]] = defaultdict(list)
        for i, (index, _, entry) in enumerate(self.entries):
            if entry.video_present and entry.speaker:
                by_speaker[index.location, entry.speaker, len(self.texts[i].split())].append(i)
        by_words: dict[int, list[list[int]]] = defaultdict(list)
        for (_, _, words), members in by_speaker.items():
            by_words[words].append(members)
        return {i: members for members in by_speaker.values() for i in members}, dict(by_words)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def total_frames(self) -> int:
        return sum(entry.frames for _, _, entry in self.entries)

    @property
    def cache_bytes(self) -> int:
        """What all clips will take in memory, once for all processes of a machine; 0 where none are
        kept."""
        return self._cache.size if self._cache is not None else 0

    def fingerprint(self) -> str:
        """See ``Selection``."""
        clips = [[entry.id, entry.frames] for _, _, entry in self.entries]
        return hashlib.sha256(json.dumps([self.tokenizer.tokens, clips]).encode()).hexdigest()

    def frames(self, i: int) -> int:
        return self.entries[i][2].frames

    def text(self, i: int) -> str:
        return self.texts[i]

    def speaker(self, i: int) -> str | None:
        return self.entries[i][2].speaker

    def has_video(self, i: int) -> bool:
        return self.entries[i][2].video_present > 0

    def alike(self, i: int) -> list[int]:
        """See ``Clips``."""
        return self.group.get(i, [])

    def of_other_speakers(self, i: int, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        groups = self.by_words.get(len(self.text(i).split()), [])
        speakers = [clips for clips in groups if i not in clips]
        if not speakers or not self.has_video(i):
            return []
        return [int(rng.choice(speakers[int(rng.integers(len(speakers)))])) for _ in range(count)]

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """See ``Clips``."""
        return [j for j in others(self, i) if self.text(j).split()[place] in words]

    def drawn(self, count: int, rng: Generator) -> list[int]:
        """See ``Clips``."""
        return rng.integers(len(self), size=count).tolist()

    def other_seen(self, i: int, rng: Generator) -> int | None:
        """See ``Clips``."""
        seen = self.seen
        if len(seen) < 2:
            return None
        return seen[(seen.index(i) + int(rng.integers(1, len(seen)))) % len(seen)]

    def words_seen(self) -> set[str]:
        """See ``Clips``."""
        return {word for i in self.seen for word in self.text(i).split()}

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
        entry, text = self.entries[i][2], self.texts[i]
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
        index, position, _ = self.entries[i]
        return index.audio(position)

    def _read(self, i: int) -> Arrays:
        """The arrays of clip i."""
        index, position, _ = self.entries[i]
        return arrays_of(index.load(position), self.texts[i], self.language)


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
