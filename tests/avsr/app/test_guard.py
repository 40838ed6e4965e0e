"""Requests that the page does not make."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("gradio", reason="needs gradio: the extra app")

from loops import run
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from avsr.app import guard
from avsr.app.guard import HEADERS, UPLOAD, Guard
from avsr.app.room import DISK_FULL
from avsr.app.server import Limits, app

CALL = {"data": [], "event_data": None, "fn_index": 3, "trigger_id": None, "session_hash": "mine"}
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
JOIN, RUN = "/gradio_api/queue/join", "/gradio_api/run/predict"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with (
        app("default", "cpu", Limits(megabytes=3)) as built,
        TestClient(built, base_url="http://localhost") as client,
    ):
        yield client


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{",
        b"\xff",
        b"1e999",
        b'{"data": NaN}',
        b"[" * 100_000,
        b'{"data": ["\\ud800"]}',
        json.dumps(CALL | {"fn_index": 99}).encode(),
        json.dumps(CALL | {"fn_index": "0"}).encode(),
        json.dumps(CALL | {"trigger_id": 10**6}).encode(),
        json.dumps(CALL | {"session_hash": None}).encode(),
        json.dumps(CALL | {"session_hash": "../.."}).encode(),
        json.dumps(CALL | {"data": {"a": 1}}).encode(),
    ],
)
@pytest.mark.parametrize("path", [JOIN, RUN, "/gradio_api/cancel", "/avsr/live"])
def test_what_is_no_call_of_the_page_is_refused_in_a_line(
    client: TestClient, path: str, body: bytes, capfd: Any
):
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413, 422)
    (line,) = answer.json().values()
    assert line
    assert "\n" not in line
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "forged",
    [
        {"fn_index": 0, "data": []},
        {"fn_index": 0, "data": [FILE, "default", "auto", False]},
        {"fn_index": 0, "data": [[[]], 1, {}, "x"]},
        {"fn_index": 0, "data": [None, "command:touch found", "auto", False]},
        {"fn_index": 1, "data": ["default", "auto", False]},
        {"fn_index": 1, "data": ["default", "auto", False], "event_data": {"recording": []}},
        {"fn_index": 1, "data": ["default", "auto", False], "event_data": {"recording": "../x"}},
        {"fn_index": 2, "data": [{"path": "", "url": "x"}]},
    ],
)
def test_a_call_with_forged_parts_ends_without_a_result(
    client: TestClient, forged: dict[str, Any], capfd: Any
):
    assert client.post(JOIN, json=CALL | forged).status_code == 200
    told = client.get("/gradio_api/queue/data", params={"session_hash": "mine"}).text
    assert "process_completed" in told
    assert "of recording" not in told
    assert "root:" not in told
    assert capfd.readouterr().err == ""


def test_a_session_that_nobody_opened_has_no_news(client: TestClient, capfd: Any):
    told = client.get("/gradio_api/queue/data", params={"session_hash": "guessed"}).text
    assert "unexpected_error" in told
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere.example"},
        {"Host": "localhost.elsewhere.example"},
        {"Host": "127.0.0.1.elsewhere.example"},
        {"Host": "["},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://["},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
def test_the_page_of_another_site_can_do_nothing_here(client: TestClient, headers: dict[str, str]):
    asked = [
        client.post("/gradio_api/upload", files={"files": ("a.mp4", b"abc")}, headers=headers),
        client.post(JOIN, json=CALL, headers=headers),
        client.post("/avsr/live", json={"model": "default"}, headers=headers),
        client.get("/avsr/models", headers=headers),
    ]
    if "Origin" in headers and len(headers) == 1:
        asked.pop()  # browsers that do not tell who asks do not when they only read
    assert {answer.status_code for answer in asked} <= {400, 403}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:7860", "Origin": "http://127.0.0.1:7860"},
        {"Host": "[::1]:7860", "Sec-Fetch-Site": "same-origin"},
        {"Host": "LOCALHOST", "Sec-Fetch-Site": "same-origin", "Origin": "https://our.proxy"},
    ],
)
def test_the_page_itself_is_answered(client: TestClient, headers: dict[str, str]):
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/avsr/models", headers=headers).status_code == 200
    assert client.post(JOIN, json=CALL, headers=headers).status_code == 200


def test_a_link_of_another_site_opens_the_page(client: TestClient):
    answer = client.get("/", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    for name, value in HEADERS.items():
        assert answer.headers[name] == value


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/login",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/openapi.json",
        "/gradio_api/info",
        "/gradio_api/proxy=http://localhost/",
        "/gradio_api/custom_component/x/client/y/z",
        "/gradio_api/stream/mine/1/2/playlist.m3u8",
        "/gradio_api/deep_link?session_hash=mine",
        "/gradio_api/dev/reload",
        "/gradio_api/startup-events",
    ],
)
def test_what_the_page_does_not_ask_for_is_not_served(client: TestClient, path: str):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["call/transcribe", "call/v2/x", "api/predict", "component_server", "process_recording"],
)
def test_nor_is_what_programs_may_post_to(client: TestClient, path: str, capfd: Any):
    assert client.post(f"/gradio_api/{path}", json={"data": []}).status_code == 404
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["..%2f..%2fserver.py", "%2fetc%2fpasswd", "..%5c..%5cserver.py", "%00", "x" * 5000]
)
@pytest.mark.parametrize("base", ["/avsr/static/", "/static/", "/assets/", "/gradio_api/file="])
def test_no_file_is_read_that_is_not_the_page_s(
    client: TestClient, base: str, name: str, capfd: Any
):
    answer = client.get(base + name)
    assert answer.status_code >= 400
    assert "root:" not in answer.text
    assert "import" not in answer.text
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_too_large_is_refused(client: TestClient, capfd: Any):
    long = b'{"data": ["' + b"x" * 2_000_000 + b'"]}'
    answer = client.post(JOIN, content=long, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    many = [("files", (f"{number}.mp4", b"x" * 2_500_000)) for number in range(4)]
    assert client.post("/gradio_api/upload", files=many).status_code == 413
    assert capfd.readouterr().err == ""


def test_what_says_that_it_is_too_large_is_not_begun(client: TestClient):
    def body() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    for size in ("4100000", "9" * 18):
        answer = client.post(UPLOAD, content=body(), headers={"Content-Length": size})
        assert answer.status_code == 413
        assert answer.json() == {"error": "larger than 4 MB"}


@pytest.mark.parametrize("limit", ["SILENT_S", "LATE_S"])
def test_a_body_that_comes_too_slowly_is_not_waited_for(
    limit: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guard, limit, 0.05)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02 if limit == "LATE_S" else 10)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    start, body = _answers(inner, UPLOAD, receive)
    assert start["status"] == 408
    assert "too slowly" in json.loads(body["body"])["error"]


def test_who_has_said_all_may_wait_for_the_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "SILENT_S", 0.01)
    came = [{"type": "http.request", "body": b"a", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if came:
            return came.pop()
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    assert _answers(inner, UPLOAD, receive) == []


def test_a_full_disk_is_told_as_such(capfd: Any):
    start, body = answered(OSError(errno.ENOSPC, "No space left on device"), begun=False)
    assert start["status"] == 507
    assert json.loads(body["body"]) == {"error": DISK_FULL}
    assert capfd.readouterr().err == ""


def answered(error: Exception | None, begun: bool) -> list[dict[str, Any]]:
    """What the guard sends of an application that begins to answer, or does not, and fails."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if error is not None:
            raise error

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    return _answers(inner, "/", receive)


def _answers(inner: Any, path: str, receive: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    host = [(b"host", b"localhost")]
    method = "GET" if path == "/" else "POST"
    scope = {"type": "http", "method": method, "path": path, "headers": host}
    run(Guard(inner, "127.0.0.1", [], [], 1), scope, receive, send)
    return sent


def test_a_fault_of_ours_is_one_line_here_and_there(capfd: Any):
    start, body = answered(ValueError("two\nlines"), begun=False)
    assert start["status"] == 500
    assert json.loads(body["body"]) == {"error": "unexpected ValueError: two lines"}
    assert capfd.readouterr().err == "avsr: GET /: unexpected ValueError: two lines\n"


def test_an_answer_that_has_begun_is_ended(capfd: Any):
    wrong = RuntimeError("response already started")
    wrong.__cause__ = HTTPException(404)
    sent = answered(wrong, begun=True)
    assert not sent[-1].get("more_body")
    assert capfd.readouterr().err == ""


def test_who_leaves_in_the_middle_of_an_upload_is_no_fault(capfd: Any):
    assert answered(ClientDisconnect(), begun=False) == []
    assert capfd.readouterr().err == ""
