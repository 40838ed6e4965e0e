"""A recogniser that also takes media files: what every family's class is made from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from avsr.base.errors import UsageError
from avsr.recognisers import protocol
from avsr.transcribing import together
from avsr.transcribing.engine import Progress
from avsr.transcribing.speakers import people
from avsr.transcribing.transcript import Transcript

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.decoding.language import Language
    from avsr.preprocessing.reader import ClipReader


class Recogniser(protocol.Recogniser):
    """What `avsr.load_model` returns: it recognises clips (see `protocol.Recogniser`) and files."""

    def with_decoding(self, beam: int | None = None, language: Language | None = None) -> Self:
        """The same recogniser with another search than its own.

        Args:
            beam: width of the beam search; None for the usual one.
            language: from `avsr.decoding.language.load`; None for none.

        Raises:
            UsageError: the recogniser cannot be searched with these.
        """
        if not beam and language is None:  # nothing but its own, or no search at all
            return self
        what = "beam" if language is None else "n-gram model or grammar"
        raise UsageError(
            f"{self.name}: takes no {what} here; its own options follow a question mark"
        )

    def without_lexicon(self) -> Self:
        """The same recogniser, which spells any words; itself where it does so already."""
        return self

    def in_language(self, code: str) -> Self:
        """The same recogniser told which language is spoken.

        Args:
            code: of two letters, as en.

        Raises:
            AvsrError: one that it does not know.
        """
        if code in self.languages:
            return self
        known = ", ".join(self.languages) or "it does not say which"
        raise UsageError(f"{self.name}: language {code!r} is none of those that it knows ({known})")

    def transcribe(
        self,
        path: str | Path,
        modality: str = "auto",
        beam: int | None = None,
        face: str | int = "main",
        progress: Progress | None = None,
        language: Language | None = None,
        reader: ClipReader | None = None,
        audio_track: int | None = None,
        speakers: bool | Sequence[str] = False,
        partial: Partial | None = None,
    ) -> Transcript:
        """Recognises a media file of any length; memory does not grow with it.

        Args:
            path: any container that FFmpeg reads.
            modality: "auto" uses what is there; "av", "audio" and "video" insist on it.
            beam, language: as in with_decoding.
            face: whose lips: "main", "largest", "left", "right", the number of a person, or a place
                in the picture as "x,y", see `persons.choose_person`; "speaking" for who speaks
                most, told by the embedding of sound and lips.
            progress: told how far it is; what it raises ends the call, which is how to cancel it.
            reader: of this file, face and modality, which began to read while the model was loaded;
                is closed. Not with speakers, nor with the face "speaking".
            audio_track: which of several sound tracks, counted from 1; the file's own default where
                None.
            speakers: true reads the lips of everybody, each where they speak, and says in each
                segment who does; names in a list are given in the order in which they first speak.
            partial: what is found of a long recording is kept there piece by piece, and taken from
                there by the next call, where this one is killed; removed by the caller.

        Returns:
            The words with their times, and warnings: what is missing, cut off, damaged or in doubt.

        Raises:
            AvsrError: unknown modality, a modality insisted on is missing, neither sound nor a
                face, or a beam or language that cannot be used.
            MediaError: the file cannot be read.
        """
        return people.transcribe(
            self.asked(modality, beam, language),
            path,
            modality,
            face=face,
            progress=progress,
            reader=reader,
            audio_track=audio_track,
            speakers=speakers,
            partial=partial,
        )

    def transcribe_many(
        self,
        paths: Sequence[str | Path],
        modality: str = "auto",
        beam: int | None = None,
        face: str | int = "main",
        progress: Progress | None = None,
        language: Language | None = None,
        reader: ClipReader | None = None,
        audio_track: int | None = None,
        speakers: bool | Sequence[str] = False,
        partial: Callable[[str | Path], Partial] | None = None,
    ) -> Generator[Transcript | Exception]:
        """Recognises several files faster than one after the other.

        Args:
            paths: files of any length; few are open at a time, however many there are.
            modality, beam, face, language, audio_track, speakers: as in transcribe, of every file.
            progress: told how far a file is that is read in the caller's thread.
            reader: of the first file, as in transcribe; read in the caller's thread, and closed.
            partial: gives that of a file, as in transcribe.

        Yields:
            For each file, in the order given and as soon as those before it are done, its
            transcript, or the error that it ended in: one bad file does not stop the rest.

        Raises:
            AvsrError: options that make no sense whatever the files hold, or paths that are no
                list.
        """
        asked = self.asked(modality, beam, language)
        return together.transcribe_many(
            asked,
            paths,
            modality,
            face=face,
            progress=progress,
            reader=reader,
            audio_track=audio_track,
            speakers=speakers,
            partial=partial,
        )

    def asked(
        self, modality: str, beam: int | None = None, language: Language | None = None
    ) -> Self:
        """The recogniser as a call wants it; raises where what it wants makes no sense."""
        protocol.stream_for(self, modality)
        if beam is None and language is None:
            return self
        return self.with_decoding(beam, language)
