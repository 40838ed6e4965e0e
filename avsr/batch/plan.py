"""What a call has to do: which recordings, and where the transcript of each is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.base import outputs
from avsr.base.errors import AvsrError, UsageError
from avsr.batch.sources import Failure, Source, recordings

_ADVICE = "choose another with -o"


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        files: all recordings, in their order.
        todo: those that are to be recognised.
        targets: the files that each is written to, one a format; none where standard output takes
            the text, or where they are there.
        folders: the folder of these files, of each recording.
        failures: what was named and holds no recording.
        many: whether more than one recording could be meant by what was named.
    """

    files: list[Path]
    todo: list[Path]
    targets: dict[Path, list[Path]]
    folders: dict[Path, Path]
    failures: list[Failure]
    many: bool

    @property
    def skipped(self) -> int:
        return len(self.files) - len(self.todo)

    def with_also(self, lacking: Callable[[Path], bool]) -> Plan:
        """The same, and those recordings are to be done that lack something else. Their transcripts
        are there, perhaps corrected by hand, and are not written again."""
        undone = set(self.todo)
        again = {file for file in self.files if file not in undone and lacking(file)}
        todo = [file for file in self.files if file in undone or file in again]
        targets = {file: own for file, own in self.targets.items() if file not in again}
        return replace(self, todo=todo, targets=targets)


def planned(
    named: Sequence[Path],
    out: Path | None,
    formats: Sequence[str],
    *,
    keep_tree: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """What a call has to do; nothing is written for it.

    Args:
        named: files, folders and patterns, see `recordings`.
        out: the folder of the outputs, `<stem>.<format>`; None for standard output.
        formats: their names.
        keep_tree: in folders below it, like those that the recordings lie in.
        skip_existing: a recording whose outputs are all there is not to be done.

    Raises:
        UsageError: options that make no sense without a folder, "-" for it, a file named twice, or
            two recordings that would share an output.
    """
    if out is None and (keep_tree or skip_existing):
        option = "--keep-tree" if keep_tree else "--skip-existing"
        raise UsageError(f"{option} needs a folder for the outputs: give it with -o DIR")
    if out is not None and str(out) == "-" and not out.is_dir():
        raise UsageError("-o -: is no folder: leave -o out, and the text goes to standard output")
    sources, failures = recordings(named, out)
    many = len(named) > 1 or sources != [Source(named[0])]
    files = todo = [source.path for source in sources]
    targets: dict[Path, list[Path]] = {}
    folders: dict[Path, Path] = {}
    if out is not None:
        for source in sources:
            folders[source.path] = folder = out / source.folder if keep_tree else out
            targets[source.path] = [folder / f"{source.path.stem}.{name}" for name in formats]
        outputs.refuse_twins(_pairs(targets))
    if skip_existing:
        todo = [path for path in files if not all(target.is_file() for target in targets[path])]
    return Plan(files, todo, targets, folders, failures, many)


def make_folder(out: Path, targets: Mapping[Path, Sequence[Path]]) -> None:
    """Makes the folder of the outputs, and sees that they can be written there side by side.

    Raises:
        AvsrError: no folder can be made, nothing can be written, or two inputs would share an
            output.
    """
    outputs.make_folder(out, _ADVICE)
    try:
        # for those names that it takes for alike
        outputs.refuse_twins(_pairs(targets), outputs.ignores_case(out))
    except OSError as error:
        raise AvsrError(f"{out}: cannot be read ({error.strerror}): {_ADVICE}") from error


def make_parent(target: Path) -> None:
    """Makes the folder of an output, where the tree of the recordings is kept.

    Raises:
        AvsrError: it cannot be made.
    """
    outputs.make_folder(target.parent, _ADVICE)


def _pairs(targets: Mapping[Path, Sequence[Path]]) -> list[tuple[Path, Path]]:
    return [(source, own[0]) for source, own in targets.items()]
