"""Processes that work through jobs, and what their jobs may do to them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from functools import partial
from multiprocessing import active_children

import pytest

from avsr.base.errors import AvsrError, UsageError
from avsr.base.processes.crew import Crew, Limits

# can be pickled, which a function of a test module cannot everywhere
does = partial(eval, "lambda job, tell: eval(job, {'tell': tell})")


def crew(told: list, said: list[str], lost: list[str], **limits: float) -> Crew[str]:
    def on_lost(job: str, process: int) -> None:
        assert process > 0
        lost.append(job)

    return Crew(
        2, 1, does, Limits(**limits), lambda job, what: told.append(what), said.append, on_lost
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is known on Linux")
def test_a_job_takes_nothing_but_itself_along() -> None:
    jobs = {
        "6 * 7": 42,
        "__import__('os').abort()": "SIGABRT",
        "1 / 0": "division by zero",
        "__import__('time').sleep(300)": "took longer than 8 s",
        "(bytearray(2**28), __import__('time').sleep(300))": "took more than 200 MB",
        "print('a line', file=__import__('sys').stderr)": None,
        "tell('half way')": None,
        "7 * 7": 49,
    }
    told: list = []
    said: list[str] = []
    lost: list[str] = []
    found = dict(crew(told, said, lost, seconds=8, memory_mb=200).work(deque(jobs)))
    assert set(found) == set(jobs)
    for job, expected in jobs.items():
        if isinstance(expected, str):
            assert isinstance(found[job], Exception)
            assert expected in str(found[job])
        else:
            assert found[job] == expected
    assert (told, said) == (["half way"], ["a line"])
    assert sorted(lost) == sorted(job for job in jobs if "__import__" in job and "print" not in job)
    assert not active_children()


class Slow:
    """Takes a second to be received, as what must be imported for it does."""

    def __reduce__(self) -> tuple[object, tuple[float]]:
        return time.sleep, (1.0,)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a keyboard")
def test_ctrl_c_while_processes_start_is_not_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    says = partial(eval, "lambda job, tell: job", {"late": Slow()})
    said: list[str] = []
    ignored = Crew(1, 1, says, Limits(), print, said.append, print)
    (child,) = active_children()
    time.sleep(0.5)
    os.kill(child.pid or 0, signal.SIGINT)
    assert list(ignored.work(deque(["x"]))) == [("x", "x")]
    assert (said, capfd.readouterr().err) == ([], "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_who_cannot_get_ready_ends_it_all() -> None:
    prepare = partial(eval, "1 / 0")
    with pytest.raises(ZeroDivisionError):
        list(Crew(1, 1, prepare, Limits(), print, print, print).work(deque(["1"])))
    with pytest.raises(AvsrError, match="do not start"):
        list(Crew(1, 1, os.abort, Limits(), print, print, print).work(deque(["1"])))
    assert not active_children()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is known on Linux")
def test_less_memory_than_is_taken_before_the_first_job_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="allow more"):
        list(crew([], [], [], memory_mb=5).work(deque(["1"])))
