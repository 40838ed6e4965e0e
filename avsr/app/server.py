"""The server of the page: on this machine alone unless told otherwise, and nothing goes out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.base.processes.machine import release_memory, steady_memory

if TYPE_CHECKING:
    from fastapi import FastAPI

    from avsr.app.page import Blocks
    from avsr.app.shelf import Shelf
    from avsr.app.streams import Streams

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
        keep_gigabytes: of all that is kept at once.
    """

    megabytes: float = 500.0
    minutes: float = 120.0
    jobs: int = 1
    queue: int = 100
    live: int = 2
    keep_minutes: float = 60.0
    keep_gigabytes: float = 10.0


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
        AvsrError: gradio is not installed, no such model, or limits of which one makes another
            useless.
    """
    from avsr.app.shelf import Shelf

    if 1000 * limits.keep_gigabytes < limits.megabytes:
        raise UsageError(
            f"--keep-gb {limits.keep_gigabytes:g}: less than one upload may have (--max-mb "
            f"{limits.megabytes:g}): allow at least {limits.megabytes / 1000:g}, or a smaller one"
        )
    shelf = Shelf(60 * limits.keep_minutes, round(limits.keep_gigabytes * 1e9))
    # both are read when gradio is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(shelf.uploads)
    try:
        with _nothing_fetched():
            yield _put_together(model, device, limits, host, shelf)
    finally:
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


def _put_together(model: str, device: str, limits: Limits, host: str, shelf: Shelf) -> FastAPI:
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    from avsr.app import page
    from avsr.app.guard import UPLOAD, Guard, invalid
    from avsr.app.making import Makings
    from avsr.app.routes import add_routes
    from avsr.app.streams import Streams
    from avsr.app.uploads import uploads
    from avsr.app.work import Models, Tasks

    models, most_bytes = Models(device, model), round(limits.megabytes * 1e6)
    models.load(model)  # one that is not there is told at once
    streams = Streams(models, shelf, limits.live, most_bytes)
    tasks = Tasks(limits.jobs, limits.queue)
    shop = page.Workshop(models, tasks, shelf, streams, model, limits.minutes, limits.megabytes)
    blocks = page.page(shop)
    blocks.queue(max_size=limits.queue, default_concurrency_limit=limits.jobs, api_open=False)
    blocks.state_session_capacity = PAGES
    # else gradio takes the path of any file of this machine for an upload: it checks after a launch
    blocks.has_launched = True
    plain: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    plain["exception_handlers"] = {RequestValidationError: invalid}
    keep_s = 60 * limits.keep_minutes
    server = FastAPI(**plain, lifespan=lambda _: _tidied(shelf, streams, blocks, keep_s))
    known: dict[str, Any] = {"functions": set(blocks.fns), "parts": set(blocks.blocks)}
    server.add_middleware(Guard, host=host, most_bytes=most_bytes, **known)
    add_routes(server, shelf, streams, Makings(models, tasks, shelf), models)
    server.include_router(uploads(UPLOAD, shelf, most_bytes))  # before gradio's own
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


@asynccontextmanager
async def _tidied(
    shelf: Shelf, streams: Streams, blocks: Blocks, keep_s: float
) -> AsyncIterator[None]:
    """Removes what nobody needs any more, for as long as the server runs."""

    def tidy() -> None:
        streams.tidy(keep_s)
        shelf.tidy()
        release_memory()

    async def go_on() -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            blocks.forget()
            await asyncio.to_thread(tidy)

    tidying = asyncio.create_task(go_on())
    try:
        yield
    finally:
        tidying.cancel()


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

    from avsr.app.connection import Connection

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
            quiet: dict[str, Any] = {"log_level": "warning", "ws": "none", "http": Connection}
            config = uvicorn.Config(built, timeout_graceful_shutdown=3, **quiet)
            told(f"http://{host}:{listening.getsockname()[1]}")
            uvicorn.Server(config).run(sockets=[listening])
