"""One server and one Chromium with a made-up camera and microphone for all tests of the page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avsr.preprocessing.synthetic.corpus import make_clip

LOOP_S = 4.0  # of the camera and the microphone, which say the same again and again


@dataclass(frozen=True)
class Film:
    """A talking head, and what it says."""

    path: Path
    text: str


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    path = tmp_path_factory.mktemp("film") / "my film.mp4"
    return Film(path, make_clip(path, seed=0))


@pytest.fixture(scope="session")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server puts what it is given."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def server(chromium: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """`avsr app`, with small limits; its address is the first line it prints."""
    pytest.importorskip("gradio", reason="needs gradio: the extra app")
    command = [sys.executable, "-m", "avsr", "app", "--port", "0"]
    limits = ["--max-mb", "20", "--max-minutes", "5"]
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *limits], stdout=subprocess.PIPE, text=True, env=environment
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(120)


@pytest.fixture(scope="session")
def address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline().strip()
    assert line.startswith("http://127.0.0.1:")
    return line


@pytest.fixture(scope="session")
def browser(
    playwright: Any, chromium: str, film: Film, ffmpeg: str, tmp_path_factory: Any
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("devices")
    camera, microphone = folder / "camera.y4m", folder / "microphone.wav"
    read, pad = [ffmpeg, "-v", "error", "-i", str(film.path)], f"tpad=stop_duration={LOOP_S}"
    picture = [*read, "-an", "-vf", f"{pad}:stop_mode=clone", "-pix_fmt", "yuv420p"]
    sound = [*read, "-vn", "-af", "apad", "-ar", "48000"]
    for made, path in ((picture, camera), (sound, microphone)):
        subprocess.run([*made, "-t", str(LOOP_S), str(path)], check=True)
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    arguments += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
    arguments.append(f"--use-file-for-fake-audio-capture={microphone}")
    browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened anew; afterwards: nobody else was asked for anything, and no script
    failed."""
    context = browser.new_context(permissions=["camera", "microphone"], accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(120_000)  # a machine that does other work too is slow
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(address)
    page.get_by_role("button", name="Transcribe", exact=True).wait_for()
    yield page
    context.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not elsewhere
    assert not failed
