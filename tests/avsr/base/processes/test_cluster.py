"""How Ray is started; what its actors do is tested with `prepare`."""

from __future__ import annotations

import signal
from collections import deque
from types import FrameType
from typing import Any

import pytest

from avsr.base.errors import AvsrError
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
