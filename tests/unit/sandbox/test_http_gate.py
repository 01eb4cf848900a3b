"""Nothing of a request is read before it is let in, and nothing runs for a client that is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from sandbox.http.access import Access
from sandbox.http.admission import Admission
from sandbox.http.gate import PING, Gate

TOKEN = "secret"


class Client:
    """One end of a connection: what it sends is in a queue, what it got is in a list."""

    def __init__(self, method: str = "POST", path: str = "/run_code", **headers: str) -> None:
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        self.reads = 0

    async def receive(self) -> Message:
        self.reads += 1
        return await self.outgoing.get()

    async def send(self, message: Message) -> None:
        self.got.append(message)

    def put(self, body: bytes, more: bool = False) -> None:
        self.outgoing.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        self.outgoing.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body."""
    message = await receive() if scope["method"] == "POST" else {"body": b"no body"}
    await PlainTextResponse(message["body"])(scope, receive, send)


def gate(app: Callable[..., Awaitable[None]] = echo, **changes: Any) -> tuple[Gate, Admission]:
    admission = Admission(max_requests=1, max_body_bytes=100)
    return Gate(app, **{"access": Access(None), "admission": admission, **changes}), admission


async def test_a_body_in_parts_arrives_whole():
    client = Client(content_length="5")
    client.put(b"he", more=True)
    client.put(b"llo")
    entrance, admission = gate()
    await entrance(client.scope, client.receive, client.send)
    assert client.status == 200
    assert client.got[1]["body"] == b"hello"
    assert admission.requests == admission.held_bytes == 0


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 411),
        ({"content_length": "101"}, 413),
        ({"content_length": "9" * 4000}, 411),
        ({"content_length": "-1"}, 411),
        ({"content_length": "5", "host": "evil.example.org"}, 421),
    ],
)
async def test_a_request_that_stays_outside_is_not_read(headers, code):
    client = Client(**headers)
    client.put(b"hello")
    entrance, _ = gate()
    await entrance(client.scope, client.receive, client.send)
    assert (client.status, client.reads) == (code, 0)
    assert b'"SandboxError"' in client.got[1]["body"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/run_code"), ("GET", "/health"), ("GET", "/openapi.json")])
async def test_without_the_token_nothing_is_served_but_the_ping(method, path):
    entrance, _ = gate(access=Access(TOKEN))
    client = Client(method, path, content_length="5")
    await entrance(client.scope, client.receive, client.send)
    assert (client.status, client.reads) == (401, 0)
    client = Client("GET", PING)
    await entrance(client.scope, client.receive, client.send)
    assert client.status == 200


async def test_a_request_too_many_gets_429_until_one_is_answered():
    release = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await echo(scope, receive, send)

    entrance, admission = gate(slow)
    first, second, third = (Client(content_length="5") for _ in range(3))
    for client in (first, second, third):
        client.put(b"hello")
    serving = asyncio.create_task(entrance(first.scope, first.receive, first.send))
    await asyncio.sleep(0)
    await entrance(second.scope, second.receive, second.send)
    assert (second.status, second.reads) == (429, 0)
    assert (b"retry-after", b"1") in second.got[0]["headers"]
    release.set()
    await serving
    await entrance(third.scope, third.receive, third.send)
    assert (first.status, third.status, admission.requests) == (200, 200, 0)


async def test_a_client_that_hangs_up_ends_its_work():
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    entrance, admission = gate(endless)
    client = Client(content_length="5")
    client.put(b"hello")
    serving = asyncio.create_task(entrance(client.scope, client.receive, client.send))
    await asyncio.sleep(0.01)
    assert not serving.done()
    client.hang_up()
    await asyncio.wait_for(serving, 5)
    assert ended.is_set()
    assert (client.got, admission.requests) == ([], 0)


async def test_a_client_that_hangs_up_within_its_body_starts_no_work():
    client = Client(content_length="5")
    client.put(b"he", more=True)
    client.hang_up()
    entrance, admission = gate()
    await entrance(client.scope, client.receive, client.send)
    assert (client.got, admission.requests) == ([], 0)


async def test_a_body_that_does_not_come_gives_its_place_away():
    client = Client(content_length="5")
    client.put(b"he", more=True)
    entrance, admission = gate(body_seconds=0.05)
    await entrance(client.scope, client.receive, client.send)
    assert (client.status, admission.requests) == (408, 0)


async def test_an_error_of_the_application_is_passed_on_and_frees_the_place():
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    client = Client(content_length="0")
    client.put(b"")
    entrance, admission = gate(broken)
    with pytest.raises(RuntimeError, match="a bug"):
        await entrance(client.scope, client.receive, client.send)
    assert admission.requests == 0


async def test_stopping_the_server_stops_the_work():
    stopped = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    client = Client(content_length="0")
    client.put(b"")
    entrance, admission = gate(endless)
    serving = asyncio.create_task(entrance(client.scope, client.receive, client.send))
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert stopped.is_set()
    assert admission.requests == 0
