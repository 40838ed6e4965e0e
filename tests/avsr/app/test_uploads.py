"""What is said to the server by others than its page."""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from loops import run

from avsr.app import room
from avsr.app.shelf import LEFT_S
from avsr.base.errors import AvsrError

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


# ---- what is sent


UPLOAD = "/gradio_api/upload"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all that the server keeps lies."""
    folder = tmp_path_factory.mktemp("kept")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Any]:
    """A server that keeps 4 MB, of which an upload may have 2."""
    pytest.importorskip("gradio", reason="needs gradio: the extra app")
    from starlette.testclient import TestClient

    from avsr.app.server import Limits, app

    limits = Limits(megabytes=2, keep_gigabytes=0.004)
    with app("default", "cpu", limits) as built, TestClient(built, base_url=HERE) as client:
        yield client


@pytest.fixture
def emptied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left by another test, nor counted of it."""
    monkeypatch.setattr(room, "COUNTED_S", 0.0)
    yield
    for path in _stored(folder):
        path.unlink()


@pytest.fixture
def client(serving: Any, emptied: None) -> Any:
    return serving


def _stored(folder: Path) -> list[Path]:
    """The files that hold something."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def _sent(client: Any, size: int = 1_500_000) -> Any:
    return client.post(UPLOAD, files={"files": ("a.mp4", bytes(size))})


def test_the_same_file_of_two_people_lies_in_two_places(client: Any, folder: Path):
    paths = [_sent(client).json() for _ in range(2)]
    assert sorted(paths) == sorted([str(path)] for path in _stored(folder))


def test_what_there_is_no_room_for_is_refused_in_a_line_before_it_is_stored(
    client: Any, folder: Path, capfd: Any
):
    assert client.get("/avsr/room", params={"size": 1_500_000}).status_code == 200
    assert [_sent(client).status_code for _ in range(3)] == [200, 200, 507]
    line = client.get("/avsr/room", params={"size": 1_500_000}).json()["error"]
    assert line.startswith("no room for 2 MB: the app keeps no more than 0.004 GB at once")
    assert "\n" not in line
    assert len(_stored(folder)) == 2
    assert capfd.readouterr().err == ""


def test_a_disk_that_fills_up_is_one_line_and_nothing_stays(
    client: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    from gradio.route_utils import GradioUploadFile

    async def full(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    uploads = next(folder.glob("avsr-app-*/uploads"))
    before = len(list(uploads.iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr(GradioUploadFile, "write", full)
        answer = _sent(client)
    assert answer.status_code == 507
    assert answer.text.startswith("the disk of this machine is full")

    assert len(list(uploads.iterdir())) == before
    assert _sent(client).status_code == 200
    assert capfd.readouterr().err == ""


def test_of_an_upload_that_breaks_off_nothing_stays(client: Any, folder: Path, capfd: Any):
    begin = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    parts = [begin + bytes(1_000_000)]
    seen: list[int] = []
    answered: list[Any] = []

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": True}
        seen.append(len(_stored(folder)))
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answered.append(message)

    said = {"host": "localhost", "content-type": "multipart/form-data; boundary=x"}
    headers = [(name.encode(), value.encode()) for name, value in said.items()]
    scope = {"type": "http", "method": "POST", "path": UPLOAD, "headers": headers}
    scope |= {"query_string": b"", "http_version": "1.1", "root_path": ""}
    run(client.app, scope, receive, send)
    assert seen == [1]
    assert answered == []
    assert not _stored(folder)
    assert capfd.readouterr().err == ""


def test_a_page_that_was_closed_leaves_its_upload_for_a_while_only(client: Any):
    calls = {
        event: dependency["id"]
        for dependency in client.get("/config").json()["dependencies"]
        for _, event in dependency["targets"]
    }
    (path,) = _sent(client).json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    chosen = {"data": [file], "fn_index": calls["upload"], "session_hash": "mine"}
    assert client.post("/gradio_api/run/predict", json=chosen).status_code == 200
    before_s = Path(path).stat().st_mtime
    closed = {"data": [], "fn_index": calls["unload"], "session_hash": "mine"}
    assert client.post("/gradio_api/queue/join", json=closed).status_code == 200
    assert client.get("/gradio_api/queue/data", params={"session_hash": "mine"}).is_success
    assert before_s - Path(path).stat().st_mtime == pytest.approx(3600 - LEFT_S, abs=10)


def test_limits_of_which_one_makes_the_other_useless_are_told():
    from avsr.app.server import Limits, app

    with (
        pytest.raises(AvsrError, match=r"--keep-gb 0.1: less than one upload .*at least 0.5"),
        app("default", "cpu", Limits(megabytes=500, keep_gigabytes=0.1)),
    ):
        pass
