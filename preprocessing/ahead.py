"""An iterator that runs ahead of its consumer in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

Item = TypeVar("Item")
POLL_S = 0.1  # how often a consumer that waits is called back


def ahead(items: Generator[Item], most: int, waiting: Callable[[], None] | None = None) -> Generator[Item]:
    """Yields the items of an iterator that is advanced in a background thread.

    Args:
        items: advanced, and closed, in the background; what it raises is raised here, in its turn.
        most: items that may be held ready; a thread that is further ahead waits.
        waiting: called now and then in the consumer's thread while the next item is not there.

    Yields:
        The items in order. When the consumer stops early the thread ends after the item in the making.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(most)
    stop = threading.Event()

    def put(kind: str, value: object = None) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, value), timeout=POLL_S)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    break
            put("end")
        except BaseException as error:  # raised again where it is waited for
            put("error", error)
        finally:
            items.close()

    thread = threading.Thread(target=work, daemon=True, name="avsr-ahead")
    thread.start()
    try:
        while True:
            try:
                kind, value = ready.get(timeout=POLL_S)
            except queue.Empty:
                if waiting is not None:
                    waiting()
                continue
            if kind == "end":
                return
            if kind == "error":
                raise value  # type: ignore[misc]
            yield value  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
