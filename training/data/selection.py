"""Which clips of prepared corpora a run can train on, and why it cannot on the others."""

from __future__ import annotations

import itertools
import math
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.random import Generator

from avsr.base.errors import AvsrError
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardEntry
from avsr.preprocessing.text import spelt
from avsr.training.data.augmentation.augment import Sample

Use = Literal["both", "audio", "video", "paired"]  # paired: sound and lips, never one alone
NO_GROUP = -1
# Why a clip is dropped, and what to do about it; ASKED is what the recipe wants.
ASKED = "without the modality that data.use asks for"
WANTS = {
    "audio": "data.use is audio",
    "video": "data.use is video",
    "paired": "this network takes sound and lips together",
}
LOSSES = {
    "without a text": "give them texts",
    "with characters that the model lacks": (
        "spell the texts in its characters, as avsr prepare --label-for MODEL does with those of a "
        "recogniser"
    ),
    "too short for their texts": (
        "look whether text and clip belong together, or set model.outputs_per_frame higher"
    ),
    "too long for this network": "cut them at pauses, such as by a manifest or subtitles",
}
NO_TEXT, NO_CHARACTER, TOO_SHORT, TOO_LONG = LOSSES


def outputs_needed(ids: Sequence[int]) -> int:
    """Outputs that CTC needs for a target: one a token and one more between equal neighbours."""
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


class Reads(Protocol):
    """What a network says of the clips that it is trained on: `ModelConfig` does, and what stands
    for an imported one."""

    @property
    def outputs_per_frame(self) -> int: ...

    @property
    def n_mels(self) -> int: ...

    @property
    def language(self) -> str:
        """In which texts are spelt."""

    @property
    def crops(self) -> str:
        """The style of the mouth crops."""

    @property
    def longest(self) -> int | None:
        """Frames of the longest clip, where there is such."""


class Clips(Protocol):
    """Clips by number, from which a training set makes its items: all of a corpus, or those of a
    stream that are in memory."""

    def __len__(self) -> int: ...

    def sample(self, i: int) -> Sample:
        """Clip i as it was prepared."""

    def audio(self, i: int) -> np.ndarray:
        """The sound of clip i alone, (N,) float32."""

    def text(self, i: int) -> str:
        """What clip i says, as it is learnt."""

    def alike(self, i: int) -> list[int]:
        """Those with lips of the same corpus, speaker and number of words, clip i among them; none
        for a clip without lips."""

    def of_other_speakers(self, i: int, count: int, rng: Generator) -> list[int]:
        """Clips with lips and as many words, each of a speaker drawn among the others."""

    def saying(self, i: int, place: int, words: set[str]) -> list[int]:
        """Those like clip i in which the word in that place is one of these."""

    def drawn(self, count: int, rng: Generator) -> list[int]:
        """Clips drawn among all of them, perhaps the same ones again."""

    def other_seen(self, i: int, rng: Generator) -> int | None:
        """A clip with lips, drawn among all but clip i."""

    def words_seen(self) -> set[str]:
        """All words of the clips with lips."""


def others(clips: Clips, i: int) -> list[int]:
    """Those like clip i but itself."""
    return [j for j in clips.alike(i) if j != i]


class Selection:
    """The clips of several corpora that can be trained on, numbered in the order of the indexes: 13
    bytes for each. Keeps account of those that cannot.

    Args:
        split: clips of this split are used; clips without any split count as ``train``.
        tokenizer: decides which texts can be written.
        use: clips without this modality are dropped; both drops none, paired those without
            either.
        per_frame: CTC outputs of the model for each frame; too short a clip for its text is
            dropped.
        language: in which texts are spelt, see ``preprocessing.text.spelt``.
        crops: the style of the mouth crops; shards of others are refused.
        longest: frames of the longest clip; None for any.

    Attributes:
        dropped: (clip, reason) of every clip that cannot be trained on.
        losses: the names of those dropped for a reason that nobody asked for, by kind of reason.
        unknown: characters that the vocabulary lacks.
        frames: (clips,) int32.
        seen: (clips,) bool, those with lips.
        speakers: (clips,) int32 numbers of their corpora and speakers, unknown ones among them.
        groups: (clips,) int32, equal for clips with lips of one speaker that have as many words;
            NO_GROUP for all others.
        group_words: number of words of each group.
        seen_words: all words of the clips with lips.
    """

    frames: np.ndarray
    seen: np.ndarray
    speakers: np.ndarray
    groups: np.ndarray

    def __init__(
        self,
        split: str,
        tokenizer: Tokenizer,
        use: Use = "both",
        per_frame: int = 1,
        language: str = "",
        crops: str = OWN.name,
        longest: int | None = None,
    ) -> None:
        self.split, self.tokenizer, self.use, self.per_frame = split, tokenizer, use, per_frame
        self.language, self.crops, self.longest = language, crops, longest
        self.dropped: list[tuple[str, str]] = []
        self.losses: dict[str, list[str]] = defaultdict(list)
        self.unknown: set[str] = set()
        self.group_words: list[int] = []
        self.seen_words: set[str] = set()
        self._speakers: dict[tuple[str, str | None], int] = {}
        self._groups: dict[tuple[int, int], int] = {}
        self._columns = [array("i"), array("b"), array("i"), array("i")]

    def _take(self, location: str, entry: ShardEntry) -> str | None:
        """Takes a clip of a corpus, if it can be trained on; its text as it is learnt."""
        text = self.usable(entry)
        if text is None:
            return None
        words, seen = text.split(), entry.video_present > 0
        key = location, entry.speaker
        speaker = self._speakers.setdefault(key, len(self._speakers))
        group = NO_GROUP
        if seen:
            self.seen_words.update(words)
        if seen and entry.speaker:
            group = self._groups.setdefault((speaker, len(words)), len(self._groups))
            if group == len(self.group_words):
                self.group_words.append(len(words))
        for column, value in zip(self._columns, (entry.frames, seen, speaker, group), strict=True):
            column.append(value)
        return text

    def _taken(self) -> None:
        """All clips are taken."""
        self.frames, seen, self.speakers, self.groups = map(np.array, self._columns)
        self.seen = seen.astype(bool)
        self._columns, self._groups = [], {}

    def __len__(self) -> int:
        """How many can be trained on."""
        return len(self._columns[0]) if self._columns else len(self.frames)

    @property
    def total_frames(self) -> int:
        return int(self.frames.sum())

    def usable(self, entry: ShardEntry) -> str | None:
        """The text of a clip of an index as it is learnt; None where the clip is of another split
        or cannot be trained on."""
        if (entry.split or "train") != self.split:
            return None
        text = spelt(entry.text or "", self.language)
        kind, reason = self._unusable(entry, text)
        if not kind:
            return text
        self.dropped.append((entry.id, reason))
        if kind != ASKED:
            self.losses[kind].append(entry.id)
        return None

    def _unusable(self, entry: ShardEntry, text: str) -> tuple[str, str]:
        """Why a clip of an index cannot be trained on: the kind of reason and the reason; empty
        where it can."""
        if self.use in ("audio", "paired") and not entry.audio_present:
            return ASKED, f"no sound, and {WANTS[self.use]}"
        if self.use in ("video", "paired") and not entry.video_present:
            return ASKED, f"no lips, and {WANTS[self.use]}"
        if not text:
            return NO_TEXT, "no text"
        unknown = self.tokenizer.unknown(text)
        if unknown:
            self.unknown.update(unknown)
            return NO_CHARACTER, f"{text!r} has {unknown}, which this model's vocabulary lacks"
        need = math.ceil(outputs_needed(self.tokenizer.encode(text)) / self.per_frame)
        if entry.frames < need:
            return TOO_SHORT, f"{entry.frames} frames are too few for CTC, its text needs {need}"
        if self.longest is not None and entry.frames > self.longest:
            length, most = entry.frames / FPS, self.longest / FPS
            return TOO_LONG, f"{length:.1f} s are too long for this network, which takes {most:g} s"
        return "", ""

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

    def fingerprint(self) -> str:
        """What the data are, as far as the order of clips and the vocabulary depend on them."""
        raise NotImplementedError

    def share(self, fabric: Any) -> None:
        """Lets the ranks of one machine share what they can. All ranks must call it."""


def shown(characters: Sequence[str], most: int = 20) -> str:
    """Characters for a line of the log; what has no width of its own by its number."""
    names = [
        f"U+{ord(c):04X}" if unicodedata.category(c)[0] in "MCZ" else c for c in characters[:most]
    ]
    return " ".join(names) + (
        f" and {len(characters) - most} more" if len(characters) > most else ""
    )
