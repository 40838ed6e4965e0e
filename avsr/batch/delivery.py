"""What is done with the transcript of a recording, in whichever process it was recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base import outputs
from avsr.base.console import say, told
from avsr.base.errors import AvsrError, MediaError
from avsr.base.partial import Partial
from avsr.batch.plan import make_parent

if TYPE_CHECKING:
    from avsr.recognisers.base import Recogniser
    from avsr.transcribing.captions.formats import Style
    from avsr.transcribing.transcript import Transcript

# what Python raises of wrong code; a RuntimeError may be a device without memory
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class Unmade(AvsrError):
    """Something that is made beside a transcript failed; the transcript is there."""

    def __init__(self, message: str, transcript: Transcript) -> None:
        super().__init__(message)
        self.transcript = transcript

    def __reduce__(self) -> tuple[type[Unmade], tuple[str, Transcript]]:
        return Unmade, (str(self), self.transcript)  # from a process to the one that asked


@dataclass(frozen=True)
class Delivery:
    """Says what was wrong with a recording, writes its transcript and what else is made of it; can
    be handed to another process.

    Attributes:
        formats: names of the files to write.
        targets: the files of each recording, one a format; none where standard output takes the
            text.
        style: how subtitles look.
        inputs: what the same call reads, which is not replaced.
        overwrite: other people's files may be replaced.
        others: the further files that may be written for a recording.
        make: makes them; is given what was found on the way as well.
        folders: where what is found of a recording is kept until all that is written.
    """

    formats: Sequence[str]
    targets: Mapping[Path, Sequence[Path]]
    style: Style
    inputs: Sequence[str | Path]
    overwrite: bool
    others: Callable[[Path], Sequence[Path]]
    make: Callable[[Path, Transcript, Recogniser, Partial | None], None]
    folders: Mapping[Path, Path]

    def __call__(self, file: Path, found: Transcript, recogniser: Recogniser) -> None:
        """Does it for one recording.

        Raises:
            AvsrError: something cannot be written; what was written before stays.
            Unmade: something else cannot be made.
        """
        from avsr.transcribing import writers

        for warning in found.warnings:
            say(f"{file}: {warning}")
        own = self.targets.get(file, ())
        if not own and file in self.folders:
            say(
                f"{file}: its transcript was there and stays as it is; what is made now shows the "
                "words as they were recognised now"
            )
        # once more: a long call leaves time for new files
        outputs.refuse(self.all_of(file), self.inputs, overwrite=self.overwrite)
        for name, target in zip(self.formats, own, strict=bool(own)):
            make_parent(target)
            writers.write(found, target, name, self.style)
        kept = self.partial(file)
        try:
            self.make(file, found, recogniser, kept)
        except Exception as error:
            self.failed(file, error)
            raise Unmade(told(error), found) from error
        if kept is not None:
            kept.remove()

    def failed(self, file: Path, error: Exception) -> None:
        """Removes what was kept of a recording that has nothing in it for any further call.

        All else may come right the next time, and what was kept is taken up then: a disk that was
        full or away (the cause of the error says so), a limit, a recogniser that failed, an option.
        A fault of the program is the same the next time.
        """
        kept = self.partial(file)
        unusable = isinstance(error, MediaError) and error.__cause__ is None
        if kept is not None and (unusable or isinstance(error, FAULTS)):
            kept.remove()

    def partial(self, file: Path, asked: Callable[[], str] = str) -> Partial | None:
        """Keeps what is found of a recording until its outputs are written; None where it has
        none.

        Args:
            file: the recording.
            asked: as in `Partial`.
        """
        folder = self.folders.get(file)
        return Partial.beside(folder / file.name, file, asked) if folder is not None else None

    def all_of(self, file: Path) -> list[Path]:
        """Every file that may be written for a recording."""
        return [*self.targets.get(file, ()), *self.others(file)]

    def clean_up(self, file: Path, process: int) -> None:
        """Removes what a process that was ended had begun to write for a recording."""
        for target in self.all_of(file):
            outputs.unfinished(target, process).unlink(missing_ok=True)
