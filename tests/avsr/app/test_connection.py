"""Connections that ask nothing, and too many of them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs gradio: the extra app")

import uvicorn

from avsr.app import connection
from avsr.app.connection import Connection

ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that answers each request later than it waits for one."""
    monkeypatch.setattr(connection, "PATIENCE_S", 1.0)
    monkeypatch.setattr(connection, "MOST", 3)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.2)
        length = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"well"})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(slow, log_level="warning", lifespan="off", http=Connection)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def told(asking: socket.socket, line: bytes) -> bool:
    found = b""
    while not found.endswith(line) and (more := asking.recv(1000)):
        found += more
    return found.endswith(line)


def ended(asking: socket.socket) -> bool:
    try:
        return asking.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_who_asks_nothing_or_half_a_thing_is_not_waited_for(port: int):
    with opened(port) as silent, opened(port) as slow, opened(port) as asking:
        slow.sendall(ASKED[:20])
        asking.sendall(ASKED)
        assert ended(silent)
        assert ended(slow)
        assert told(asking, b"well")
        asking.sendall(ASKED[:20])  # half of the next request
        assert ended(asking)


def test_one_connection_too_many_is_told_so_and_the_others_are_served(port: int):
    with opened(port) as first, opened(port) as second, opened(port) as third:
        for asking in (first, second, third):
            asking.sendall(ASKED)
        with opened(port) as fourth:
            assert told(fourth, b"too many pages are open here: close some, or try again later")
            assert ended(fourth)
        for asking in (first, second, third):
            assert told(asking, b"well")
