"""Where the tests find the shared real data, and what to do when it is not there; nothing that they
draw is another time otherwise."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from avsr.model.network import AVSR

BLANK = "<blank>"
ROOT = Path(__file__).resolve().parent.parent

# the same examples each time, however slow the machine; others with --hypothesis-profile=default
settings.register_profile(
    "avsr", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("avsr")

# others test beside it: no threads that wait for cores, and sums in the same order on busy machines
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips and the face model (AVSR_SHARED, default ../shared); skips where
    absent."""
    path = Path(os.environ.get("AVSR_SHARED", ROOT.parent / "shared"))
    if not (path / "data" / "grid").is_dir():
        pytest.skip("needs the shared real clips: set AVSR_SHARED to their folder")
    return path


@pytest.fixture(autouse=True, scope="session")
def own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was written is remembered in the user's state folder, what was chosen in that of
    configuration: tests have their own, their programs too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test and its fixtures draw without a seed of their own is always the same; torch alone
    begins with another seed in each process."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., AVSR]:
    """Makes the smallest network that does all that a large one does, with weights drawn by a
    seed."""
    import torch

    from avsr.model.config import ModelConfig
    from avsr.model.network import AVSR

    small = {"dim": 16, "heads": 2, "video_width": 4, "audio_width": 4}
    small |= {"stream_layers": 1, "joint_layers": 1}

    def make(tokens: Iterable[str] = (BLANK, " ", "a"), seed: int = 1, **changes: Any) -> AVSR:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return AVSR(ModelConfig(tokens=tuple(tokens), **(small | changes))).eval()

    return make


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """Path of the ffmpeg program; skips where absent, except in CI, where it must be there."""
    path = shutil.which("ffmpeg")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install ffmpeg")
        pytest.skip("needs the ffmpeg program (Debian: apt-get install ffmpeg)")
    return path


@pytest.fixture(scope="session")
def skip_where_ray_did_not_start() -> Callable[[object], None]:
    """Skips by what was told: Ray gives itself 30 s to start, which nobody can change.

    No helper to import: Ray's actors import test modules, and find no helpers.
    """

    def skip(told: object) -> None:
        if "cannot be reached or started" in str(told) or "timed out during startup" in str(told):
            pytest.skip("the machine is too busy for Ray, which gives itself 30 s to start")

    return skip


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serves a folder over HTTP, by whatever handler, and returns its URL."""
    servers = []
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)

    def start(
        folder: Path, handler: type[SimpleHTTPRequestHandler] = SimpleHTTPRequestHandler
    ) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; skips where there is none, except in CI, where it must be there."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install a browser")
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """What drives a browser, once for all tests: it does not start twice in one process."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as started:
        yield started
