"""What `avsr transcribe` makes of a film beside its transcript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsr.base import outputs
from avsr.base.console import say
from avsr.base.errors import AvsrError
from avsr.cli.options import CAPTIONS

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.recognisers.base import Recogniser
    from avsr.recognisers.ours import NetworkRecogniser
    from avsr.transcribing.captions.formats import Style
    from avsr.transcribing.transcript import Transcript

FixSyncOption = Annotated[
    bool,
    typer.Option(
        "--fix-sync",
        help="Also write <stem>.synced.<ext>, where it is certain that sound and lips are not "
        "synchronised; needs -o.",
        rich_help_panel=CAPTIONS,
    ),
]
BurnOption = Annotated[
    bool,
    typer.Option(
        "--burn",
        help="Also write <stem>.captions.<ext>, with captions in the picture, coloured as by "
        "--highlight; needs -o.",
        rich_help_panel=CAPTIONS,
    ),
]
ExplainOption = Annotated[
    Path | None,
    typer.Option(
        "--explain",
        metavar="DIR",
        help="Also write <stem>.html there, a page that shows how each word came about.",
        rich_help_panel=CAPTIONS,
    ),
]


@dataclass(frozen=True)
class Extras:
    """What is asked for beside the transcripts.

    Attributes:
        out: the folder of the outputs.
        fix_sync: write a synchronised copy.
        burn: write a copy with captions.
        explain: the folder of the pages; None for none.
        style: of the captions.
        modality: as it was for the transcripts.
        device: where to compute.
        options: face and audio_track, as they were for the transcripts.
        folders: where the outputs of a recording go, if not into that folder itself.

    Raises:
        typer.BadParameter: something that needs a folder, without one.
    """

    out: Path | None
    fix_sync: bool
    burn: bool
    explain: Path | None
    style: Style
    modality: str
    device: str
    options: dict[str, Any]
    folders: Mapping[Path, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.fix_sync or self.burn) and self.out is None:
            hint = "--fix-sync" if self.fix_sync else "--burn"
            raise typer.BadParameter("a film needs a folder: give it with -o DIR", param_hint=hint)

    def check(self, files: Sequence[Path]) -> None:
        """Refuses recordings that would share a page.

        Raises:
            UsageError: two of them would.
        """
        if self.explain is not None:
            outputs.refuse_twins([(file, self._page(self.explain, file)) for file in files])

    def make_folder(self) -> None:
        """Makes the folder of the pages, before the words that they are about are recognised.

        Raises:
            AvsrError: nothing can be written there.
        """
        if self.explain is not None:
            outputs.make_folder(self.explain, "choose another with --explain")

    def lacking(self, file: Path) -> bool:
        """Whether something that is always made of a recording is not there yet. A synchronised
        copy is made of few."""
        page = self.explain is not None and not self._page(self.explain, file).is_file()
        return page or (self.burn and self._unburnt(file))

    def targets(self, file: Path) -> list[Path]:
        """The files that may be written for an input."""
        found = [self._copy(file, "synced")] if self.fix_sync else []
        if self.burn:
            found.append(self._copy(file, "captions", encoded=True))
        if self.explain is not None:
            found.append(self._page(self.explain, file))
        return found

    def make(
        self, file: Path, said: Transcript, recogniser: Recogniser, kept: Partial | None = None
    ) -> None:
        """Writes them, with a line about each.

        Args:
            file: the recording.
            said: its transcript.
            recogniser: who made it.
            kept: what was found on the way: faces are not looked for again.

        Raises:
            AvsrError: one cannot be made; the others are made all the same.
        """
        with ExitStack() as all_the_same:  # the last that was put there is the first
            if self.explain is not None:
                page = self._page(self.explain, file)
                all_the_same.callback(self._explain, page, file, said, recogniser, kept)
            if self.burn:
                all_the_same.callback(self._burn, file, said)
            if self.fix_sync:
                all_the_same.callback(self._fix_sync, file, said, recogniser, kept)

    def _page(self, folder: Path, file: Path) -> Path:
        """Where the page of a recording goes: into folders as its other outputs do."""
        if self.out is not None:
            folder = folder / self._folder(file).relative_to(self.out)
        return folder / f"{file.stem}.html"

    def _explain(
        self,
        page: Path,
        file: Path,
        said: Transcript,
        recogniser: Recogniser,
        kept: Partial | None,
    ) -> None:
        from avsr.transcribing.explain.page import explain

        outputs.make_folder(page.parent, "choose another with --explain")
        explain(file, said, recogniser, page, self.modality, partial=kept, **self.options)

    def _copy(self, file: Path, what: str, *, encoded: bool = False) -> Path:
        from avsr.preprocessing.media.copies import name_of_copy

        return self._folder(file) / name_of_copy(file, what, encoded=encoded)

    def _folder(self, file: Path) -> Path:
        assert self.out is not None
        return self.folders.get(file, self.out)

    def _fix_sync(
        self, file: Path, said: Transcript, recogniser: Recogniser, kept: Partial | None
    ) -> None:
        from avsr.sync import HARMLESS_FRAMES
        from avsr.transcribing.synchronising.resync import synchronise

        lags = said.lags.values()
        if lags and max(lags) - min(lags) > HARMLESS_FRAMES:
            say(f"{file}: no synchronised copy: the offset differs from person to person")
            return
        target = self._copy(file, "synced")
        options = self.options | {"partial": kept}
        found = synchronise(self._embedding(recogniser), file, target, **options)
        if found.offset_s is None:
            say(f"{file}: no synchronised copy: {found.told}")
        else:
            say(f"{file}: {found.told}: put right in {target}")

    def _burn(self, file: Path, said: Transcript) -> None:
        from avsr.preprocessing.media.streams import probe
        from avsr.transcribing.captions.burn import burn

        if probe(file).has_video:
            burn(file, said, self._copy(file, "captions", encoded=True), self.style)
        else:
            say(f"{file}: no film with captions: there is no picture")

    def _unburnt(self, file: Path) -> bool:
        """Whether a film has no copy with captions."""
        from avsr.preprocessing.media.streams import probe

        if self._copy(file, "captions", encoded=True).is_file():
            return False
        try:
            return probe(file).has_video
        except AvsrError:  # is told in its turn
            return True

    def _embedding(self, recogniser: Recogniser) -> NetworkRecogniser:
        """Who can tell whether sound and lips are synchronised: the recogniser itself, or the
        bundled model."""
        from avsr.recognisers.ours import NetworkRecogniser
        from avsr.sync import is_trained

        if isinstance(recogniser, NetworkRecogniser) and is_trained(recogniser):
            return recogniser
        return self._bundled

    @cached_property
    def _bundled(self) -> NetworkRecogniser:
        from avsr.model import checkpoint
        from avsr.recognisers import ours

        return ours.load(checkpoint.DEFAULT, self.device)
