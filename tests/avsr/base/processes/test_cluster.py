"""How Ray is started; what its actors do is tested with `prepare`."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from avsr.base.errors import AvsrError
from avsr.base.processes import cluster
from avsr.base.processes.cluster import results

ray = pytest.importorskip("ray", reason="needs the extra cluster")


@pytest.mark.parametrize("reason", ["the node timed out\nduring startup", ""])
def test_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def init(**asked: Any) -> None:
        raise Exception(reason)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    first = reason.partition("\n")[0] or "Exception"
    with pytest.raises(AvsrError, match=f"Ray on this machine cannot be .* started: {first}$"):
        list(results(deque([1]), str, 1))


def test_ray_does_not_take_sigterm_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it ends the command without a word, and does so for good."""

    def silent(number: int, frame: FrameType | None) -> None:
        raise SystemExit(number)

    def init(**asked: Any) -> None:
        ray._private.utils.set_sigterm_handler(silent)
        raise ConnectionError("enough")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(AvsrError, match="enough"):
        list(results(deque([1]), str, 1))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("lives", [True, False])
def test_results_are_waited_for_as_long_as_a_machine_is_left(lives: bool) -> None:
    answers = iter([([], ["a"]), (["a"], [])])
    nodes = [{"Alive": False}, {"Alive": lives}]
    some = SimpleNamespace(wait=lambda *_, **__: next(answers), nodes=lambda: nodes)
    if lives:
        assert cluster._first_done(some, ["a"]) == "a"
        return
    with pytest.raises(AvsrError, match=r"Ray has ended, .*: run the same command again$"):
        cluster._first_done(some, ["a"])


def end_ray(job: int) -> None:
    """In an actor: kills what started it, and ends with it."""
    parent = os.getppid()
    assert Path(f"/proc/{parent}/comm").read_text().strip() == "raylet"
    os.kill(parent, signal.SIGKILL)
    time.sleep(600)


@pytest.mark.slow
def test_ray_that_is_killed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, skip_where_ray_did_not_start: Callable[[object], None]
) -> None:
    """It was waited for for ever."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "LOOK_S", 1.0)
    with pytest.raises(AvsrError) as caught:
        list(results(deque([1]), end_ray, 1))
    skip_where_ray_did_not_start(caught.value)
    assert "Ray has ended" in str(caught.value)
