"""What was found of a long recording so far, kept in a file: a call that was killed half-way goes
on from there.

The file has a line for each result with its checksum, appended as soon as it is there. A line
that was cut off or damaged is left out. The first line says of which recording the results are, and
by which versions: where that does not fit, the file is begun anew. Nothing depends on the file.
Where it cannot be written, there is none. It never takes more of a disk than it leaves free: there
must be room for the results themselves, those of other recordings too.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

LEAST_S = 60.0  # a shorter recording is rather done again
VERSIONS = ("avsr", "mediapipe", "torch")  # that results depend on
MARK = b'{"avsr-partial": 1, '


def is_long(duration_s: float) -> bool:
    """Whether it is worth the while to keep what was found of a recording."""
    return duration_s > LEAST_S


class Partial:
    """The results so far of one recording.

    Args:
        path: the file that keeps them; its folder is made when it is needed.
        source: the recording.
        asked: tells what was asked for, the model and all options, from anything else; called when
            that is needed. Empty where it cannot be told.
    """

    def __init__(self, path: Path, source: Path, asked: Callable[[], str] = str) -> None:
        self.path, self.source, self.asked = path, source, asked
        self._begun = False
        self._lock = threading.Lock()

    @classmethod
    def beside(cls, target: Path, source: Path, asked: Callable[[], str] = str) -> Partial:
        """That of a recording whose results are written to a target."""
        return cls(target.with_name(f".{source.name}.partial.jsonl"), source, asked)

    def entries(self, kind: str) -> Iterator[dict[str, Any]]:
        """The results of a kind in their order, a line at a time; none where they are of another
        recording."""
        begins = f"{kind}\t".encode()
        with suppress(OSError):
            if not self._is_file():
                return
            with open(self.path, "rb") as file:
                if file.readline() != self._head():
                    return
                for line in file:
                    found = _read(line.removeprefix(begins)) if line.startswith(begins) else None
                    if found is not None:
                        yield found

    def add(self, kind: str, entry: dict[str, Any]) -> None:
        """Keeps a result.

        Args:
            kind: a word.
            entry: what JSON can hold; arrays and their numbers as Python has them.
        """
        body = json.dumps(entry, default=lambda value: value.item()).encode()
        line = b"%s\t%s\t%s\n" % (kind.encode(), _checksum(body), body)
        with self._lock, suppress(OSError):  # on a full disk the result is not kept, that is all
            if not self._begun:
                self._begin()
                self._begun = True
            if shutil.disk_usage(self.path.parent).free <= self.path.stat().st_size:
                return
            # a line is one write; a file that was taken away is not made again
            with open(os.open(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as file:
                file.write(line)

    def remove(self) -> None:
        """Removes the file, once what it serves for is written; another's of that name stays."""
        with suppress(OSError):
            if self._is_ours():
                self.path.unlink()

    def _begin(self) -> None:
        """Makes the file ready for a line to be appended.

        Raises:
            OSError: it cannot be written, or is somebody else's.
        """
        head = self._head()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_ours():
            self.path.touch(exist_ok=False)
        with open(self.path, "r+b") as file:
            if file.readline() != head:
                file.seek(0)
                file.truncate()
                file.write(head)
                return
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # the last line was cut off
                file.write(b"\n")

    def _is_file(self) -> bool:
        with suppress(OSError):
            return stat.S_ISREG(self.path.lstat().st_mode)
        return False

    def _is_ours(self) -> bool:
        if not self._is_file():
            return False
        with open(self.path, "rb") as file:
            head = file.read(len(MARK))
            return MARK.startswith(head)  # one that was cut off too

    def _head(self) -> bytes:
        """The first line.

        Raises:
            OSError: the recording is gone.
        """
        found = self.source.stat()
        key = {"name": self.source.name, "size": found.st_size, "changed_ns": found.st_mtime_ns}
        key |= {name: version(name) for name in VERSIONS}
        return MARK + json.dumps(key).removeprefix("{").encode() + b"\n"


def _read(line: bytes) -> dict[str, Any] | None:
    """What a line holds behind its kind; None where it was cut off or damaged."""
    told, _, body = line.removesuffix(b"\n").partition(b"\t")
    whole = line.endswith(b"\n") and told == _checksum(body)
    return json.loads(body) if whole else None


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
