"""Loops of asyncio in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio.from_thread import start_blocking_portal


def run(work: Callable[..., Awaitable[None]], *given: Any) -> None:
    """Runs it in a thread of its own: in that of the tests a browser's loop may run already."""
    with start_blocking_portal() as portal:
        portal.call(work, *given)
