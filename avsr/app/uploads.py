"""What browsers send: each upload in a folder of its own, of which nothing stays if it breaks off.

In place of gradio's own route, which keeps what it has of an upload that breaks off or fills the
disk, and puts the same file of two people in one place.
"""

from __future__ import annotations

import asyncio
import shutil

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.formparsers import MultiPartException

from avsr.app.room import DISK_FULL, NoRoom, is_full
from avsr.app.shelf import Shelf
from avsr.base.console import one_line
from avsr.base.errors import AvsrError

TOLD_S = 60.0  # after an upload, that the page may ask how far it is


def uploads(path: str, shelf: Shelf, most_bytes: int) -> APIRouter:
    """The route to which gradio's page sends files.

    Args:
        path: of the route.
        shelf: keeps the files.
        most_bytes: of a file.
    """
    from gradio.routes import file_upload_statuses

    router = APIRouter()

    @router.post(path)
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        size = _told_size(request, most_bytes)
        try:
            paths = await _taken(request, shelf, size, most_bytes, upload_id)
        except AvsrError as error:  # gradio's page shows the text as it is
            status = 507 if isinstance(error, NoRoom) else 400
            return PlainTextResponse(str(error), status)
        finally:
            if upload_id:
                later = asyncio.get_running_loop().call_later
                later(TOLD_S, file_upload_statuses.stop_tracking, upload_id)
        return JSONResponse(paths)

    return router


async def _taken(
    request: Request, shelf: Shelf, size: int, most_bytes: int, upload_id: str | None
) -> list[str]:
    """Stores what is sent; returns the paths.

    Raises:
        AvsrError: there is no room for it, or it is no upload.
    """
    from gradio.route_utils import upload_fn
    from gradio.routes import file_upload_statuses

    progress = file_upload_statuses if upload_id else None
    folder = shelf.new_upload()
    with shelf.room.promised(folder, size):
        try:
            paths, _, _ = await upload_fn(
                request, str(folder), most_bytes, upload_id, upload_progress=progress
            )
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if is_full(error):
                raise NoRoom(DISK_FULL) from None
            if isinstance(error, MultiPartException):
                raise AvsrError(one_line(error.message)) from None
            raise
    return [str(path) for path in paths]


def _told_size(request: Request, most_bytes: int) -> int:
    """The bytes that will come, as the browser says; the most there may be where it does not."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() else most_bytes
