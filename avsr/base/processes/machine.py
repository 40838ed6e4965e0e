"""What this process runs on, and how much memory it took."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

LARGE_BLOCK = 2**20  # bytes, see steady_memory
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name as the system has it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """Largest memory this process has held, MB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    # what getrusage says on Linux begins with the memory of the process that started this one
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def steady_memory() -> None:
    """Has the C library give large blocks of memory back at once, where it can be told to.

    glibc takes freed blocks of up to 32 MB for its heap as it learns their size. Small ones come to
    lie between them, and a process that transcribes grows for hours though it holds no more.
    """
    set_option = _of_c_library("mallopt")
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGE_BLOCK)


def release_memory() -> None:
    """Gives memory that is free back to the system, where the C library can be told to: glibc keeps
    what was freed, in holes into which later blocks do not fit."""
    trim = _of_c_library("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _of_c_library(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library has none, as on macOS and Windows."""
    try:
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):
        return None
