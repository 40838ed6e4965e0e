"""How much is kept at once, of everybody, and whether the disk has room for it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avsr.base.errors import AvsrError

LEAST_BYTES = 1_000_000  # that a file counts: with each goes a result in memory
SPARE_BYTES = 200_000_000  # of the disk that stay free, for what is being made and for others
COUNTED_S = 1.0  # so long what was counted holds, where nothing was finished meanwhile
DISK_FULL = "the disk of this machine is full: try again later, or tell who runs this page"


class NoRoom(AvsrError):
    """More is kept already than leaves room for this."""


def is_full(error: BaseException) -> bool:
    """Whether an error comes of a disk that is full."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


class Room:
    """What the files below a folder may take.

    Args:
        folder: of all files that are kept.
        most_bytes: that they may have together, each counted as at least LEAST_BYTES.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._promised: dict[Path, int] = {}
        self._counted: tuple[float, int] = (0.0, 0)
        self._lock = threading.Lock()

    @contextmanager
    def promised(self, path: Path, size: int) -> Iterator[None]:
        """Room for a file or a folder while it is written; what it has so far does not count twice.

        Args:
            path: the file or folder.
            size: bytes that it will have.

        Raises:
            NoRoom: before anything is written.
        """
        with self._lock:
            self._check(size)
            self._promised[path] = max(size, LEAST_BYTES)
        try:
            yield
        finally:
            with self._lock:
                del self._promised[path]
                self._counted = (0.0, 0)

    def check(self, size: int) -> None:
        """
        Raises:
            NoRoom: there is none for so many bytes more.
        """
        with self._lock:
            self._check(size)

    def _check(self, size: int) -> None:
        promised = sum(self._promised.values())
        if shutil.disk_usage(self._folder).free < promised + size + SPARE_BYTES:
            raise NoRoom(DISK_FULL)
        left = max(0, self._most_bytes - self._kept() - promised)
        if max(size, LEAST_BYTES) > left:
            raise NoRoom(
                f"no room for {size / 1e6:.0f} MB: the app keeps no more than "
                f"{self._most_bytes / 1e9:g} GB at once, and {left / 1e6:.0f} MB are left: close "
                "pages of it that nobody needs any more, or try again in some minutes"
            )

    def _kept(self) -> int:
        """Bytes of all files but those that room was promised to."""
        now_s = time.monotonic()
        counted_s, total = self._counted
        if now_s < counted_s + COUNTED_S:
            return total
        total = 0
        for place, folders, files in os.walk(self._folder):
            here = Path(place)
            folders[:] = [name for name in folders if here / name not in self._promised]
            for path in (here / name for name in files):
                if path not in self._promised:
                    total += max(LEAST_BYTES, _size(path))
        self._counted = (now_s, total)
        return total


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0
