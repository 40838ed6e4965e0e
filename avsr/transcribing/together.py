"""Several files at once: each is read in a thread of its own, and what waits for the network shares
a forward pass."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import cores
from avsr.base.processes.threads import begin_with
from avsr.decoding.words import Hypothesis
from avsr.model.batches import BATCH_FRAMES
from avsr.preprocessing.clip import Clip
from avsr.recognisers.protocol import Recogniser
from avsr.transcribing.engine import Progress, open_reader, size_s
from avsr.transcribing.speakers.people import (
    are_wanted,
    is_speaking,
    names_of,
    refuse_reader,
    transcribe,
)

if TYPE_CHECKING:
    from avsr.base.partial import Partial
    from avsr.preprocessing.reader import ClipReader
    from avsr.transcribing.transcript import Transcript

MOST_FILES = 8  # that are open at once: so many share a forward pass


def transcribe_many(
    recogniser: Recogniser,
    paths: Sequence[str | Path],
    modality: str = "auto",
    face: str | int = "main",
    progress: Progress | None = None,
    reader: ClipReader | None = None,
    audio_track: int | None = None,
    speakers: bool | Sequence[str] = False,
    partial: Callable[[str | Path], Partial] | None = None,
) -> Generator[Transcript | Exception]:
    """Recognises several files, with the words that each has alone; see
    `avsr.Recogniser.transcribe_many`.

    Files of up to one window are read in threads and share calls of the recogniser. A longer one is
    read in the caller's thread, when it is its turn, while a few short ones behind it are made
    ready: memory does not grow with the number of long files.

    Args:
        recogniser: of any family.
        paths, modality, face, progress, reader, audio_track, speakers, partial: as there.

    Raises:
        AvsrError: as there.
    """
    from avsr.preprocessing.faces.persons import check_rule

    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise AvsrError(f"paths {paths!r}: give a list of paths; for one file use transcribe")
    options: dict[str, Any] = {"modality": modality, "face": face, "audio_track": audio_track}
    shared = _Shared(recogniser, partial)
    everybody = are_wanted(speakers)
    if everybody or is_speaking(face):  # which is gone through more than once, file after file
        refuse_reader(reader)
        if everybody:
            options["speakers"] = names_of(speakers, face) or True
        for one in paths:
            yield shared.transcribe_here(one, progress=progress, **options)
        return
    check_rule(face)
    yield from _side_by_side(shared, iter(paths), progress, reader, options)


def _side_by_side(
    shared: _Shared,
    waiting: Iterator[str | Path],
    progress: Progress | None,
    reader: ClipReader | None,
    options: dict[str, Any],
) -> Generator[Transcript | Exception]:
    """What came of each file, in their order: short ones in threads, longer ones in this one."""
    import torch

    ahead: deque[tuple[str | Path, Future[Transcript | None]]] = deque()
    begun = next(waiting, None) if reader is not None else None
    pool = ThreadPoolExecutor(MOST_FILES, "avsr-file", begin_with, (torch.get_num_threads(),))
    try:
        while True:
            while len(ahead) < 2 * MOST_FILES and (path := next(waiting, None)) is not None:
                ahead.append((path, pool.submit(shared.transcribe_short, path, **options)))
            if begun is not None:
                yield shared.transcribe_here(begun, progress=progress, reader=reader, **options)
                begun = None
                continue
            if not ahead:
                return
            path, done = ahead.popleft()
            found: Transcript | Exception | None
            try:
                found = done.result()
            except Exception as error:
                found = error
            yield (
                shared.transcribe_here(path, progress=progress, **options)
                if found is None
                else found
            )
    finally:
        shared.stopped = True  # who asks for no more waits for no file that is under way
        pool.shutdown(wait=True, cancel_futures=True)


class _Request:
    """Clips that wait for the recogniser, and later what was found."""

    def __init__(self, clips: Sequence[Clip], modality: str, closed: bool) -> None:
        self.clips, self.modality, self.closed = list(clips), modality, closed
        self.found: Sequence[Hypothesis] | None = None

    def goes_with(self, other: _Request) -> bool:
        return self.modality == other.modality and self.closed == other.closed


class _Shared:
    """A recogniser whose threads take turns: who has the turn takes along what the others wait
    for."""

    def __init__(
        self, recogniser: Recogniser, partial: Callable[[str | Path], Partial] | None
    ) -> None:
        self.recogniser, self.partial = recogniser, partial
        self.stopped = False
        self._turn = threading.Lock()
        # pictures take memory, faces a core each
        self._watched = threading.Semaphore(max(2, cores()))
        # appending and copying are atomic; taking needs the turn
        self._waiting: list[_Request] = []

    def transcribe_short(self, path: str | Path, **options: Any) -> Transcript | None:
        """As `engine.transcribe`, but a file longer than a window is closed again, and None."""
        crops = self.recogniser.crops
        with open_reader(path, **options, crops=crops) as reader:
            if reader.info.duration_s > size_s(self.recogniser):
                return None
            pictures = reader.info.has_video and options.get("modality") != "audio"
            with self._watched if pictures else nullcontext():
                self.go_on(0, 0)
                return self._transcribe(path, progress=self.go_on, reader=reader, **options)

    def transcribe_here(self, path: str | Path, **options: Any) -> Transcript | Exception:
        """As `engine.transcribe`, but an error is returned."""
        partial = self.partial(path) if self.partial is not None else None
        try:
            return self._transcribe(path, partial=partial, **options)
        except Exception as error:
            return error

    def _transcribe(self, path: str | Path, **options: Any) -> Transcript:
        return transcribe(self.recogniser, path, hear=self.hear, **options)

    def go_on(self, done_s: float, of_s: float) -> None:
        """Ends the file where nobody waits for it any more."""
        if self.stopped:
            raise AvsrError("stopped")

    def hear(self, clips: Sequence[Clip], modality: str, closed: bool) -> Sequence[Hypothesis]:
        """As `Recogniser.recognise_part`."""
        self.go_on(0, 0)
        request = _Request(clips, modality, closed)
        self._waiting.append(request)
        with self._turn:
            if request.found is None:
                self._serve(request)
        assert request.found is not None
        return request.found

    def _serve(self, request: _Request) -> None:
        """One call for a request and those that fit beside it."""
        self._waiting.remove(request)
        batch = [request]
        for other in list(self._waiting):
            frames = [clip.frames for served in [*batch, other] for clip in served.clips]
            if other.goes_with(request) and max(frames) * len(frames) <= BATCH_FRAMES:
                batch.append(other)
        try:
            found = self._recognise([clip for served in batch for clip in served.clips], request)
        except Exception:
            if len(batch) == 1:
                raise
            batch = [request]  # whoever is to blame finds out alone
            found = self._recognise(request.clips, request)
        for served in batch:
            served.found, found = found[: len(served.clips)], found[len(served.clips) :]
            if served is not request:
                self._waiting.remove(served)

    def _recognise(self, clips: Sequence[Clip], as_asked: _Request) -> Sequence[Hypothesis]:
        return self.recogniser.recognise_part(clips, as_asked.modality, as_asked.closed)
