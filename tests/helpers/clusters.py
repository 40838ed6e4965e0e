"""Ray where tests need it."""

from __future__ import annotations

import pytest

TOO_BUSY = ("cannot be reached or started", "timed out during startup")  # ours and Ray's words


def skip_where_ray_did_not_start(told: object) -> None:
    """Skips by what the program told; Ray gives itself 30 s to start, which nobody can change."""
    if any(words in str(told) for words in TOO_BUSY):
        pytest.skip("the machine is too busy for Ray, which gives itself 30 s to start")
