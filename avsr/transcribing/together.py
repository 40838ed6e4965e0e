"""Several files at once: each is read in a thread of its own, and what waits for the network shares
a forward pass."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.errors import AvsrError
from avsr.base.pool import cores
from avsr.base.threads import begin_with
from avsr.model.batches import BATCH_FRAMES
from avsr.recognisers.ours import Progress, Recogniser

if TYPE_CHECKING:
    from avsr.decoding.alignment import WordSpan
    from avsr.decoding.language import Decoding, Language
    from avsr.preprocessing.clip import Clip
    from avsr.preprocessing.reader import ClipReader
    from avsr.transcribing.transcript import Transcript

MOST_FILES = 8  # that are open at once: so many share a forward pass
Spans = list[tuple[list["WordSpan"], list[float]]]


def transcribe_many(
    recogniser: Recogniser,
    paths: Sequence[str | Path],
    modality: str = "auto",
    beam: int | None = None,
    face: str | int = "main",
    progress: Progress | None = None,
    language: Language | None = None,
    reader: ClipReader | None = None,
    audio_track: int | None = None,
) -> Generator[Transcript | Exception]:
    """Recognises several files, with the words that each has alone.

    Files of up to one window are read in threads and share forward passes. A longer one is read in
    the caller's thread, when it is its turn, while a few short ones behind it are made ready:
    memory does not grow with the number of long files.

    Args:
        recogniser: of `load_model`.
        paths: files of any length; few are open at a time, however many there are.
        modality, beam, face, language, audio_track: as in `Recogniser.transcribe`, of every file.
        progress: told how far a file is that is read in the caller's thread.
        reader: of the first file, as in `Recogniser.transcribe`; read in the caller's thread, and
            closed.

    Yields:
        For each file, in the order given and as soon as those before it are done, its transcript,
        or the error that it
        ended in: one bad file does not stop the rest.

    Raises:
        AvsrError: options that make no sense whatever the files hold, or paths that are no list.
    """
    import torch

    from avsr.preprocessing.faces.persons import check_rule

    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise AvsrError(f"paths {paths!r}: give a list of paths; for one file use transcribe")
    recogniser._decoding(modality, beam, language)
    check_rule(face)
    options: dict[str, Any] = {
        "modality": modality,
        "beam": beam,
        "face": face,
        "language": language,
    }
    options["audio_track"] = audio_track
    shared = _Shared(recogniser)
    ahead: deque[tuple[str | Path, Future[Transcript | None]]] = deque()
    waiting = iter(paths)
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
    """Clips that wait for a forward pass, and later what was found."""

    def __init__(self, clips: Sequence[Clip], decoding: Decoding, closed: bool) -> None:
        self.clips, self.decoding, self.closed = list(clips), decoding, closed
        self.found: Spans | None = None

    def goes_with(self, other: _Request) -> bool:
        return self.decoding == other.decoding and self.closed == other.closed


class _Shared(Recogniser):
    """A recogniser whose threads take turns at the network: who has the turn takes along what the
    others wait for."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.__dict__.update(recogniser.__dict__)
        self.stopped = False
        self._turn = threading.Lock()
        # pictures take memory, faces a core each
        self._watched = threading.Semaphore(max(2, cores()))
        # appending and copying are atomic; taking needs the turn
        self._waiting: list[_Request] = []

    def transcribe_short(self, path: str | Path, **options: Any) -> Transcript | None:
        """As `Recogniser.transcribe`, but a file longer than a window is closed again, and None."""
        with self._reader(path, **options) as reader:
            if reader.info.duration_s > self.window_s:
                return None
            pictures = reader.info.has_video and options.get("modality") != "audio"
            with self._watched if pictures else nullcontext():
                self.go_on(0, 0)
                return self.transcribe(path, progress=self.go_on, reader=reader, **options)

    def transcribe_here(self, path: str | Path, **options: Any) -> Transcript | Exception:
        """As `Recogniser.transcribe`, but an error is returned."""
        try:
            return self.transcribe(path, **options)
        except Exception as error:
            return error

    def go_on(self, done_s: float, of_s: float) -> None:
        """Ends the file where nobody waits for it any more."""
        if self.stopped:
            raise AvsrError("stopped")

    def spans(
        self, clips: Sequence[Clip], decoding: Decoding | None = None, closed: bool = True
    ) -> Spans:
        """As `Recogniser.spans`."""
        self.go_on(0, 0)
        request = _Request(clips, decoding or self.decoding, closed)
        self._waiting.append(request)
        with self._turn:
            if request.found is None:
                self._serve(request)
        assert request.found is not None
        return request.found

    def _serve(self, request: _Request) -> None:
        """One forward pass for a request and those that fit beside it."""
        self._waiting.remove(request)
        batch = [request]
        for other in list(self._waiting):
            clips = [clip.frames for served in [*batch, other] for clip in served.clips]
            if other.goes_with(request) and max(clips) * len(clips) <= BATCH_FRAMES:
                batch.append(other)
        try:
            found = super().spans(
                [clip for served in batch for clip in served.clips],
                request.decoding,
                request.closed,
            )
        except Exception:
            if len(batch) == 1:
                raise
            batch = [request]  # whoever is to blame finds out alone
            found = super().spans(request.clips, request.decoding, request.closed)
        for served in batch:
            served.found, found = found[: len(served.clips)], found[len(served.clips) :]
            if served is not request:
                self._waiting.remove(served)
