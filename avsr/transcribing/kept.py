"""What a call found before it was stopped, given again where the same is asked of the same
recogniser: words, and how well lips fit a voice.

What was found counts by the content of the clips and not by their place. So nothing that depends on
what came before needs to be kept: the seams of windows, the offset of sound and lips, whose lips
are meant. All of that is done again, and comes out as before; only the recogniser is not asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from avsr.base.partial import Partial, is_long
from avsr.decoding.words import Hypothesis, Word
from avsr.preprocessing.clip import Clip

KIND = "words"

log = logging.getLogger(__name__)

Hear = Callable[[Sequence[Clip], str, bool], Sequence[Hypothesis]]
"""As `Recogniser.recognise_part`."""


def remembering(hear: Hear, partial: Partial | None, duration_s: float) -> Hear:
    """The same, which is not asked for what is known, and whose answers are kept.

    Args:
        hear: asks a recogniser.
        partial: where they are kept; None for nowhere. It says what was asked for.
        duration_s: of the recording: those of a short one are not kept.
    """
    kept = Kept(partial, duration_s, KIND)
    if kept.partial is None:
        return hear
    if kept.known:
        log.warning("%s: goes on where an earlier call was stopped", kept.partial.source)

    def remembered(clips: Sequence[Clip], modality: str, closed: bool) -> list[Hypothesis]:
        def ask() -> list[dict[str, Any]]:
            return [asdict(said) for said in hear(clips, modality, closed)]

        return [_hypothesis(said) for said in kept.get(clips, (modality, closed), ask)]

    return remembered


class Kept:
    """Results of one kind, each of some clips: those of an earlier call, and those of this one.

    Args:
        partial: where they could be kept. It says what was asked for, if that can be told.
        duration_s: of the recording: those of a short one are not kept.
        kind: a word.

    Attributes:
        partial: where they are kept; None for nowhere.
        known: the results of the earlier call.
    """

    def __init__(self, partial: Partial | None, duration_s: float, kind: str) -> None:
        self._asked = partial.asked() if partial is not None and is_long(duration_s) else ""
        self.partial, self._kind = partial if self._asked else None, kind
        entries = self.partial.entries(kind) if self.partial is not None else ()
        self.known = {entry["key"]: entry["found"] for entry in entries}

    def get(self, clips: Sequence[Clip], how: Sequence[Any], find: Callable[[], Any]) -> Any:
        """What is known of clips, or is found now and kept.

        Args:
            clips: all of their content counts.
            how: whatever else the result depends on.
            find: gives it; what JSON can hold.
        """
        if self.partial is None:
            return find()
        key = _key(self._asked, clips, how)
        if key in self.known:
            return self.known[key]
        found = find()
        self.partial.add(self._kind, {"key": key, "found": found})
        return found


def _key(asked: str, clips: Sequence[Clip], how: Sequence[Any]) -> str:
    """Of all that a result depends on."""
    total = hashlib.sha256(json.dumps([asked, *how, len(clips)]).encode())
    for clip in clips:
        total.update(json.dumps([clip.id, clip.frames, clip.start_s]).encode())
        for array in (clip.audio, clip.lips, clip.audio_present, clip.video_present):
            total.update(array.tobytes())
    return total.hexdigest()


def _hypothesis(said: dict[str, Any]) -> Hypothesis:
    words = []
    for word in said["words"]:
        letters = tuple((begin, end) for begin, end in word["letters"])
        words.append(Word(**word | {"letters": letters}))
    return Hypothesis(said["text"], words, said["confidence"])
