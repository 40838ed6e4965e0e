"""The server of the page: on this machine alone unless told otherwise, and nothing goes out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.base.processes.machine import steady_memory

if TYPE_CHECKING:
    from fastapi import FastAPI

TIDY_S = 30.0  # how often what nobody needs is removed
PAGES = 200  # of which gradio remembers what it shows, 59 kB each; ours tell it all that it needs


@dataclass(frozen=True)
class Limits:
    """What the server allows.

    Attributes:
        megabytes: of an upload or a recording.
        minutes: that a recording may last.
        jobs: that run at a time.
        queue: jobs that may wait.
        live: live captions at a time.
        keep_minutes: that a result stays after somebody last looked at it.
    """

    megabytes: float = 500.0
    minutes: float = 120.0
    jobs: int = 1
    queue: int = 100
    live: int = 2
    keep_minutes: float = 60.0


@contextmanager
def app(model: str, device: str, limits: Limits, host: str = "127.0.0.1") -> Iterator[FastAPI]:
    """The page as an ASGI application; what it kept is removed at the end.

    Args:
        model: chosen when the page is opened.
        device: as in `avsr.load_model`.
        limits: what is allowed.
        host: the address that it is served at; one that only this machine reaches refuses requests
            that name another host (DNS rebinding).

    Raises:
        AvsrError: gradio is not installed, or no such model.
    """
    from avsr.app.shelf import Shelf

    shelf = Shelf(60 * limits.keep_minutes)
    # both are read when gradio is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(shelf.folder / "uploads")
    stop = threading.Event()
    try:
        with _nothing_fetched():
            yield _put_together(model, device, limits, host, shelf, stop)
    finally:
        stop.set()
        shelf.close()


@contextmanager
def _nothing_fetched() -> Iterator[None]:
    """Whoever asks gradio for a URL, as an upload or as a file, gets an error and no connection."""
    try:
        import gradio as gr
        import safehttpx  # all that gradio fetches for a request goes through it
    except ModuleNotFoundError as error:
        raise AvsrError(
            f"{error.name} is not installed: {install('gradio')} brings what the page needs"
        ) from error

    async def refuse(*_: Any, **__: Any) -> Any:
        raise gr.Error("a URL is not fetched: upload the file itself", print_exception=False)

    before = safehttpx.get, safehttpx.async_validate_url
    safehttpx.get = safehttpx.async_validate_url = refuse
    try:
        yield
    finally:
        safehttpx.get, safehttpx.async_validate_url = before


def _put_together(
    model: str, device: str, limits: Limits, host: str, shelf: Any, stop: threading.Event
) -> FastAPI:
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    from avsr.app import page
    from avsr.app.guard import Guard, invalid
    from avsr.app.making import Makings
    from avsr.app.routes import add_routes
    from avsr.app.streams import Streams
    from avsr.app.work import Models, Tasks

    models, most_bytes = Models(device, model), round(limits.megabytes * 1e6)
    models.load(model)  # one that is not there is told at once
    streams = Streams(models, shelf, limits.live, most_bytes)
    tasks = Tasks(limits.jobs)
    shop = page.Workshop(models, tasks, shelf, streams, model, limits.minutes, limits.megabytes)
    blocks = page.page(shop)
    blocks.queue(max_size=limits.queue, default_concurrency_limit=limits.jobs, api_open=False)
    blocks.state_session_capacity = PAGES
    # else gradio takes the path of any file of this machine for an upload: it checks after a launch
    blocks.has_launched = True
    plain: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    plain["exception_handlers"] = {RequestValidationError: invalid}
    server = FastAPI(**plain)
    known: dict[str, Any] = {"functions": set(blocks.fns), "parts": set(blocks.blocks)}
    server.add_middleware(Guard, host=host, most_bytes=most_bytes, **known)
    add_routes(server, shelf, streams, Makings(models, tasks, shelf), models)
    threading.Thread(
        target=_tidy, args=(shelf, streams, 60 * limits.keep_minutes, stop), daemon=True
    ).start()
    return gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        max_file_size=most_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        show_error=True,
        head=page.HEAD,
        app_kwargs=plain,
    )


def _tidy(shelf: Any, streams: Any, keep_s: float, stop: threading.Event) -> None:
    while not stop.wait(TIDY_S):
        shelf.tidy()
        streams.tidy(keep_s)


def serve(model: str, device: str, limits: Limits, host: str, port: int, told: Any = print) -> None:
    """Serves the page until it is interrupted.

    Args:
        model, device, limits, host: as in `app`.
        port: 0 for any that is free.
        told: is told the address once the page can be opened.

    Raises:
        AvsrError: as `app`, or the port is taken.
    """
    import socket

    import uvicorn

    steady_memory()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise AvsrError(
                f"port {port} of {host}: {error.strerror}; name another with --port, 0 for any"
            ) from error
        with app(model, device, limits, host) as built:
            quiet: dict[str, Any] = {"log_level": "warning", "ws": "none"}
            config = uvicorn.Config(built, timeout_graceful_shutdown=3, **quiet)
            told(f"http://{host}:{listening.getsockname()[1]}")
            uvicorn.Server(config).run(sockets=[listening])
