"""What is made of a result when somebody asks for it: the explained page, the film with captions.

Making takes long, so it is a task as transcribing is: it waits for its turn, tells how far it is,
and can be cancelled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avsr.app.room import DISK_FULL, NoRoom, is_full
from avsr.app.shelf import Result, Shelf
from avsr.app.work import Cancelled, Models, Task, Tasks
from avsr.base.console import one_line
from avsr.base.errors import AvsrError
from avsr.transcribing.engine import Progress

ABANDONED_S = 120.0  # that nobody asks how far it is: whoever waited is gone

Maker = Callable[[Result, Path, Models, Progress], None]


def _page(result: Result, target: Path, models: Models, tell: Progress) -> None:
    from avsr.transcribing.explain.page import explain

    recogniser = models.load(result.model)
    modality = result.how.get("modality", "auto")
    explain(result.media, result.named, recogniser, target, modality, tell)


def _film(result: Result, target: Path, models: Models, tell: Progress) -> None:
    from avsr.transcribing.captions.burn import burn
    from avsr.transcribing.captions.formats import Style

    burn(result.media, result.named, target, Style(highlight=True), tell)


MAKERS: dict[str, Maker] = {"page": _page, "film": _film}


class Makings:
    """What is being made, of all results.

    Args:
        models: as they were for the transcripts.
        tasks: whose turn it is.
        shelf: keeps what was made.
    """

    def __init__(self, models: Models, tasks: Tasks, shelf: Shelf) -> None:
        self._models, self._tasks, self._shelf = models, tasks, shelf
        self._running: dict[tuple[str, str], Task[None]] = {}
        self._asked_s: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, kind: str) -> dict[str, Any]:
        """Begins to make something, where it is not there or being made.

        Args:
            name: of the result.
            kind: one of those that the result names.

        Returns:
            As `news`.

        Raises:
            AvsrError: no such result, nothing of that kind can be made of it, there is no room for
                it, or too much else waits.
        """
        result, key = self._shelf.get(name), (name, kind)
        if kind not in result.makes:
            raise AvsrError(f"{kind!r} cannot be made of this recording")
        self._asked_s[key] = time.monotonic()
        with self._lock:
            task = self._running.get(key)
            if result.made(kind) is None and (task is None or task.over):
                self._shelf.room.check(result.size)
                self._running[key] = self._tasks.begin(self._work(result, key))
        return self.news(name, kind)

    def news(self, name: str, kind: str) -> dict[str, Any]:
        """Whether it is done, and the share that is, None before its turn.

        Raises:
            AvsrError: it failed or was cancelled, or nobody began it.
        """
        result, key = self._shelf.get(name), (name, kind)
        self._asked_s[key] = time.monotonic()
        with self._lock:
            task = self._running.get(key)
            over = task is None or task.wait(0)  # asked once: it may end at any moment
            if over:
                self._running.pop(key, None)
        if task is not None and over and (error := task.error) is not None:
            if isinstance(error, AvsrError):
                raise AvsrError(one_line(result.public(str(error))))
            if is_full(error):
                raise NoRoom(DISK_FULL)
            raise AvsrError(f"unexpected {type(error).__name__}: {one_line(str(error))}")
        if result.made(kind) is not None:
            return {"done": True, "share": 1.0}
        if task is None or over:
            raise AvsrError("the words were changed meanwhile: ask for it again")
        return {"done": False, "share": task.share}

    def cancel(self, name: str, kind: str) -> None:
        """Ends it, as soon as it tells how far it is."""
        with self._lock:
            if (task := self._running.get((name, kind))) is not None:
                task.cancel()

    def _work(self, result: Result, key: tuple[str, str]) -> Callable[[Progress], None]:
        kind = key[1]
        target = self._shelf.new_file(Path(result.makes[kind]).suffix)

        def work(tell: Progress) -> None:
            def told(done: float, of: float) -> None:
                if time.monotonic() > self._asked_s[key] + ABANDONED_S:
                    raise Cancelled
                tell(done, of)

            transcript = result.transcript
            try:
                with self._shelf.room.promised(target, result.size):
                    MAKERS[kind](result, target, self._models, told)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            result.keep(kind, target, transcript)

        return work
