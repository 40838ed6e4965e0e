"""Recordings to what the doctor finds of them, in this process or in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base.console import Bar
from avsr.base.processes.crew import Limits, Tell
from avsr.base.processes.machine import steady_memory
from avsr.batch.children import in_processes, ordered, seldom, speak_in_lines

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
    begin = partial(_in_process, device)
    outcomes = in_processes(files, begin, bar, jobs=jobs, limits=limits, on_lost=_nothing)
    with closing(outcomes) as made:
        yield from ordered(files, made)


def _nothing(file: Path, number: int) -> None:
    """Nothing lies half-written anywhere."""


def _in_process(device: str) -> Callable[[Path, Tell], Examination]:
    """In a process: loads the bundled model; returns what examines a recording."""
    speak_in_lines()
    examine = _prepared(device)
    return lambda file, tell: examine(file, seldom(tell))


def _prepared(device: str) -> Callable[[Path, Progress], Examination]:
    from avsr.model import checkpoint
    from avsr.recognisers import ours, registry
    from avsr.transcribing.doctor.examine import examine

    steady_memory()
    recogniser = ours.load(checkpoint.DEFAULT, device)
    return lambda file, progress: examine(file, recogniser, progress, registry.language_of)
