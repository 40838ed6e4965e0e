"""Where results are written: no file of the user is replaced, and never an input of the same call.

An output that an earlier call wrote may be replaced, so that a command can be run twice. Plain text
carries no mark of who wrote it, and a transcript that somebody corrected by hand is theirs. So a
file counts as ours while its place and content are, byte for byte, what was written: a hash of both
is kept in the user's state folder (on Linux `~/.local/state/avsr/written`). Without that record, on
another machine for instance, `--overwrite` says it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from avsr.base.errors import AvsrError, UsageError

BLOCK = 1 << 20
OVERWRITE = "choose another place, or replace it with --overwrite"
# bytes of a name: what is written beside it and renamed has a longer one
NAME_MOST = 255 - len(".4194304.tmp")


def refuse(
    targets: Iterable[str | Path],
    inputs: Iterable[str | Path] = (),
    *,
    overwrite: bool = False,
    advice: str = OVERWRITE,
) -> None:
    """Refuses, before any work, what could not be written without loss.

    Args:
        targets: the files to write.
        inputs: files that the same call reads; those that are not there do not matter.
        overwrite: other people's files may be replaced; inputs may not.
        advice: what to do about other people's files.

    Raises:
        UsageError: a target is an input, whatever it is spelt like, a file that is no earlier
            output, or no file.
    """
    read = {key: path for path in inputs if (key := identity(Path(path))) is not None}
    foreign = []
    for target in map(Path, targets):
        _refuse_name(target)
        found = _lstat(target)
        if found is None:
            continue
        if (source := read.get(identity(target) or (0, 0))) is not None:
            raise UsageError(
                f"{target} would replace the input {source}: choose another place for what is "
                "written"
            )
        if stat.S_ISDIR(found.st_mode) or not (
            stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)
        ):
            raise UsageError(
                f"{target} is there already and is no file: choose another place for what is "
                "written"
            )
        if not overwrite and not (stat.S_ISREG(found.st_mode) and is_ours(target)):
            foreign.append(target)
    if foreign:
        others = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        why = "is there already, and avsr did not write it or it changed since"
        raise UsageError(f"{foreign[0]}{others} {why}: {advice}")


def refuse_twins(targets: Iterable[tuple[Path, Path]], fold: bool = False) -> None:
    """Refuses two inputs whose outputs would be one file.

    Args:
        targets: pairs of input and output.
        fold: the file system takes names for the same that differ in case alone.

    Raises:
        UsageError: names the two inputs.
    """
    first: dict[str, Path] = {}
    for source, target in targets:
        name = unicodedata.normalize("NFC", str(target)).casefold() if fold else str(target)
        other = first.setdefault(name, source)
        if other is not source:
            raise UsageError(
                f"{other} and {source} would both be written to {target}: rename one, use two "
                "folders, or --keep-tree and name the folder above both"
            )


def check_place(folder: Path, advice: str) -> None:
    """Sees that a folder could be made and written to, and makes none.

    Args:
        folder: may be there already.
        advice: what to do where that fails.

    Raises:
        AvsrError: not even the nearest folder above it that is there takes a file.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    _try(folder, nearest, advice)


def make_folder(folder: Path, advice: str) -> None:
    """Makes a folder, and sees that files can be written there, before the work that they are for.

    Args:
        folder: may be there already.
        advice: what to do where that fails.

    Raises:
        AvsrError: no folder can be made, or no file in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error, advice) from error
    _try(folder, folder, advice)


def _try(folder: Path, where: Path, advice: str) -> None:
    """Writes a file that is gone at once.

    Raises:
        AvsrError: about the folder, where that fails.
    """
    try:
        with tempfile.TemporaryFile(dir=where):
            pass
    except OSError as error:
        raise _not_written(folder, error, advice) from error


def _not_written(folder: Path, error: OSError, advice: str) -> AvsrError:
    return AvsrError(f"{folder}: cannot be written to ({error.strerror}): {advice}")


def write(path: str | Path, chunks: Iterable[bytes]) -> None:
    """Writes a file whole or not at all, and remembers it as ours.

    Raises:
        OSError: it cannot be written.
    """
    path, body = Path(path), b"".join(chunks)
    # Remembered first: a kill in between leaves the file as it was, and what is remembered of that
    # stays true.
    _remember(path, len(body), _digest(path, [body]))
    write_file(path, [body])


def remember(path: str | Path) -> None:
    """Takes a file that somebody else wrote for us as ours."""
    path = Path(path)
    _remember(path, path.stat().st_size, _digest(path, _blocks(path)))


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file beside its place and renames it, so that it is there whole or not at all,
    whatever happens.

    Raises:
        OSError: it cannot be written, for example on a full disk; names the file. Nothing is left
            behind then.
    """
    part = unfinished(path, os.getpid())
    try:
        with open(part, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        # a full disk names no file, and nobody knows the one beside
        if error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def unfinished(path: Path, process: int) -> Path:
    """What a process writes before it is renamed."""
    return path.with_name(f"{path.name}.{process}.tmp")


def is_unfinished(path: Path) -> bool:
    """Whether a name is that of what is being written, or was left by a process that was killed."""
    return path.suffix == ".tmp"


def identity(path: Path) -> tuple[int, int] | None:
    """What a file system tells a file by; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def is_ours(path: Path) -> bool:
    """Whether a file is as it was written; it is read only where something of its size was."""
    try:
        lines = _record().read_text(encoding="ascii", errors="replace").splitlines()
        size = f"{path.stat().st_size} "
        digests = {line.removeprefix(size) for line in lines if line.startswith(size)}
        return bool(digests) and _digest(path, _blocks(path)) in digests
    except OSError:
        return False


def _lstat(path: Path) -> os.stat_result | None:
    """What stands at a path, a dangling link too; None where nothing does.

    Raises:
        UsageError: the path is too long.
    """
    try:
        return path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"{path}: path too long: choose a shorter one for what is written"
            ) from error
        return None


def _refuse_name(path: Path) -> None:
    length = len(os.fsencode(path.name))
    if length > NAME_MOST:
        raise UsageError(
            f"{path}: name too long for a file to write ({length} bytes, at most {NAME_MOST}): "
            "rename the input, or "
            "leave the output folder out"
        )


def ignores_case(folder: Path) -> bool:
    """Whether one file has many spellings there; raises OSError where nothing can be written."""
    with tempfile.NamedTemporaryFile(prefix=".avsr-CASE-", dir=folder) as probe:
        return Path(probe.name.replace("CASE", "case")).exists()


# ---- what was written


def _record() -> Path:
    from platformdirs import user_state_path

    return user_state_path("avsr") / "written"


def _remember(path: Path, size: int, digest: str) -> None:
    """One line in one write, so that calls side by side do not mix theirs. A record that cannot be
    kept is no error."""
    with suppress(OSError, AvsrError):
        record = _record()
        record.parent.mkdir(parents=True, exist_ok=True)
        with open(record, "ab", buffering=0) as file:
            file.write(f"{size} {digest}\n".encode())


def _digest(path: Path, blocks: Iterable[bytes]) -> str:
    place = path.parent.resolve() / path.name
    total = hashlib.sha256(os.fsencode(place) + b"\0")
    for block in blocks:
        total.update(block)
    return total.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block
