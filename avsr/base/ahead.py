"""An iterator that runs ahead of its consumer in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
POLL_S = 0.1  # how often a consumer that waits is called back


class Ahead(Generic[Item]):
    """The items of an iterator, which is advanced in a background thread from the moment this is
    made.

    Args:
        items: advanced, and closed, in the background; what it raises is raised here, in its turn.
        most: items that may be held ready; a thread that is further ahead waits.
        waiting: called now and then in the consumer's thread while the next item is not there.
    """

    def __init__(
        self, items: Generator[Item], most: int, waiting: Callable[[], None] | None = None
    ) -> None:
        self._items, self._waiting = items, waiting
        self._ready: queue.Queue[tuple[str, object]] = queue.Queue(most)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="avsr-ahead")
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._stop.is_set():
            try:
                kind, value = self._ready.get(timeout=POLL_S)
            except queue.Empty:
                if self._waiting is not None:
                    self._waiting()
                continue
            if kind == "item":
                return value  # type: ignore[return-value]
            self.close()
            if kind == "error":
                raise value  # type: ignore[misc]
        raise StopIteration

    def is_ready(self) -> bool:
        """Whether the next one is there already."""
        return not self._ready.empty()

    @property
    def stopped(self) -> bool:
        """Whether nobody wants a further item; for whoever takes long to make one."""
        return self._stop.is_set()

    def close(self) -> None:
        """Ends the thread, after the item in the making."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                self._put("item", item)
                if self._stop.is_set():
                    break
            self._put("end")
        except BaseException as error:  # raised again where it is waited for
            self._put("error", error)
        finally:
            self._items.close()

    def _put(self, kind: str, value: object = None) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put((kind, value), timeout=POLL_S)
            except queue.Full:
                continue
