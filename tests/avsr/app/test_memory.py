"""Memory of a server that many use, by the pages that came and went."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

AT_ONCE = 25
GROWTH_MB = 40.0  # that as many more may add; measured: 3, and 102 where nothing is given back


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address."""
    pytest.importorskip("gradio", reason="needs gradio: the extra app")
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux: /proc tells the memory of another process")
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "avsr", "app", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)


def memory_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kilobytes) / 1024


def asked(address: str, body: bytes | None = None, kind: str = "application/json") -> str:
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return str(answer.read().decode())


def transcribed(address: str, film: bytes, page: str) -> None:
    """What a page does when somebody drops a film on it and presses the button."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    kind, sent = "multipart/form-data; boundary=x", head + film + b"\r\n--x--\r\n"
    (path,) = json.loads(asked(f"{address}/gradio_api/upload?upload_id={page}", sent, kind))
    file: dict[str, Any] = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = {"data": [file, "default", "auto", False], "fn_index": 0, "session_hash": page}
    asked(f"{address}/gradio_api/queue/join", json.dumps(call).encode())
    assert "of recording" in asked(f"{address}/gradio_api/queue/data?session_hash={page}")


@pytest.mark.slow  # a minute: 50 films with lips
def test_memory_does_not_grow_with_what_was_transcribed(
    served: tuple[subprocess.Popen[str], str], film: Any
):
    process, address = served
    content, found_mb = film.path.read_bytes(), []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for times in "ab":
            pages = [f"{times}{number}" for number in range(AT_ONCE)]
            list(pool.map(lambda page: transcribed(address, content, page), pages))
            found_mb.append(memory_mb(process))
    print("memory, MB:", *(f"{found:.0f}" for found in found_mb))
    assert found_mb[1] < found_mb[0] + GROWTH_MB
