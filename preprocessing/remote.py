"""Files behind a URL that fsspec knows: opened to be read front to back, and shards fetched whole.

Over a network nothing is read here and there: whoever wants some clip of a shard gets the whole
shard, once, into a folder of this machine, and reads it there. All processes of the machine share
that folder, and it does not grow beyond `room`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.base.outputs import is_unfinished, write_file
from avsr.preprocessing.index import in_one_line

T = TypeVar("T")
LOCAL = ("file://", "local://")
TRIES = 4  # of a file over a network
WAIT_S = 1.0  # before the second of them, doubled before each further one
SILENCE_S = 60.0  # of a web server, after which the connection counts as broken
CHUNK = 1 << 20  # bytes that are read at once
ROOM_GB = 10.0  # for shards that were fetched
ROOM_NAME = "AVSR_SHARDS_GB"  # names another size
CACHE_NAME = "AVSR_SHARDS"  # names another folder for them


def is_url(place: str | Path) -> bool:
    """Whether a place is none of this machine's file system."""
    return "://" in local(place)


def local(place: str | Path) -> str:
    """The path that a URL of this machine's file system names; other places as they are."""
    text = str(place)
    for prefix in LOCAL:
        text = text.removeprefix(prefix)
    return text


def open_filesystem(location: str) -> tuple[Any, str]:
    """An fsspec file system and the path on it; None and the path for a local folder.

    Raises:
        AvsrError: a URL that fsspec does not know, or without fsspec.
    """
    if not is_url(location):
        return None, local(location)
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise AvsrError(
            f"{location} is a URL: reading it needs fsspec ({install('fsspec')})"
        ) from error
    try:
        return url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise AvsrError(f"{location}: fsspec cannot open such a URL ({error})") from error


def open_file(filesystem: Any, path: str) -> IO[bytes]:
    """A file, read block by block; that of a web server that does not promise to serve parts of it
    in one answer, however slowly it is taken."""
    if "http" not in filesystem.protocol or filesystem.info(path).get("partial"):
        return cast(IO[bytes], filesystem.open(path, "rb"))
    from aiohttp import ClientTimeout

    patient = {"timeout": ClientTimeout(total=None, sock_read=SILENCE_S)}
    filesystem = type(filesystem)(client_kwargs=patient)
    return cast(IO[bytes], filesystem.open(path, "rb", block_size=0))


def tries() -> Iterator[int]:
    """Numbers of the tries to read over a network, with an ever longer pause before each but the
    first."""
    for number in range(TRIES):
        if number:
            time.sleep(WAIT_S * 2 ** (number - 1))
        yield number


def room() -> int:
    """Bytes that fetched shards may take on this machine.

    Raises:
        AvsrError: the environment names no such number.
    """
    told = os.environ.get(ROOM_NAME) or str(ROOM_GB)
    try:
        size = float(told)
    except ValueError:
        size = -1.0
    if not 0 <= size <= 1e6:
        raise AvsrError(f"{ROOM_NAME}={told!r}: must be a number of GB, 0 or more")
    return int(size * 1e9)


def no_index(location: str, name: str, error: Exception) -> AvsrError:
    """The error where the index of shards cannot be read: what is not there is not written yet."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    why = in_one_line(str(getattr(error, "strerror", None) or error))
    advice = "`avsr prepare` writes it last, so run that to its end"
    if not missing:
        advice = "see that the place is right and can be read from here"
    return AvsrError(f"{location}: no {name} to read ({why}); {advice}")


class FetchedFolder:
    """The files of a folder behind a URL; can be pickled into worker processes.

    Args:
        location: the URL, without the name of a file.

    Raises:
        AvsrError: fsspec does not know such a URL, or the environment names no `room`.
    """

    def __init__(self, location: str) -> None:
        room()  # told at once, and not after the connection was tried again and again
        self.location = location
        self._files, self._root = open_filesystem(location)
        self._version = ""

    def index(self, name: str) -> bytes:
        """The file that says what the others are; whoever changes them changes it as well.

        Raises:
            OSError: it cannot be read.
        """
        content = self._persistently(name, lambda: self._files.cat_file(f"{self._root}/{name}"))
        self._version = hashlib.sha256(self.location.encode() + content).hexdigest()[:16]
        return content

    def open(self, name: str) -> IO[bytes]:
        """Another file of it, on this machine.

        Raises:
            OSError: it cannot be fetched, or not be kept.
        """
        from filelock import FileLock

        kept = shard_cache() / self._version / name
        # another process may remove it between the two, if there is hardly any room
        for _ in range(TRIES):
            with suppress(FileNotFoundError):
                file = kept.open("rb")
                with suppress(OSError):
                    now = time.time_ns()  # the file system's own clock may tick too slowly
                    os.utime(kept, ns=(now, now))
                return file
            kept.parent.mkdir(parents=True, exist_ok=True)
            # one process fetches, the others wait for it
            with FileLock(kept.parent.with_suffix(".lock")):
                if not kept.exists():
                    self._persistently(name, lambda: self._fetch(name, kept))
        raise OSError(errno.ENOSPC, f"no room to keep it; set {ROOM_NAME} higher")

    def _fetch(self, name: str, kept: Path) -> None:
        path = f"{self._root}/{name}"
        size = self._files.info(path).get("size")
        _make_room(size or 0, kept.parent)
        with open_file(self._files, path) as file:
            write_file(kept, _chunks(file, size))

    def _persistently(self, name: str, work: Callable[[], T]) -> T:
        """Tries again where a connection breaks.

        Raises:
            OSError: it always does, the file is not there, or this machine's disk is full.
        """
        for _ in tries():
            try:
                return work()
            except FileNotFoundError as error:
                raise OSError(errno.ENOENT, "it is not there") from error
            # each file system has errors of its own
            except Exception as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise
                trouble = error
        said = in_one_line(str(trouble)) or type(trouble).__name__
        raise OSError(errno.EIO, f"{name} cannot be fetched: {said}") from trouble


def _chunks(file: IO[bytes], size: int | None) -> Iterator[bytes]:
    """The content of a file; raises EOFError where it ends too early."""
    done = 0
    while chunk := file.read(CHUNK):
        done += len(chunk)
        yield chunk
    if size is not None and done != size:
        raise EOFError(f"{done} of {size} bytes came")


def shard_cache() -> Path:
    """Where fetched shards are kept, those of each corpus in a folder of their own."""
    from platformdirs import user_cache_path

    if named := os.environ.get(CACHE_NAME):
        return Path(named).expanduser()
    return user_cache_path("avsr") / "shards"


def _make_room(size: int, fetching: Path) -> None:
    """Removes the shards that were not used for longest, until so many bytes more may be kept.

    Args:
        size: in bytes.
        fetching: the folder whose lock this process holds.
    """
    there = []
    for path in shard_cache().glob("*/*"):
        with suppress(FileNotFoundError):  # another process was quicker
            about = path.stat()
            there.append((about.st_mtime_ns, about.st_size, path))
    taken = sum(bytes_ for _, bytes_, _ in there)
    for _, bytes_, path in sorted(there):
        if taken + size <= room():
            return
        with suppress(OSError):  # gone, or in use where files in use cannot be removed
            if is_unfinished(path) and path.parent != fetching:
                _remove_abandoned(path)
            else:
                path.unlink()
            taken -= bytes_


def _remove_abandoned(part: Path) -> None:
    """Removes what a process that is no more left of a shard; raises OSError where one is still
    fetching it."""
    from filelock import FileLock

    # raises Timeout, an OSError, where somebody holds it
    with FileLock(part.parent.with_suffix(".lock"), timeout=0):
        part.unlink()
