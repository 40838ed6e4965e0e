"""A corpus from the archive where its makers left it: a record of Zenodo whose files are zips."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from avsr.base.download import download, read_url
from avsr.base.errors import AvsrError

PACKED = ".download"  # folder for what is being fetched

Progress = Callable[[float, float, str], None]
"""Is told the megabytes that are there, those in all, and what is done."""


@dataclass(frozen=True)
class File:
    """One file of a record.

    Attributes:
        name: such as `s1.zip`.
        url: where it is.
        size: bytes.
        md5: as the record gives it, in hexadecimal digits.
    """

    name: str
    url: str
    size: int
    md5: str


def read_record(url: str) -> dict[str, File]:
    """The files of a record of Zenodo, by their names.

    Args:
        url: of the record in Zenodo's API, `https://zenodo.org/api/records/NUMBER`.

    Raises:
        AvsrError: it cannot be fetched, or is no such record.
    """
    try:
        rows = json.loads(read_url(url))["files"]
        files = {}
        for row in rows:
            kind, _, digest = row["checksum"].partition(":")
            if kind != "md5":
                raise ValueError(f"{row['key']} has a checksum of the kind {kind}")
            files[row["key"]] = File(row["key"], row["links"]["self"], int(row["size"]), digest)
    except (ValueError, LookupError, TypeError) as error:
        raise AvsrError(f"{url}: no record of files with checksums ({error!r})") from error
    return files


def fetch(
    record: str, names: Sequence[str], folder: Path, progress: Progress | None = None
) -> list[str]:
    """Fetches `NAME.zip` of a record and unpacks it to folder/NAME, for each name whose folder is
    not there yet.

    Args:
        record: its URL, see read_record.
        names: of the folders.
        folder: of the corpus; made where it is not there.
        progress: see Progress.

    Returns:
        The names of those that were fetched.

    Raises:
        AvsrError: the record has no such file, it cannot be fetched, or it cannot be unpacked. What
            came is kept, and fetching goes on with it.
    """
    wanted = [name for name in names if not (folder / name).is_dir()]
    if not wanted:
        return []
    files = read_record(record)
    lacking = [name for name in wanted if f"{name}.zip" not in files]
    if lacking:
        raise AvsrError(f"{record}: no {lacking[0]}.zip in it; it has {', '.join(sorted(files))}")
    total = sum(files[f"{name}.zip"].size for name in wanted)
    packed = folder / PACKED
    try:
        packed.mkdir(parents=True, exist_ok=True)
        done = 0
        for name in wanted:
            file = files[f"{name}.zip"]

            def told(have: int, before: int = done, name: str = name) -> None:
                if progress is not None:
                    progress((before + have) / 1e6, total / 1e6, f"fetching {name}")

            path = packed / os.path.basename(file.name)
            if not path.is_file():
                download(file.url, path, file.size, file.md5, told)
            unpack(path, name, folder)
            path.unlink()
            done += file.size
        with suppress(OSError):  # of other names, what came of an earlier run is still there
            packed.rmdir()
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot write there ({error.strerror or error}); what was fetched is kept: "
            "mend this and run the same command again"
        ) from error
    return wanted


def unpack(path: Path, name: str, folder: Path) -> None:
    """Unpacks the folder `name` of a zip to folder/name, whole or not at all. A zip whose files lie
    in no folder is unpacked into it.

    Raises:
        AvsrError: it is no zip, or damaged.
    """
    beside = folder / f".{name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
            own = [member for member in members if member.startswith(f"{name}/")]
            bare = [member for member in members if not member.startswith("__MACOSX/")]
            for member in own or bare:
                archive.extract(member, beside)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise AvsrError(
            f"{path}: cannot be unpacked ({error}); remove it and fetch it again"
        ) from error
    (beside / name if own else beside).replace(folder / name)
    shutil.rmtree(beside, ignore_errors=True)
