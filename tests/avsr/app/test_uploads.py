"""What is said to the server by others than its page."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_file_of_the_machine_that_was_not_uploaded_is_not_read(film: Any) -> None:
    pytest.importorskip("gradio", reason="needs gradio: the extra app")
    from starlette.testclient import TestClient

    from avsr.app.server import Limits, app

    named = {"path": str(film.path), "meta": {"_type": "gradio.FileData"}}
    with app("default", "cpu", Limits()) as built, TestClient(built) as client:
        about = {"fn_index": 0, "session_hash": "somebody", "trigger_id": 1}
        asked = {"data": [named, "default", "auto", False], **about}
        assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
        told = client.get("/gradio_api/queue/data", params={"session_hash": "somebody"}).text
    assert "was not uploaded by a user" in told
    assert "of recording" not in told
