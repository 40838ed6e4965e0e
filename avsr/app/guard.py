"""Who is answered, and what: the page of this server, under its own name, where it asks.

gradio serves more than its page: routes for programs, for other pages, for whoever develops one.
None of them is reached. What goes wrong in a request is told in one line, where the libraries below
print a traceback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from avsr.app.room import DISK_FULL, is_full
from avsr.app.routes import PREFIX
from avsr.base.console import one_line, say

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Browsers themselves then let nothing out, whatever a library would like to fetch.
POLICY = (
    "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
HERE = ("localhost", "127.0.0.1", "::1")
GRADIO = "/gradio_api"
ASKED = {"/", "/config", "/favicon.ico", "/manifest.json", "/theme.css"} | {
    f"{GRADIO}/{name}"
    for name in ("cancel", "queue/data", "queue/join", "run/predict", "upload", "upload_progress")
}
UPLOAD = f"{GRADIO}/upload"
ASKED_BELOW = (
    "/assets/",
    "/static/",
    f"{PREFIX}/",
    f"{GRADIO}/file=",
    f"{GRADIO}/heartbeat/",
)
CALLS = (f"{GRADIO}/queue/join", f"{GRADIO}/run/predict")
LONG = (UPLOAD, f"{PREFIX}/live/")  # bodies that are recordings, whole or in pieces
SHORT_BYTES = 1_000_000  # of all other bodies
MOST_DIGITS = 20  # of the size that a body says it has
SHOWN = 200  # characters of what somebody sent, on standard error
SILENT_S = 60.0  # that a body may pause
LATE_S, LEAST_RATE = 60.0, 1000  # a body may take so long, and a second more for so many bytes


class Call(BaseModel, strict=True):
    """What the page says when one of its buttons is pressed; nothing else is handed on."""

    session_hash: str = Field(pattern=r"^[0-9A-Za-z]{1,64}$")
    fn_index: int
    trigger_id: int | None = None
    data: list[Any] = Field(max_length=100)
    event_data: Any = None


class Guard:
    """An application with a guard before it.

    Args:
        inner: the application.
        host: the address it is served at; one that only this machine reaches is asked by no other
            name (DNS rebinding).
        functions: what the buttons of the page call, by gradio's numbers.
        parts: of the page, by gradio's numbers.
        most_bytes: of a recording.
    """

    def __init__(
        self,
        inner: ASGIApp,
        host: str,
        functions: Collection[int],
        parts: Collection[int],
        most_bytes: int,
    ) -> None:
        self._inner, self._most_bytes = inner, most_bytes
        self._functions, self._parts = {*functions}, {None, *parts}
        self._names = {*HERE, host.lower()} if _is_of_this_machine(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # the page opens no web socket
                await self._inner(scope, receive, send)
            return
        begun = ended = False

        async def with_headers(message: Message) -> None:
            nonlocal begun, ended
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(HEADERS)
            elif message["type"] == "http.response.body":
                ended = not message.get("more_body", False)
            await send(message)

        try:
            self._check(scope)
            limited = _limited(receive, _told_size(scope), self._limit(scope["path"]))
            if scope["method"] == "POST" and not scope["path"].startswith(LONG):
                limited = await self._checked_body(scope, limited)
            await self._inner(scope, limited, with_headers)
        except ClientDisconnect:
            return
        except Exception as error:
            # what was found once the answer had begun is told as the cause of another error
            told = error if isinstance(error, HTTPException) else error.__cause__
            if is_full(error):
                told = HTTPException(507, DISK_FULL)
            if isinstance(told, HTTPException):
                answer = JSONResponse({"error": told.detail}, told.status_code)
            else:
                line = one_line(f"unexpected {type(error).__name__}: {error}")
                say(f"{scope['method']} {scope['path'][:SHOWN]}: {line[:SHOWN]}")
                answer = JSONResponse({"error": line}, 500)
            if not begun:
                await answer(scope, receive, with_headers)
            elif not ended:
                await send({"type": "http.response.body"})

    def _check(self, scope: Scope) -> None:
        """
        Raises:
            HTTPException: another site asks, or somebody for what the page does not need.
        """
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._names is not None and _name(f"//{host}") not in self._names:
            raise HTTPException(400, "this server is asked by the name localhost only")
        if _is_of_another_site(headers, host) and not (scope["method"] == "GET" and path == "/"):
            raise HTTPException(403, "other sites may not use this server: open its own page")
        if path not in ASKED and not path.startswith(ASKED_BELOW):
            raise HTTPException(404, "not found")

    def _limit(self, path: str) -> int:
        return self._most_bytes + SHORT_BYTES if path.startswith(LONG) else SHORT_BYTES

    async def _checked_body(self, scope: Scope, receive: Receive) -> Receive:
        """A body that is JSON; of a call of the page no more than what the page says.

        Raises:
            HTTPException: it is none.
        """
        body = await Request(scope, receive).body()
        try:
            from_json(body or b"null", allow_inf_nan=False)
            call = Call.model_validate_json(body) if scope["path"] in CALLS else None
        except ValidationError as error:
            raise HTTPException(422, _first(error)) from None
        except ValueError as error:
            raise HTTPException(400, f"not JSON: {error}") from None
        if call is not None:
            if call.fn_index not in self._functions or call.trigger_id not in self._parts:
                raise HTTPException(422, "the page has no such part: load it again")
            body = call.model_dump_json().encode()
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
            scope["headers"].append((b"content-length", str(len(body)).encode()))
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again


def invalid(_: Request, error: Exception) -> JSONResponse:
    """The answer to what has not the form that a route takes; not with what was sent, which may be
    nothing that can be sent back."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": _first(error)}, 422)


def _first(error: ValidationError | RequestValidationError) -> str:
    wrong = error.errors()[0]
    return one_line(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}")


def _told_size(scope: Scope) -> int:
    """The bytes of a body, where whoever sends it says so; else 0."""
    said = Headers(scope=scope).get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < MOST_DIGITS else 0


def _limited(receive: Receive, told: int, most_bytes: int) -> Receive:
    """Receives until there is too much, or it comes too slowly; what says that it will be too much
    is not begun.

    Raises:
        HTTPException: it says so.
    """
    too_large = HTTPException(413, f"larger than {most_bytes / 1e6:.0f} MB")
    if told > most_bytes:
        raise too_large
    count, more, began_s = 0, True, time.monotonic()

    async def limited() -> Message:
        nonlocal count, more
        if not more:  # then there is nothing but to wait until they leave
            return await receive()
        late_s = LATE_S + count / LEAST_RATE - (time.monotonic() - began_s)
        try:
            message = await asyncio.wait_for(receive(), min(SILENT_S, late_s))
        except TimeoutError:
            raise HTTPException(408, "it comes too slowly: try again") from None
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
        if count > most_bytes:
            raise too_large
        return message

    return limited


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Whether the page of another site asks, or another server's on this machine: of all requests
    to this machine browsers say so (Fetch Metadata), of others at least when they send something.
    """
    said = headers.get("sec-fetch-site")
    if said is not None:
        return said not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()


def _is_of_this_machine(host: str) -> bool:
    """Whether no other machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in HERE


def _name(address: str) -> str:
    """The host in an address, without its port."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
