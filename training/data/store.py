"""The clips that a run trains on: which of a corpus can be used, what they say, and reading them
once."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from avsr.base.errors import AvsrError
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.preprocessing.text import spelt
from avsr.training.data.augment import Sample
from avsr.training.data.cache import FRAME_BYTES, ClipCache

# Why a clip is dropped, and what to do about it; ASKED is what the recipe wants.
ASKED = "without the modality that data.use asks for"
LOSSES = {
    "without a text": "give them texts",
    "with characters that the model lacks": "leave init out or spell the texts in its characters",
    "too short for their texts": (
        "look whether text and clip belong together, or set model.outputs_per_frame higher"
    ),
}
NO_TEXT, NO_CHARACTER, TOO_SHORT = LOSSES


def outputs_needed(ids: Sequence[int]) -> int:
    """Outputs that CTC needs for a target: one a token and one more between equal neighbours."""
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


class ClipStore:
    """Training clips of several prepared folders, read on demand and kept decoded in memory where
    they fit.

    Args:
        folders: prepared corpora.
        split: clips of this split are used; clips without any split count as ``train``.
        tokenizer: decides which texts can be written.
        cache_gb: clips are kept decoded if all of them fit into this size.
        use: clips without this modality are dropped; both drops none.
        per_frame: CTC outputs of the model for each frame; too short a clip for its text is
            dropped.
        language: in which texts are spelt, see ``preprocessing.text.spelt``.

    Attributes:
        entries: (index, place in it, entry) of every clip that can be trained on.
        texts: what each says, as it is learnt.
        dropped: (clip, reason) of every clip that cannot be trained on.
        losses: the names of those dropped for a reason that nobody asked for, by kind of reason.
        unknown: characters that the vocabulary lacks.
        seen: numbers of the clips with lips.
        group: for a clip that may be spliced, all clips of its speaker that it may be spliced
            with, itself among them.
        alike: such groups by their clips' number of words.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        split: str,
        tokenizer: Tokenizer,
        cache_gb: float = 0,
        use: Literal["both", "audio", "video"] = "both",
        per_frame: int = 1,
        language: str = "",
    ) -> None:
        self.split, self.tokenizer, self.use, self.per_frame = split, tokenizer, use, per_frame
        self.language = language
        self.dropped: list[tuple[str, str]] = []
        self.losses: dict[str, list[str]] = defaultdict(list)
        self.unknown: set[str] = set()
        self.entries: list[tuple[ShardIndex, int, ShardEntry]] = []
        self.texts: list[str] = []
        for folder in folders:
            self._add(ShardIndex(folder))
        self.seen = [i for i, (_, _, entry) in enumerate(self.entries) if entry.video_present]
        self.group, self.alike = self._groups()
        self._cache: ClipCache | None = None
        frames = [entry.frames for _, _, entry in self.entries]
        if sum(frames) * FRAME_BYTES <= cache_gb * 1e9:
            self._cache = ClipCache(frames, [len(text.split()) for text in self.texts])

    def _add(self, index: ShardIndex) -> None:
        """Takes the clips of a corpus that can be used."""
        index.require_crops(OWN.name, "training")
        for i, entry in enumerate(index.entries):
            if (entry.split or "train") != self.split:
                continue
            text = spelt(entry.text or "", self.language)
            kind, reason = self._unusable(entry, text)
            if not kind:
                self.entries.append((index, i, entry))
                self.texts.append(text)
                continue
            self.dropped.append((entry.id, reason))
            if kind != ASKED:
                self.losses[kind].append(entry.id)

    def _unusable(self, entry: ShardEntry, text: str) -> tuple[str, str]:
        """Why a clip of an index cannot be trained on: the kind of reason and the reason; empty
        where it can."""
        if self.use == "audio" and not entry.audio_present:
            return ASKED, "no sound, and data.use is audio"
        if self.use == "video" and not entry.video_present:
            return ASKED, "no lips, and data.use is video"
        if not text:
            return NO_TEXT, "no text"
        unknown = self.tokenizer.unknown(text)
        if unknown:
            self.unknown.update(unknown)
            return NO_CHARACTER, f"{text!r} has {unknown}, which this model's vocabulary lacks"
        need = math.ceil(outputs_needed(self.tokenizer.encode(text)) / self.per_frame)
        if entry.frames < need:
            return TOO_SHORT, f"{entry.frames} frames are too few for CTC, its text needs {need}"
        return "", ""

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

    def check_losses(self, most: float) -> None:
        """Refuses a corpus most of which would be lost.

        Args:
            most: share of the clips that may be dropped for reasons that nobody asked for.

        Raises:
            AvsrError: more are, or nothing is left.
        """
        lost = sum(len(names) for names in self.losses.values())
        total = lost + len(self)
        if not total:
            why = (
                f"{len(self.dropped)} are left out ({self.dropped[0][1]})"
                if self.dropped
                else "there are none"
            )
            raise AvsrError(
                f"no clip of split {self.split!r} can be used: {why}; name others, or change "
                "data.use"
            )
        if len(self) and lost <= most * total:
            return
        parts = [
            f"{len(names)} {kind} ({self._example(kind)})" for kind, names in self.losses.items()
        ]
        advice = [LOSSES[kind] for kind in self.losses]
        if len(self):
            advice.append(
                f"or set data.max_dropped={math.ceil(100 * lost / total) / 100:g} to train on the "
                "rest"
            )
        raise AvsrError(
            f"{lost} of {total} clips of split {self.split!r} cannot be trained on: "
            f"{', '.join(parts)}. To do: "
            f"{'; '.join(advice)}"
        )

    def _example(self, kind: str) -> str:
        """What tells most about a kind of loss: the characters, or the first of the clips."""
        if kind != NO_CHARACTER:
            return f"such as {self.losses[kind][0]}"
        return shown(sorted(self.unknown))

    def __len__(self) -> int:
        return len(self.entries)

    def frames(self, i: int) -> int:
        return self.entries[i][2].frames

    def text(self, i: int) -> str:
        return self.texts[i]

    def speaker(self, i: int) -> str | None:
        return self.entries[i][2].speaker

    def has_video(self, i: int) -> bool:
        return self.entries[i][2].video_present > 0

    def others(self, i: int) -> list[int]:
        """The other clips with lips of the same speaker and the same number of words; none for a
        clip without lips."""
        return [j for j in self.group.get(i, ()) if j != i]

    def of_other_speakers(self, i: int, count: int, rng: Generator) -> list[int]:
        """Clips with lips and as many words, each of a speaker drawn among the others."""
        groups = self.alike.get(len(self.text(i).split()), [])
        speakers = [clips for clips in groups if i not in clips]
        if not speakers or not self.has_video(i):
            return []
        return [int(rng.choice(speakers[int(rng.integers(len(speakers)))])) for _ in range(count)]

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """Those of ``others`` in which the word in that place is one of these."""
        return [j for j in self.others(i) if self.text(j).split()[place] in words]

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
        lips, audio, audio_present, video_present, times = arrays
        words = None
        if times is not None:
            words = [
                (word, a, b) for word, (a, b) in zip(text.split(), times.tolist(), strict=True)
            ]
        return Sample(
            entry.id, text, entry.speaker, audio, lips, audio_present, video_present, words
        )

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

    def _read(
        self, i: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """The arrays of clip i, see ClipCache. Times are dropped where they are not those of its
        words."""
        index, position, _ = self.entries[i]
        clip = index.load(position)
        # Times may come in another letter case, and with words of which nothing can be seen.
        spans = [
            [start, end] for word, start, end in clip.words or () if spelt(word, self.language)
        ]
        times = np.array(spans) if spans and len(spans) == len(self.texts[i].split()) else None
        return clip.lips, clip.audio, clip.audio_present, clip.video_present, times


def shown(characters: Sequence[str], most: int = 20) -> str:
    """Characters for a line of the log; what has no width of its own by its number."""
    names = [
        f"U+{ord(c):04X}" if unicodedata.category(c)[0] in "MCZ" else c for c in characters[:most]
    ]
    return " ".join(names) + (
        f" and {len(characters) - most} more" if len(characters) > most else ""
    )
