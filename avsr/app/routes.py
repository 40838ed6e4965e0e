"""What the page asks for beside gradio: results, corrections, files, live captions."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from avsr.app.making import Makings
from avsr.app.room import NoRoom
from avsr.app.shelf import Shelf
from avsr.app.streams import Streams
from avsr.app.work import Models
from avsr.base.errors import AvsrError

STATIC = Path(__file__).parent / "static"
PREFIX = "/avsr"  # gradio has all other paths
COPIES = 4  # made or waited for at a time
TYPES = {"json": "application/json", "zip": "application/zip", "vtt": "text/vtt"}


def add_routes(
    app: FastAPI, shelf: Shelf, streams: Streams, makings: Makings, models: Models
) -> None:
    """Adds the routes to an app; an AvsrError becomes a line that the page shows."""
    app.mount(f"{PREFIX}/static", StaticFiles(directory=STATIC), name="static")

    @app.exception_handler(AvsrError)
    def told(_: Request, error: AvsrError) -> JSONResponse:
        status = 507 if isinstance(error, NoRoom) else 400
        return JSONResponse({"error": str(error)}, status_code=status)

    for router in (_results(shelf), _makings(shelf, makings), _live(streams, models)):
        app.include_router(router, prefix=PREFIX)


def _results(shelf: Shelf) -> APIRouter:
    router = APIRouter()

    @router.get("/room")
    def room(size: int) -> dict[str, Any]:
        shelf.room.check(size)
        return {}

    @router.get("/results/{name}")
    def result(name: str) -> dict[str, Any]:
        return shelf.get(name).fields()

    @router.get("/results/{name}/seen")
    def seen(name: str) -> dict[str, Any]:
        shelf.get(name)
        return {}

    @router.get("/results/{name}/media")
    def media(name: str) -> FileResponse:
        path = shelf.get(name).media
        kind = mimetypes.guess_type(path.name)[0] or ""
        # whatever its name says: no page, which could do what this page does
        plays = kind.startswith(("audio/", "video/"))
        return FileResponse(path, media_type=kind if plays else "application/octet-stream")

    copying = CapacityLimiter(COPIES)  # not all threads of the server

    @router.get("/results/{name}/copy")
    async def copy(name: str) -> FileResponse:
        result, target = shelf.get(name), shelf.new_file(".copy")
        path, kind = await to_thread.run_sync(result.copy, target, shelf.room, limiter=copying)
        return FileResponse(path, media_type=kind)

    @router.get("/results/{name}/files/{file}")
    def file(name: str, file: str) -> Response:
        suffix = Path(file).suffix[1:]
        body = shelf.get(name).rendered(suffix)
        kind = TYPES.get(suffix, "text/plain")
        shown = f"attachment; filename*=UTF-8''{quote(file)}"
        return Response(body, media_type=kind, headers={"Content-Disposition": shown})

    @router.post("/results/{name}/words")
    def correct(
        name: str,
        segment: int = Body(embed=True),
        word: int = Body(embed=True),
        text: str = Body(embed=True),
    ) -> dict[str, Any]:
        found = shelf.get(name)
        found.correct(segment, word, text)
        return found.fields()

    @router.post("/results/{name}/speakers")
    def name_speaker(
        name: str, old: str = Body(embed=True), new: str = Body(embed=True)
    ) -> dict[str, Any]:
        found = shelf.get(name)
        found.name_speaker(old, new)
        return found.fields()

    @router.get("/pictures/{name}")
    def picture(name: str) -> Response:
        return Response(shelf.picture(name), media_type="image/png")

    return router


def _makings(shelf: Shelf, makings: Makings) -> APIRouter:
    router = APIRouter()

    @router.post("/results/{name}/make/{kind}")
    def begin(name: str, kind: str) -> dict[str, Any]:
        return makings.begin(name, kind)

    @router.get("/results/{name}/make/{kind}")
    def news(name: str, kind: str) -> dict[str, Any]:
        return makings.news(name, kind)

    @router.delete("/results/{name}/make/{kind}")
    def cancel(name: str, kind: str) -> dict[str, Any]:
        makings.cancel(name, kind)
        return {}

    @router.get("/results/{name}/made/{kind}")
    def made(name: str, kind: str) -> FileResponse:
        result = shelf.get(name)
        path = result.made(kind)
        if path is None:
            raise AvsrError("this file is not there: make it first")
        return FileResponse(path, filename=result.makes[kind])

    return router


def _live(streams: Streams, models: Models) -> APIRouter:
    router = APIRouter()

    @router.get("/models")
    def choices() -> dict[str, list[tuple[str, str]]]:
        return {"models": models.choices}

    @router.post("/live")
    def begin(
        model: str = Body(embed=True), modality: str = Body(default="auto", embed=True)
    ) -> dict[str, str]:
        return {"name": streams.begin(model, modality)}

    @router.get("/live/{name}/seen")
    def seen(name: str) -> dict[str, Any]:
        streams.seen(name)
        return {}

    @router.post("/live/{name}")
    async def write(name: str, request: Request) -> dict[str, Any]:
        stream = streams.get(name)
        stream.write(await request.body())
        return stream.news()

    @router.post("/live/{name}/end")
    def end(name: str) -> dict[str, Any]:
        news, recording = streams.end(name)
        return {**news, "recording": recording}

    return router
