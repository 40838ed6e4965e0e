"""Words while they are said: what is certain is final at once, the rest may still change.

What has been heard since the last final word is recognised again and again, as more of it comes. A
word is final when two passes agree on it and on all before it (local agreement: Liu et al.,
"Low-latency sequence-to-sequence speech recognition", 2020, and Machacek et al., "Turning Whisper
into real-time transcription system", 2023), or when whoever speaks pauses.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from avsr.decoding.words import Word
from avsr.model.batches import mask
from avsr.preprocessing.clip import FPS, Clip
from avsr.recognisers.protocol import Recogniser, stream_for
from avsr.transcribing.engine import timed
from avsr.transcribing.voice.activity import SURE, runs, spoken
from avsr.transcribing.voice.gated import ungated
from avsr.transcribing.windows import joined

STEP_S = 0.4  # of media between two passes, where the recogniser keeps up
# of an utterance that goes on: what lies before its last final word is let go, since a pass takes
# as long as what is held asks for ...
KEEP_S = 5.0
LONGEST_S = 12.0  # ... and what passes do not agree on is final as it is
# frames without speech after which an utterance has ended; the half second that counts as speech
# after a voice (activity.HOLD) comes on top
PAUSE = FPS // 4
CONTEXT = FPS // 2  # frames before speech that go with it
GUARD_S = 0.3  # of the end of what has been heard, whose words may be cut in half
AGREE_S = 0.5  # by which two passes may differ about where a word is


@dataclass(frozen=True)
class Caption:
    """What one pass has changed.

    Attributes:
        final: words that are certain now and were not before.
        partial: words after these that may still change.
        ended: whoever speaks has paused: what follows begins a new line.
        heard_s: up to where the recording was heard.
    """

    final: list[Word]
    partial: list[Word]
    ended: bool
    heard_s: float


@dataclass
class Captioner:
    """Goes through clips as they come.

    Args:
        recogniser: of any family.
        modality: as in `Recogniser.transcribe`.
        step_s: seconds of media between two passes, at least.
    """

    recogniser: Recogniser
    modality: str = "auto"
    step_s: float = STEP_S
    _held: Clip | None = None
    _before: list[Word] = field(default_factory=list)  # of the last pass, not final
    _final_s: float = 0.0  # where the last final word ends
    _said: bool = False  # whether the utterance has final words

    def __call__(
        self, clips: Iterable[Clip], waiting: Callable[[], bool] = lambda: False
    ) -> Iterator[Caption]:
        """The captions of clips that follow each other without a gap.

        Args:
            clips: as they come.
            waiting: whether there are more of them already: these are taken along, so that a slow
                recogniser lags behind by no more than a pass takes.
        """
        stream = stream_for(self.recogniser, self.modality)
        new_s = 0.0
        for clip in clips:
            shown = mask(clip, stream)
            self._held = shown if self._held is None else joined(self._held, shown)
            new_s += clip.duration_s
            if new_s >= self.step_s and (new_s > LONGEST_S or not waiting()):
                new_s = 0.0
                yield from self._passes(stream, more=True)
        yield from self._passes(stream, more=False)

    def _passes(self, stream: str, *, more: bool) -> Iterator[Caption]:
        """Recognises what is held; utterances that have ended one after the other."""
        while self._held is not None and self._held.frames:
            held = self._held
            speaking, _ = self.recogniser.activity(held)
            utterances = runs(speaking, gap=PAUSE)
            if not utterances:
                yield from self._silent(held, more=more)
                return
            first, last = utterances[0]
            first, goes_on = max(0, first - CONTEXT), more and last > held.frames - PAUSE
            part, own = held.window(first, last), speaking[first:last]
            if goes_on:
                self._held = held.window(first, held.frames)
                yield self._unfinished(part, own, stream)
                return
            yield self._ended(self._words(part, own, stream, closed=True), part)
            self._held = held.window(last, held.frames)

    def _silent(self, held: Clip, *, more: bool) -> Iterator[Caption]:
        """Nobody speaks; only a moment is kept, with which the next utterance may begin."""
        self._held = held.window(max(0, held.frames - 2 * CONTEXT), held.frames) if more else None
        if self._before or self._said:
            yield self._ended(self._before, held)

    def _words(self, part: Clip, speaking: np.ndarray, stream: str, *, closed: bool) -> list[Word]:
        """What is said in a part, without what is final already."""
        (found,) = self.recogniser.recognise_part([ungated(part)], stream, closed)
        said = timed(found, part, speaking)
        sure = SURE if self.recogniser.calibrated else 1.0
        said = spoken(said, part, speaking, sure=sure)
        return [word for word in said if (word.start_s + word.end_s) / 2 > self._final_s]

    def _ended(self, words: list[Word], part: Clip) -> Caption:
        self._before, self._said = [], False
        end_s = part.start_s + part.duration_s
        self._final_s = max([self._final_s, *(word.end_s for word in words)])
        return Caption(words, [], True, end_s)

    def _unfinished(self, part: Clip, speaking: np.ndarray, stream: str) -> Caption:
        """A pass over an utterance that goes on."""
        words = self._words(part, speaking, stream, closed=False)
        end_s = part.start_s + part.duration_s
        certain = _agreed(self._before, words, end_s - GUARD_S)
        if part.duration_s > self._longest_s and not certain:
            certain = sum(word.end_s < end_s - 1 for word in words)
        final, self._before = words[:certain], words[certain:]
        if final:
            self._final_s, self._said = final[-1].end_s, True
        too_long = part.duration_s > self._longest_s
        if too_long or (self._said and part.duration_s > KEEP_S):
            keep_s = max(self._final_s, end_s - self._longest_s / 2 if too_long else 0.0)
            drop = max(0, round((keep_s - part.start_s) * FPS) - CONTEXT)
            self._held = part.window(drop, part.frames)
        return Caption(final, self._before, False, end_s)

    @property
    def _longest_s(self) -> float:
        return min(LONGEST_S, self.recogniser.window_s or self.recogniser.longest_s)


def _agreed(before: Sequence[Word], now: Sequence[Word], until_s: float) -> int:
    """How many words two passes agree on from the beginning, up to a time."""
    count = 0
    for old, new in zip(before, now, strict=False):
        apart_s = abs(old.start_s - new.start_s)
        if _plain(old) != _plain(new) or apart_s > AGREE_S or new.end_s > until_s:
            break
        count += 1
    return count


def _plain(word: Word) -> str:
    """A word as it sounds: marks and capitals of open-vocabulary models come and go."""
    return "".join(letter for letter in word.word.casefold() if letter.isalnum())
