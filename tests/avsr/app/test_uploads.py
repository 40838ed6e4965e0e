"""What is said to the server by others than its page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

HERE = "http://localhost"


def test_a_file_of_the_machine_that_was_not_uploaded_is_not_read(film: Any) -> None:
    pytest.importorskip("gradio", reason="needs gradio: the extra app")
    from starlette.testclient import TestClient

    from avsr.app.server import Limits, app

    named = {"path": str(film.path), "meta": {"_type": "gradio.FileData"}}
    with app("default", "cpu", Limits()) as built, TestClient(built, base_url=HERE) as client:
        about = {"fn_index": 0, "session_hash": "somebody"}
        asked = {"data": [named, "default", "auto", False], **about}
        assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
        told = client.get("/gradio_api/queue/data", params={"session_hash": "somebody"}).text
    assert "was not uploaded by a user" in told
    assert "of recording" not in told


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """The address of another server, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/film.mp4", asked
    server.shutdown()


def test_a_url_in_place_of_an_upload_is_not_fetched(
    elsewhere: tuple[str, list[str]], monkeypatch: Any, capfd: Any
) -> None:
    gradio_files = pytest.importorskip("gradio.processing_utils", reason="needs gradio")
    from starlette.testclient import TestClient

    from avsr.app.server import Limits, app

    url, asked = elsewhere
    # as a host that gradio trusts, and that is not of this machine's network
    monkeypatch.setattr(gradio_files, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
    named = {"path": url, "meta": {"_type": "gradio.FileData"}}
    with app("default", "cpu", Limits()) as built, TestClient(built, base_url=HERE) as client:
        about = {"fn_index": 0, "session_hash": "somebody"}
        join = {"data": [named, "default", "auto", False], **about}
        assert client.post("/gradio_api/queue/join", json=join).status_code == 200
        told = client.get("/gradio_api/queue/data", params={"session_hash": "somebody"}).text
        assert client.get(f"/gradio_api/file={url}").status_code == 403
    assert "a URL is not fetched" in told
    assert asked == []
    assert "Traceback" not in capfd.readouterr().err
