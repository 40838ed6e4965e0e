"""A large file over a connection that may drop: what came is kept, gone on with and checked."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
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


def read_url(url: str) -> bytes:
    """A small file.

    Raises:
        AvsrError: it cannot be fetched.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.read()
    except LOST as error:
        raise AvsrError(
            f"{url}: cannot be fetched ({_reason(error)}); is there a network?"
        ) from error


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
    """
    part = target.with_name(f"{target.name}.part")
    failures = 0
    while (have := _size(part)) != size:
        try:
            _fetch_rest(url, part, have if have < size else 0, told)
            reason = "the connection was closed"
        except LOST as error:
            reason = _reason(error)
            status = getattr(error, "code", 0)
            if status in FOR_GOOD and status not in BUT:
                raise AvsrError(f"{url}: cannot be fetched ({reason})") from error
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
        LOST: the connection failed.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on and begins else 0
        with open(part, "r+b" if part.exists() else "wb") as file:
            file.truncate(have)
            file.seek(have)
            while block := answer.read1(BLOCK):
                file.write(block)
                have += len(block)
                if told is not None:
                    told(have)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    return str(cause) or type(error).__name__
