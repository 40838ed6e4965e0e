"""A time limit for one clip, in the process that reads it."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from avsr.base.errors import MediaError

# Parts of the limit after which a process is ended over a clip: by a thread of Python, and where a
# library holds that up too, by a timer that needs no Python.
THREAD_AFTER, TIMER_AFTER = 1.5, 2.0


@contextmanager
def time_limit(seconds: float, give_up: Callable[[str], None] | None = None) -> Iterator[None]:
    """Ends what takes longer than it may.

    An alarm ends what runs in Python. A library that hangs does not notice it: then `give_up` is
    told why, and the process ends. One that lets no other thread run either ends the process
    without a word. Where there are no alarms (Windows, another thread than the main one), only
    ending the process remains.

    Args:
        seconds: of the clock on the wall.
        give_up: records why; None where the process must not be ended.

    Raises:
        MediaError: the time was over.
    """
    reason = f"took longer than {seconds:g} s"
    can_alarm = hasattr(signal, "SIGALRM") and (
        threading.current_thread() is threading.main_thread()
    )

    def stop(number: int, frame: FrameType | None) -> None:
        raise MediaError(reason)

    with _ending_the_process(seconds, reason, give_up):
        before = signal.signal(signal.SIGALRM, stop) if can_alarm else None
        try:
            if can_alarm:
                signal.setitimer(signal.ITIMER_REAL, seconds)
            yield
        finally:
            if can_alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)


@contextmanager
def _ending_the_process(
    seconds: float, reason: str, give_up: Callable[[str], None] | None
) -> Iterator[None]:
    """Ends the process some time after the limit, unless the body was left before."""
    if give_up is None:
        yield
        return

    def end() -> None:
        give_up(reason)
        os._exit(1)

    watch = threading.Timer(seconds * THREAD_AFTER, end)
    watch.daemon = True
    with open(os.devnull, "w") as nowhere:
        watch.start()
        faulthandler.dump_traceback_later(seconds * TIMER_AFTER, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            watch.cancel()
