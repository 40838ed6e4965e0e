"""Two recognisers in one: the first hears where the sound is good, the second reads lips, or hears
and sees, where it is not.

T  frames, 25 a second
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import digest
from avsr.decoding.words import Hypothesis
from avsr.model.batches import mask
from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.recognisers.base import Recogniser
from avsr.recognisers.protocol import STREAMS, stream_for

if TYPE_CHECKING:
    from avsr.decoding.language import Language

FORM = "A+B for two of these, of which A hears and B reads lips too"
HEARD = 0.9  # share of the speech whose sound must be there for the first
GOOD_DB = 20.0  # of a recording's own signal to noise; GRID has 34 dB, and 12 dB in babble at 0 dB
# of the first's confidence over the second's, in noise: there it is sure of what nobody said
LEAD = 0.3
LOUD, QUIET = 95, 10  # percentiles of the level of its frames, of speech and of what lies beneath
FEWEST_FRAMES = FPS // 2  # with fewer nothing can be said about the noise


def claims(spec: str) -> bool:
    return all(halves(spec))


def halves(spec: str) -> tuple[str, str]:
    """A and B of A+B, parted at the first plus that is not part of the path of an existing file or
    folder; B is empty where there is none."""
    parts = spec.split("+")
    firsts = ["+".join(parts[:count]) for count in range(len(parts), 0, -1)]
    first = next((longest for longest in firsts if _is_path(longest)), parts[0])
    return first, spec[len(first) + 1 :]


def _is_path(spec: str) -> bool:
    """Whether a specification is, or names behind a colon, what is there."""
    plain, _, options = spec.partition("?")
    candidates = [spec] if "+" in options else [spec, plain, plain.partition(":")[2]]
    return any(path and os.path.exists(path) for path in candidates)


def load(spec: str, device: Any = "auto") -> Pair:
    """Loads both.

    Args:
        spec: A+B, each as `registry.load` takes it; B may be a pair itself.
        device: where both compute.

    Raises:
        UsageError: the first does not work by sound alone, or the second by lips.
        AvsrError: one of them cannot be loaded.
    """
    from avsr.recognisers import registry

    first, second = halves(spec)
    return Pair(registry.load(first, device), registry.load(second, device))


class Pair(Recogniser):
    """Decides segment by segment, by what is there, how noisy it is, and how sure both are.

    - Where sound is missing, or noisier than GOOD_DB, the second reads the lips, or hears and sees;
      in noise the first has the word only where it is surer by LEAD.
    - Where the second says that this is not its language, the first has the word.
    - Where the sound is good the first is asked. A second whose confidences are probabilities, and
      which tells its own language from other speech, is asked too, and the surer one counts.

    Args:
        first: works by sound alone.
        second: works by lips alone too.
    """

    def __init__(self, first: Recogniser, second: Recogniser) -> None:
        together = f"{first.name}+{second.name}"
        if "audio" not in first.modalities:
            raise UsageError(f"{together}: the first must work by sound alone")
        if "video" not in second.modalities:
            raise UsageError(f"{together}: the second must work by lips alone")
        self.first, self.second = first, second
        self.name = together
        self.device = second.device
        self.crops = second.crops
        self.languages = first.languages
        self.longest_s = min(first.longest_s, second.longest_s)

    @property
    def about(self) -> str:  # type: ignore[override]
        """How both decode, and how it is decided between them."""
        return f"{self.first.about}; {self.second.about}; good from {GOOD_DB:g} dB on"

    @property
    def sha256(self) -> str:  # type: ignore[override]  # gigabytes are read when asked for
        """Of both, and of `about`."""
        both = self.first.sha256, self.second.sha256, self.about
        return digest(part.encode() for part in both) if all(both) else ""

    def synchronised(self, clips: Iterable[Clip], remarks: list[str]) -> Iterator[Clip]:
        return self.second.synchronised(clips, remarks)

    def with_decoding(self, beam: int | None = None, language: Language | None = None) -> Self:
        other = copy.copy(self)
        other.second = self.second.with_decoding(beam, language)
        return other

    def without_lexicon(self) -> Self:
        other = copy.copy(self)
        other.first, other.second = self.first.without_lexicon(), self.second.without_lexicon()
        return other

    def asked(
        self, modality: str, beam: int | None = None, language: Language | None = None
    ) -> Self:
        stream_for(self, modality)
        other = copy.copy(self)
        other.second = self.second.asked("auto", beam, language)
        return other

    def in_language(self, code: str) -> Self:
        other = copy.copy(self)
        other.first, other.languages = self.first.in_language(code), (code,)
        return other

    def recognise(self, clips: Sequence[Clip], modality: str = "av") -> list[Hypothesis]:
        if modality not in STREAMS:
            raise AvsrError(
                f"{self.name}: knows no modality {modality!r}; it takes av, audio, video"
            )
        visible = [mask(clip, modality) for clip in clips]
        return [self._clip(clip, modality) for clip in visible]

    def _clip(self, clip: Clip, modality: str) -> Hypothesis:
        """One segment, and who read it."""
        if not (clip.audio_present.any() or clip.video_present.any()):
            return Hypothesis("", [], 0.0)
        speaking, _ = self.activity(clip)
        heard = clip.audio_present & speaking
        stream = self._stream(clip, modality)
        if not heard.any():  # nobody speaks, or no sound of it is there
            return self._by_second(clip, stream)
        is_heard = heard.sum() >= HEARD * speaking.sum()
        is_good = is_heard and stnr_db(clip) >= GOOD_DB
        domain = self.second.domain
        # in speech of another language its confidences are no probabilities
        comparable = self.second.calibrated and domain is not None
        if stream is None or (is_good and not comparable):
            return self._by_first(clip)
        second = self._by_second(clip, stream)
        if domain is not None and domain.judge(second.words, speaking, clip.start_s) is False:
            return self._by_first(clip)
        if not is_heard or not (is_good or self.second.calibrated):
            return second
        first = self._by_first(clip)
        needed = second.confidence + (0.0 if is_good else LEAD)
        return first if first.confidence > needed else second

    def _stream(self, clip: Clip, modality: str) -> str | None:
        """What the second is asked with: lips, both or sound; None where it has nothing to go
        on."""
        streams = self.second.modalities
        if modality == "video" or not clip.audio_present.any():
            return "video"
        if modality == "av" and clip.video_present.any() and "av" in streams:
            return "av"
        if "audio" in streams:
            return "audio"
        return "video" if modality == "av" and clip.video_present.any() else None

    def _by_first(self, clip: Clip) -> Hypothesis:
        return signed(self.first.recognise([clip], "audio")[0], self.first.name)

    def _by_second(self, clip: Clip, stream: str | None) -> Hypothesis:
        if stream is None:
            return Hypothesis("", [], 0.0)
        return signed(self.second.recognise([clip], stream)[0], self.second.name)


def signed(found: Hypothesis, source: str) -> Hypothesis:
    """A hypothesis whose words say whose they are; those of a pair in a pair say so already."""
    words = [replace(word, source=word.source or source) for word in found.words]
    return replace(found, words=words)


def stnr_db(clip: Clip) -> float:
    """Signal to noise of a segment, which may hold no pause: so no voice is looked for, as the
    doctor does in whole files.

    The level of its loud frames, which are speech, over that of its quiet ones, which are what lies
    beneath; as NIST's `stnr` has it.

    Args:
        clip: frames marked absent are not looked at.

    Returns:
        Decibels; 0 for less than half a second of sound, or for digital silence.
    """
    sound = clip.audio.reshape(clip.frames, SAMPLES_PER_FRAME)[clip.audio_present]
    power = np.square(sound, dtype=np.float64).mean(1)
    power = power[power > 0]
    if len(power) < FEWEST_FRAMES:
        return 0.0
    loud, quiet = np.percentile(power, [LOUD, QUIET])
    return float(10 * np.log10(loud / quiet))
