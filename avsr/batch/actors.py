"""Recordings to transcripts by the actors of a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.base.console import Bar
from avsr.base.errors import AvsrError
from avsr.base.processes.cluster import Died, results
from avsr.base.processes.crew import Tell
from avsr.base.processes.pool import TRIES
from avsr.batch.asked import Asked
from avsr.batch.children import Shown, ordered, prepare
from avsr.batch.delivery import Delivery
from avsr.batch.work import Outcome

if TYPE_CHECKING:
    from avsr.transcribing.transcript import Transcript


def transcribed_by_actors(
    asked: Asked,
    files: Sequence[Path],
    finish: Delivery,
    bar: Bar,
    *,
    jobs: int | None,
    in_order: bool,
) -> Iterator[Outcome]:
    """As `work.transcribed`, by actors that each load the recogniser once and write what they made.

    Args:
        asked, files, finish, bar: as there; the files and their targets must be at the same paths
            wherever an actor may run.
        jobs: actors; as many as the cluster has CPUs where None.
        in_order: in the order of the files, and not as they are ready.

    Raises:
        AvsrError: no recogniser, one that cannot do what is asked, or no Ray.
    """
    shown = Shown(bar, len(files))

    def outcomes() -> Generator[Outcome]:
        with closing(results(deque(files), _Task(asked, finish), jobs)) as found:
            for file, what in found:
                if isinstance(what, Died):
                    what = AvsrError(f"{file}: the process died over it {TRIES} times")
                shown.done(file, 0.0 if isinstance(what, Exception) else what.duration_s)
                yield file, what

    with closing(outcomes()) as made:
        yield from ordered(files, made) if in_order else made


class _Task:
    """Transcribes a recording; the recogniser is loaded with the first one."""

    def __init__(self, asked: Asked, finish: Delivery) -> None:
        self._asked, self._finish = asked, finish
        self._transcribe: Callable[[Path, Tell], Transcript] | None = None

    def __call__(self, file: Path) -> Transcript | Exception:
        if self._transcribe is None:
            self._transcribe = prepare(self._asked, self._finish)
        try:
            return self._transcribe(file, lambda at: None)
        except Exception as error:  # one file's trouble, told where it belongs
            return error
