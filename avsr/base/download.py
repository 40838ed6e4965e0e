"""A large file over a connection that may drop: what came is kept, gone on with and checked."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from avsr.base.errors import AvsrError

BLOCK = 1 << 20
TIMEOUT_S = 60.0
TRIES = 6  # in a row that bring nothing
LOST = (OSError, http.client.HTTPException)  # URLError and timeouts are OSErrors
FOR_GOOD = range(400, 500)  # answers of a server that will not change ...
BUT = {408, 425, 429}  # ... apart from these: too slow, too early, too often

Told = Callable[[int], None]
"""Is told the bytes that came so far."""


class _Lost(Exception):
    """A connection failed.

    Attributes:
        reason: in a few words.
        for_good: the server says that it will not serve this.
    """

    def __init__(self, error: Exception) -> None:
        cause = getattr(error, "reason", None) or error
        status = getattr(error, "code", 0)
        self.reason = str(cause) or type(error).__name__
        self.for_good = status in FOR_GOOD and status not in BUT


@contextmanager
def _connection() -> Iterator[None]:
    """Raises _Lost for what goes wrong with a connection; the disk has errors of the same kinds."""
    try:
        yield
    except LOST as error:
        raise _Lost(error) from error


def read_url(url: str, pause_s: float = 1.0) -> bytes:
    """A small file.

    Args:
        url: of the file.
        pause_s: before the second try; doubled before each further one.

    Raises:
        AvsrError: it cannot be fetched.
    """
    failures = 0
    while True:
        try:
            with _connection(), urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                return answer.read()
        except _Lost as lost:
            failures += 1
            if lost.for_good or failures == TRIES:
                raise AvsrError(
                    f"{url}: cannot be fetched ({lost.reason}); is there a network?"
                ) from lost
        time.sleep(pause_s * 2 ** (failures - 1))


def download(
    url: str, target: Path, size: int, md5: str, told: Told | None = None, pause_s: float = 1.0
) -> None:
    """Fetches a file beside its place, goes on where a connection dropped, also that of an earlier
    run, and renames it when its checksum is right.

    Args:
        url: of the file; a server that cannot go on in the middle is read from the start.
        target: its place. What came so far is in `target.part`.
        size: bytes.
        md5: in hexadecimal digits.
        told: see Told.
        pause_s: before the second try; doubled before each further one.

    Raises:
        AvsrError: nothing more comes, or what came has another checksum.
        OSError: it cannot be written, for example on a full disk; what came is kept.
    """
    part = target.with_name(f"{target.name}.part")
    failures = 0
    while (have := _size(part)) != size:
        try:
            _fetch_rest(url, part, have if have < size else 0, told)
            reason = "the connection was closed"
        except _Lost as lost:
            reason = lost.reason
            if lost.for_good:
                raise AvsrError(f"{url}: cannot be fetched ({reason})") from lost
        failures = 0 if _size(part) > have else failures + 1
        if failures == TRIES:
            raise AvsrError(
                f"{url}: {_size(part)} of {size} bytes came, then no more ({reason}); they are "
                "kept: run the same command again to go on"
            )
        if _size(part) != size:
            time.sleep(pause_s * 2 ** max(0, failures - 1))
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise AvsrError(
            f"{url}: what came is damaged (MD5 {found}, expected {md5}) and was removed; run the "
            "same command again"
        )
    part.replace(target)


def _fetch_rest(url: str, part: Path, have: int, told: Told | None) -> None:
    """Appends what is missing behind the first `have` bytes, as far as it comes.

    Raises:
        _Lost: the connection failed.
        OSError: the disk did.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with _connection():
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    with answer, open(part, "r+b" if part.exists() else "wb") as file:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on and begins else 0
        file.truncate(have)
        file.seek(have)
        while block := _next_block(answer):
            file.write(block)
            have += len(block)
            if told is not None:
                told(have)


def _next_block(answer: http.client.HTTPResponse) -> bytes:
    """What comes next, nothing at the end; raises _Lost."""
    with _connection():
        return answer.read1(BLOCK)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
