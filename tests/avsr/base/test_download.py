"""Downloads over a connection that drops, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avsr import cli
from avsr.base.download import TRIES, download, read_url
from avsr.base.errors import AvsrError, UsageError
from avsr.preprocessing.corpora import grid


class Archive:
    """A server whose connections end after `most` bytes; from the `patience`-th request on it
    serves nothing more.

    Attributes:
        files: path -> content.
        asked: path and range of each request.
        ranges: whether it goes on in the middle of a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.most, self.patience, self.ranges = 1 << 30, 1 << 30, True
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append((handler.path, wanted))
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        if len(self.asked) > self.patience:
            handler.close_connection = True
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        rest = content[first:]
        handler.send_response(206 if first else 200)
        handler.send_header("Content-Length", str(len(rest)))
        if first:
            place = f"bytes {first}-{len(content) - 1}/{len(content)}"
            handler.send_header("Content-Range", place)
        handler.end_headers()
        handler.wfile.write(rest[: self.most])
        handler.close_connection = True

    def add(self, name: str, content: bytes) -> tuple[str, int, str]:
        """URL, size and checksum of a new file."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}", len(content), hashlib.md5(content).hexdigest()


@pytest.fixture
def archive() -> Iterator[Archive]:
    found = Archive()
    yield found
    found.server.shutdown()
    found.server.server_close()


CONTENT = bytes(range(256)) * 400


def test_a_download_goes_on_where_connections_dropped(tmp_path: Path, archive: Archive) -> None:
    archive.most = 30_000
    seen: list[int] = []
    download(*_swapped(archive.add("a", CONTENT), tmp_path / "a"), told=seen.append, pause_s=0)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [wanted for _, wanted in archive.asked] == [
        None, "bytes=30000-", "bytes=60000-", "bytes=90000-",
    ]  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert not (tmp_path / "a.part").exists()


def _swapped(file: tuple[str, int, str], target: Path) -> tuple[str, Path, int, str]:
    url, size, md5 = file
    return url, target, size, md5


def test_what_came_is_kept_for_the_next_run(tmp_path: Path, archive: Archive) -> None:
    archive.most, archive.patience = 30_000, 2
    file = _swapped(archive.add("a", CONTENT), tmp_path / "a")
    with pytest.raises(AvsrError, match=r"60000 of 102400 bytes came, .*kept: run the same"):
        download(*file, pause_s=0)
    assert len(archive.asked) == 2 + TRIES
    archive.most, archive.patience = 1 << 30, 1 << 30
    archive.asked.clear()
    download(*file, pause_s=0)
    assert archive.asked == [("/a", "bytes=60000-")]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_full_disk_is_no_lost_connection(tmp_path: Path, archive: Archive) -> None:
    """It is told at once, and what came is gone on with."""
    resource = pytest.importorskip("resource")
    file = _swapped(archive.add("a", CONTENT), tmp_path / "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            download(*file, pause_s=60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a.part").stat().st_size == 50_000
    archive.asked.clear()
    download(*file)
    assert archive.asked == [("/a", "bytes=50000-")]


def test_a_server_that_only_starts_anew_is_read_from_the_start(
    tmp_path: Path, archive: Archive
) -> None:
    archive.ranges = False
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    download(*_swapped(archive.add("a", CONTENT), tmp_path / "a"), pause_s=0)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_what_is_damaged_is_removed_and_said(tmp_path: Path, archive: Archive) -> None:
    url, size, md5 = archive.add("a", CONTENT)
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    with pytest.raises(AvsrError, match=r"is damaged .MD5 .* and was removed; run the same"):
        download(url, tmp_path / "a", size, md5, pause_s=0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AvsrError, match=r"cannot be fetched .Not Found"):
        download(f"{archive.url}/b", tmp_path / "b", size, md5, pause_s=0)


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.fixture
def zenodo(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """GRID's record, of two speakers."""
    zips = {
        "s1.zip": {"s1/bbaf2n.mpg": b"one" * 999, "__MACOSX/s1/._bbaf2n.mpg": b"x"},
        "s2.zip": {"s2/lrarzn.mpg": b"two" * 999, "../escaped.mpg": b"x"},
        "alignments.zip": {"alignments/s1/bbaf2n.align": b"0 1000 bin\n"},
    }
    rows = []
    for name, files in zips.items():
        url, size, md5 = archive.add(name, packed(files))
        row = {"key": name, "size": size, "checksum": f"md5:{md5}", "links": {"self": url}}
        rows.append(row)
    record, _, _ = archive.add("record", json.dumps({"files": rows}).encode())
    monkeypatch.setenv("AVSR_GRID_RECORD", record)
    monkeypatch.setattr("avsr.base.download.time.sleep", lambda _: None)
    return archive


def test_grid_is_fetched_from_its_record_once(
    tmp_path: Path, zenodo: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    src = tmp_path / "grid"
    zenodo.most = 500
    assert grid.fetch(src, ["s1", "s2"]) == ["s1", "s2", "alignments"]
    files = sorted(path.relative_to(src).as_posix() for path in src.rglob("*") if path.is_file())
    assert files == ["alignments/s1/bbaf2n.align", "s1/bbaf2n.mpg", "s2/lrarzn.mpg"]
    assert (src / "s1/bbaf2n.mpg").read_bytes() == b"one" * 999
    assert not list(tmp_path.rglob("escaped.mpg"))
    zenodo.asked.clear()
    assert grid.fetch(src, ["s2", "s1"]) == []
    assert zenodo.asked == []
    assert [item.id for item in grid.list_items(src)] == ["s1_bbaf2n", "s2_lrarzn"]


def test_what_came_of_others_stays_and_is_no_trouble(tmp_path: Path, zenodo: Archive) -> None:
    begun = tmp_path / ".download" / "s2.zip.part"
    begun.parent.mkdir()
    begun.write_bytes(zenodo.files["/s2.zip"][:100])
    assert grid.fetch(tmp_path, ["s1"]) == ["s1", "alignments"]
    assert begun.is_file()
    assert grid.fetch(tmp_path, ["s2"]) == ["s2"]
    assert not begun.parent.exists()


def test_what_cannot_be_fetched_is_one_line(
    tmp_path: Path, zenodo: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"no videos of 's21'; name some of s1 to s34"):
        grid.fetch(tmp_path, ["s1", "s21"])
    with pytest.raises(AvsrError, match=r"no s3\.zip in it; it has alignments\.zip, s1\.zip"):
        grid.fetch(tmp_path, ["s3"])
    zenodo.files["/s1.zip"] = b"x" * len(zenodo.files["/s1.zip"])
    with pytest.raises(AvsrError, match="is damaged"):
        grid.fetch(tmp_path, ["s1"])
    assert not (tmp_path / "s1").exists()
    assert cli.main(["prepare", "lrs3", "a", "b", "--download", "all"]) == 2
    assert "lrs3 cannot be fetched" in capsys.readouterr().err


def test_a_record_is_asked_for_again_where_the_connection_drops(
    tmp_path: Path, zenodo: Archive
) -> None:
    record, zenodo.most = zenodo.files["/record"], 10

    def patient(handler: BaseHTTPRequestHandler, answer=zenodo.answer) -> None:
        zenodo.most = 10 if len(zenodo.asked) < 2 else 1 << 30
        answer(handler)

    zenodo.answer = patient  # type: ignore[method-assign]
    assert read_url(f"{zenodo.url}/record") == record
    assert len(zenodo.asked) == 3


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsr.base.download.time.sleep", lambda _: None)
    monkeypatch.setenv("AVSR_GRID_RECORD", "http://127.0.0.1:9/record")
    with pytest.raises(AvsrError, match=r"cannot be fetched .*is there a network"):
        grid.fetch(tmp_path, ["s1"])
