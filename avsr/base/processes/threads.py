"""How many threads a computation on the CPU gets: never so many that they wait for each other.

Torch's threads meet after every layer. Where one of them has no core to itself, all wait for it:
beside four busy processes on two cores a clip of 1.2 s took 6 s with two threads and 0.4 s with
one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avsr.base.processes.machine import cores

SMALL_FRAMES = 100  # up to 4 s of media in a batch are too little to share
_LOAD = Path("/proc/loadavg")


@contextmanager
def enough_threads(frames: int) -> Iterator[None]:
    """Torch has as many threads as are of use; afterwards as many as before. The number is that of
    the calling thread.

    Args:
        frames: of media that are computed on.
    """
    import torch

    own = torch.get_num_threads()
    torch.set_num_threads(useful(frames, own))
    try:
        yield
    finally:
        torch.set_num_threads(own)


def begin_with(count: int) -> None:
    """Gives a thread that has just begun so many threads of torch, whatever other threads have for
    the moment."""
    import torch

    # only then is it this thread's own; before, it takes over whatever was set last
    torch.get_num_threads()
    torch.set_num_threads(count)


def useful(frames: int, most: int) -> int:
    """Threads for a computation: one for a small one, else as many as there are cores that nobody
    uses.

    Args:
        frames: of media that are computed on.
        most: what the caller allows.
    """
    if frames <= SMALL_FRAMES or most <= 1:
        return 1
    return max(1, min(most, cores(), (os.cpu_count() or 1) - _busy()))


def _busy() -> int:
    """Cores of the machine that others use now: threads that run or want to, but for this one.

    Elsewhere than on Linux none: an average over a minute would count what we did in it ourselves.
    """
    try:
        return int(_LOAD.read_text().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0


def limit_threads(threads: int = 1) -> None:
    """Gives the libraries of this process so many threads: others work beside it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import cv2

    cv2.setNumThreads(threads)
