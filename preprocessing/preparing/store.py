"""Where shards and their parts are written: a folder, or a place of object storage by its URL."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from avsr.base.outputs import write_file
from avsr.preprocessing.remote import is_url, local, open_filesystem


class Store(Protocol):
    """Files by their names below one place, each there whole or not at all.

    Attributes:
        place: the folder or URL, for messages.
        everywhere: whether any machine can write there; else only this one can, and of object
            storage in memory this process.
        here: whether other processes of this machine can.
    """

    @property
    def place(self) -> str: ...

    @property
    def everywhere(self) -> bool: ...

    @property
    def here(self) -> bool: ...

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Writes a file; raises OSError where it cannot."""

    def read(self, name: str) -> bytes:
        """A file; raises FileNotFoundError where it is not there."""

    def open(self, name: str) -> BinaryIO:
        """A file to read from; raises FileNotFoundError where it is not there."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where it is not there."""

    def names(self, folder: str = "") -> set[str]:
        """Files of a folder, and the folders in it; none where it is not there."""

    def remove(self, name: str) -> None:
        """Removes a file or a folder with all that is in it, if it is there."""


class FolderStore:
    """A folder of this machine, or one that several machines share."""

    everywhere, here = False, True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def place(self) -> str:
        return str(self.folder)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, chunks)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return open(self.folder / name, "rb")

    def size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def names(self, folder: str = "") -> set[str]:
        path = self.folder / folder
        return {entry.name for entry in os.scandir(path)} if path.is_dir() else set()

    def remove(self, name: str) -> None:
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class ObjectStore:
    """Object storage by any URL of fsspec; an object is there whole or not at all."""

    def __init__(self, url: str) -> None:
        self.place = url
        self._files: Any
        self._files, self._root = open_filesystem(url)
        protocols = self._files.protocol
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        self.everywhere = self.here = "memory" not in names

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        self._files.pipe_file(self._at(name), b"".join(chunks))

    def read(self, name: str) -> bytes:
        return self._files.cat_file(self._at(name))

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def size(self, name: str) -> int | None:
        return self._files.size(self._at(name)) if self._files.isfile(self._at(name)) else None

    def names(self, folder: str = "") -> set[str]:
        try:
            paths = self._files.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return set()
        return {path.rstrip("/").rpartition("/")[2] for path in paths}

    def remove(self, name: str) -> None:
        if self._files.exists(self._at(name)):
            self._files.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        """The path of a file; asks anew what there is, as other processes write there too."""
        self._files.invalidate_cache()
        return f"{self._root}/{name}".rstrip("/")


def open_store(place: str | Path) -> Store:
    """The store at a path or URL.

    Raises:
        AvsrError: a URL that fsspec cannot open, or without fsspec.
    """
    return ObjectStore(str(place)) if is_url(place) else FolderStore(Path(local(place)))
