"""Words that a call found before it was stopped, given again where the same is asked of the same
recogniser.

What was heard counts by the content of the clips and not by their place. So nothing that depends on
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

KIND = "heard"

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
    asked = partial.asked() if partial is not None and is_long(duration_s) else ""
    if partial is None or not asked:
        return hear
    known = {entry["key"]: entry["said"] for entry in partial.entries(KIND)}
    if known:
        log.warning("%s: goes on where an earlier call was stopped", partial.source)

    def remembered(clips: Sequence[Clip], modality: str, closed: bool) -> list[Hypothesis]:
        key = _key(asked, clips, modality, closed)
        if key not in known:
            found = [asdict(said) for said in hear(clips, modality, closed)]
            partial.add(KIND, {"key": key, "said": found})
            return [_hypothesis(said) for said in found]
        return [_hypothesis(said) for said in known[key]]

    return remembered


def _key(asked: str, clips: Sequence[Clip], modality: str, closed: bool) -> str:
    """Of all that an answer depends on."""
    total = hashlib.sha256(json.dumps([asked, modality, closed, len(clips)]).encode())
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
