"""Processes that are to have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LIMIT_S = 120  # a machine that does other work too is slow


def ended(pid: int) -> bool:
    """Whether a process does nothing any more; nobody may have asked for its exit status yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with suppress(OSError):  # no /proc here, or it goes right now
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def until_ended(pids: Iterable[int]) -> None:
    """Waits until these processes have ended; fails where one goes on."""
    going_on, until_s = list(pids), time.monotonic() + LIMIT_S
    while going_on := [pid for pid in going_on if not ended(pid)]:
        assert time.monotonic() < until_s, f"processes {going_on} go on"
        time.sleep(0.05)
