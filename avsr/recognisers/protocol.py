"""What the whole program knows of a recogniser: clips in, words with their times out.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from avsr.base.errors import AvsrError
from avsr.decoding.words import Hypothesis
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.transcribing.voice.activity import Activity, somebody

if TYPE_CHECKING:
    from avsr.decoding.domain import Domain
    from avsr.decoding.language import Language

STREAMS = ("av", "audio", "video")  # what a recogniser may work with
MODALITIES = ("auto", *STREAMS)  # what a user may ask for


class Recogniser(Protocol):
    """A recogniser of any family. Who implements it inherits the defaults.

    `transcribe`, `evaluate` and all else ask these attributes, never which family it is of.

    Attributes:
        name: what it is called in transcripts and results.
        sha256: tells it from any other model or setting; results of one are never taken for those
            of another.
        about: how it decodes, for people.
        device: where it computes.
        modalities: what it can work with, some of STREAMS.
        crops: the crop of the mouth that it was trained on, a name of faces.crop_styles.
        languages: codes of those it knows ("en"); empty where it does not say.
        vocabulary: "open", or "closed" where it knows no other words than those of its training.
        window_s: seconds of the overlapping windows in which long recordings go to it; None for one
            that does not know where a word is cut off: it gets segments between pauses.
        longest_s: seconds that it can take at once.
        calibrated: whether its confidences are probabilities, so that a sure word is believed where
            neither a voice nor a moving mouth was found.
        language: what it decodes with, where that says which words must not be parted.
        domain: tells its own language from other speech; None where it cannot.
        activity: where in a clip of a recording it is worth asking it.
    """

    name: str
    sha256: str
    about: str = ""
    device: Any = "cpu"
    modalities: tuple[str, ...] = STREAMS
    crops: str = OWN.name
    languages: tuple[str, ...] = ()
    vocabulary: str = "open"
    window_s: float | None = None
    longest_s: float = 30.0
    calibrated: bool = False
    language: Language | None = None
    domain: Domain | None = None
    activity: Activity = staticmethod(somebody)

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Hypothesis]:
        """One hypothesis per clip, in the order given.

        Args:
            clips: none longer than longest_s; the masks say what is there, and a test condition may
                make them wrong on purpose. Word times count from start_s.
            modality: one of `modalities`; what it leaves out must not be used.

        Raises:
            AvsrError: a modality that it does not have, or a failure.
        """
        raise NotImplementedError

    def recognise_part(
        self, clips: Sequence[Clip], modality: str, closed: bool
    ) -> Sequence[Hypothesis]:
        """As recognise; not closed: what is said goes on after the clips."""
        return self.recognise(clips, modality)

    def synchronised(self, clips: Iterable[Clip], remarks: list[str]) -> Iterator[Clip]:
        """The clips of a recording, which follow each other, with sound and lips synchronised.

        Args:
            clips: as they were read.
            remarks: what was done is added, in a line for people.
        """
        return iter(clips)


def stream_for(recogniser: Recogniser, modality: str) -> str:
    """What a recogniser is asked with, where a user asks for a modality.

    Raises:
        AvsrError: no such modality, or one that the recogniser does not have.
    """
    if not isinstance(modality, str) or modality not in MODALITIES:
        raise AvsrError(f"modality {modality!r} is unknown: use one of {', '.join(MODALITIES)}")
    if modality == "auto":
        return next(stream for stream in STREAMS if stream in recogniser.modalities)
    if modality not in recogniser.modalities:
        raise AvsrError(
            f"{recogniser.name}: knows no modality {modality!r}; it takes "
            f"{', '.join(recogniser.modalities)}"
        )
    return modality
