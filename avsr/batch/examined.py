"""Recordings to what the doctor finds of them, in this process or in processes of their own."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base.console import Bar, Lines
from avsr.base.processes.crew import Crew, Limits, Tell
from avsr.base.processes.machine import cores
from avsr.batch.children import Shown, ordered, seldom

if TYPE_CHECKING:
    from avsr.transcribing.doctor.examine import Examination
    from avsr.transcribing.engine import Progress

Found = tuple[Path, "Examination | Exception"]
"""A recording with what was found, or the error that it ended in."""


def examined(files: Sequence[Path], device: str, bar: Bar) -> Iterator[Found]:
    """Each recording with what was found, in their order.

    Args:
        files: the recordings.
        device: as in `load_model`.
        bar: told how far each is.

    Raises:
        AvsrError: the bundled model cannot be read, or no such device.
    """
    examine = _prepared(device)
    for file in files:
        bar(0, 1, file.name)
        try:
            yield file, examine(file, lambda done_s, of_s: bar(done_s, of_s or 1.0))
        except Exception as error:
            yield file, error


def examined_in_processes(
    files: Sequence[Path], device: str, bar: Bar, *, jobs: int, limits: Limits
) -> Iterator[Found]:
    """As `examined`, in processes that share the cores: one that crashes, hangs or takes too much
    takes only its own recording with it.

    Args:
        files, device, bar: as there.
        jobs: processes.
        limits: of each recording.

    Raises:
        AvsrError: as there.
    """
    size = min(jobs, len(files))
    shown = Shown(bar, len(files))
    crew: Crew[Path] = Crew(
        size,
        max(1, cores() // size),
        partial(_in_process, device),
        limits,
        shown.told,
        shown.said,
        lambda file, number: None,  # nothing lies half-written anywhere
    )

    def outcomes() -> Generator[Found]:
        with closing(crew.work(deque(files))) as results:
            for file, found in results:
                shown.done(file, 0.0 if isinstance(found, Exception) else found.duration_s)
                yield file, found

    with closing(outcomes()) as made:
        yield from ordered(files, made)


def _in_process(device: str) -> Callable[[Path, Tell], Examination]:
    """In a process: loads the bundled model; returns what examines a recording."""
    os.environ["AVSR_QUIET_MEDIAPIPE"] = "1"  # as in the command line
    logging.getLogger("avsr").addHandler(Lines(logging.WARNING))
    examine = _prepared(device)
    return lambda file, tell: examine(file, seldom(tell))


def _prepared(device: str) -> Callable[[Path, Progress], Examination]:
    from avsr.model import checkpoint
    from avsr.recognisers import ours, registry
    from avsr.transcribing.doctor.examine import examine

    recogniser = ours.load(checkpoint.DEFAULT, device)
    return lambda file, progress: examine(file, recogniser, progress, registry.language_of)
