"""What a call asks for, the same of every recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.inputs import content, digest
from avsr.base.processes.machine import steady_memory

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.reader import ClipReader
    from avsr.recognisers.base import Recogniser


@dataclass(frozen=True)
class Asked:
    """Which recogniser, and how it shall work; can be handed to another process.

    Attributes:
        model, device: as in `load_model`.
        beam, lm, lm_weight, grammar: as in `decoding.language.load` and
            `Recogniser.with_decoding`.
        no_lexicon: letter by letter, also where the model knows its few words.
        language: code of what is spoken.
        modality, face, audio_track, speakers: as in `Recogniser.transcribe`.
    """

    model: str = "default"
    device: str = "auto"
    beam: int | None = None
    lm: Path | None = None
    lm_weight: float | None = None
    grammar: str | None = None
    no_lexicon: bool = False
    language: str | None = None
    modality: str = "auto"
    face: str | int = "main"
    audio_track: int | None = None
    speakers: bool | tuple[str, ...] = False

    @property
    def files(self) -> list[str | Path]:
        """The files that are read beside the recordings, as far as they are files."""
        return [named for named in (self.model, self.lm, self.grammar) if named]

    @property
    def options(self) -> dict[str, Any]:
        """For `Recogniser.transcribe`."""
        names = ("modality", "face", "audio_track", "speakers")
        return {name: getattr(self, name) for name in names}

    def recogniser(self) -> tuple[Recogniser, Callable[[], str]]:
        """The recogniser, decoding as it shall, and what tells its words from those of any other
        one; that is empty where the model cannot tell.

        Raises:
            AvsrError: as `load_model`, or something that it cannot do.
        """
        from avsr.decoding.language import load
        from avsr.transcribing.transcribe import load_model

        steady_memory()
        spoken = load(self.lm, grammar=self.grammar, lm_weight=self.lm_weight)
        loaded = found = load_model(self.model, self.device)
        if self.no_lexicon:
            found = found.without_lexicon()
        if self.beam is not None or spoken is not None:
            found = found.with_decoding(self.beam, spoken)
        if self.language is not None:
            found = found.in_language(self.language)
        return found, cache(lambda: self._mark(loaded))

    def _mark(self, loaded: Recogniser) -> str:
        """What a model was asked for, and the content of all files that it depends on."""
        if not loaded.sha256:
            return ""
        how = (self.beam, self.lm_weight, self.grammar, self.no_lexicon, self.language)
        files = [Path(named) for named in (self.lm, self.grammar) if named]
        beside = (chunk for file in files if file.is_file() for chunk in content(file))
        return digest(chain([f"{loaded.sha256} {loaded.about} {how}".encode()], beside))

    def reader(self, file: Path, partial: Partial | None) -> ClipReader | None:
        """A reader of a recording, which begins to read when it is told so; None where it is not
        read in one go.

        Args:
            file: the recording.
            partial: keeps what is found of it.

        Raises:
            AvsrError: it cannot be read.
        """
        from avsr.preprocessing.reader import ClipReader
        from avsr.transcribing.speakers.people import is_speaking

        if self.speakers or is_speaking(self.face):
            return None
        streams: dict[str, Any] = {
            "audio": self.modality != "video",
            "video": self.modality != "audio",
        }
        streams |= {"face": self.face, "audio_track": self.audio_track}
        return ClipReader(file, **streams, partial=partial)
