"""The way into the server: who, how much, how fast, and whether the client still waits.

All of it happens before FastAPI sees a request, because FastAPI reads and parses the whole body before anything that it
calls could refuse it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.http.access import Access, Refusal
from sandbox.http.admission import Admission
from sandbox.http.protocol import refusal

PING: Final = "/v1/ping"
BODY_SECONDS: Final = 30.0
"""A client that has not sent its body by then gives its place to another."""


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: what lies behind the gate.
        access: who may come in; `PING` is open to all.
        admission: how many at a time.
        body_seconds: within what time a body has to arrive.
    """

    def __init__(
        self, app: ASGIApp, *, access: Access, admission: Admission, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._access = access
        self._admission = admission
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        if scope["type"] != "http" or scope["path"] == PING:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._access.refusal(headers)
        if refused is None and scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        size = _announced_size(headers)
        refused = refused or self._admission.admit(size)
        if refused is not None:
            await answer(refused)(scope, receive, send)
            return
        assert size is not None  # or it would not have been admitted
        try:
            await self._serve(scope, receive, send)
        finally:
            self._admission.release(size)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _read_body(receive)
        except TimeoutError:
            refused = Refusal(408, f"the request's body did not arrive within {self._body_seconds:g} s")
            await answer(refused)(scope, receive, send)
            return
        if body is not None:
            await while_connected(self._app(scope, _Replay(body), send), receive)


def answer(refused: Refusal) -> Response:
    """The reply to a request that is not served, in the shape of all replies."""
    body = refusal(refused.message).model_dump_json()
    return Response(body, refused.code, dict(refused.headers), "application/json")


async def while_connected(work: Awaitable[None], receive: Receive) -> None:
    """Runs `work` to its end, but cancels it as soon as the client hangs up.

    Args:
        work: answers a request whose body has been read.
        receive: the request's channel.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(_disconnection(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.wait((task, watch))
    if not task.cancelled():
        task.result()


class _Replay:
    """A channel on which a body arrives that has been read already, and then nothing more."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # a client that hangs up is not told of here: the work is cancelled
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _read_body(receive: Receive) -> bytes | None:
    """The body, as long as it was announced (HTTP sees to that); None if the client hung up instead."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _announced_size(headers: Headers) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
