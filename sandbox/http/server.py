"""Runs the application on a port until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from sandbox.api import Sandbox
from sandbox.http.access import Access, CannotServe
from sandbox.http.admission import Admission
from sandbox.http.app import create_app
from sandbox.limits import KIB, MIB, Limits
from sandbox.memory import default_budget

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
"""SandboxFusion's."""
BACKLOG: Final = 2048
DEFAULT_MEMORY_BYTES: Final = 1024 * MIB
"""What verl asks for by default."""
SPARE_DESCRIPTORS: Final = 1024
"""Open files for programs, and for connections that are idle, beyond one for each request."""
LAST_SECONDS: Final = 5
"""For replies to go out after the sandbox was closed under them."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and how the server serves.

    Attributes:
        host: address to listen on; one that other machines can reach needs a token.
        port: 0 takes a free one.
        token: what clients have to know; None lets in whoever is on this machine.
        max_requests: running or waiting at a time; the next gets 429.
        stop_seconds: how long programs may go on after the server was told to stop.

    Raises:
        CannotServe: the port, a bound or the token cannot be used, or the host needs a token.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    max_requests: int = 1000
    stop_seconds: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise CannotServe(f"the port is {self.port}; it must be from 0 to 65535")
        if self.max_requests < 1:
            raise CannotServe(f"max_requests is {self.max_requests}; it must be at least 1")
        if not (math.isfinite(self.stop_seconds) and self.stop_seconds >= 0):
            raise CannotServe(f"stop_seconds is {self.stop_seconds}; it must be 0 or more")
        Access.for_host(self.host, self.token)


def server_limits(memory_bytes: int | None = None) -> Limits:
    """What clients of SandboxFusion expect: up to 1 MiB of each output stream comes back whole, for they compare it.

    Args:
        memory_bytes: for one program; None takes a GiB, or what all programs together may have if that is less.

    Raises:
        ValueError: `memory_bytes` is not positive.
    """
    if memory_bytes is None:
        memory_bytes = min(DEFAULT_MEMORY_BYTES, default_budget() - Limits().scratch_bytes)
    return Limits(memory_bytes=memory_bytes, output_head_bytes=768 * KIB, output_tail_bytes=256 * KIB)


def serve(sandbox: Sandbox, options: ServerOptions, announce: Callable[[str], None]) -> None:
    """Opens the sandbox and serves it until SIGTERM or SIGINT; to be called on the main thread.

    Told to stop, it takes no more requests and lets programs go on for `stop_seconds`, or until it is told again; what still
    runs then is ended and answered with 503. Nothing is left behind.

    Args:
        sandbox: not open yet.
        options: where and how.
        announce: receives the server's address once it answers.

    Raises:
        CannotServe: the address cannot be listened on, or this process may not open enough connections.
        SandboxUnavailable: the sandbox cannot be opened.
    """
    _provide_descriptors(options.max_requests + SPARE_DESCRIPTORS)
    with bind(options.host, options.port) as listener:
        asyncio.run(_serve(sandbox, options, listener, announce))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Clients that connect before the server serves wait.

    Raises:
        CannotServe: there is no such address here, or the port is taken.
    """
    try:
        candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` may mean both; more clients write 127.0.0.1 than ::1.
        family, kind, protocol, _, address = min(candidates, key=lambda candidate: candidate[0] != socket.AF_INET)
        # asyncio switches Nagle's delays off only where the protocol is named, and they would cost 40 ms a reply.
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise CannotServe(f"{host} cannot be listened on: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotServe(
            f"port {port} of {host} cannot be listened on: {error.strerror}; choose another with --port"
        ) from error
    return listener


def _provide_descriptors(number: int) -> None:
    """Raises the soft limit on open files if need be: a server that runs out of them fails programs, not clients.

    Raises:
        CannotServe: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        raise CannotServe(
            f"so many requests need {number} open files, this process may have {hard}; raise `ulimit -Hn`, or take fewer "
            "requests with --queue"
        )
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


async def _serve(
    sandbox: Sandbox, options: ServerOptions, listener: socket.socket, announce: Callable[[str], None]
) -> None:
    told, told_again = _stop_events()
    access = Access.for_host(options.host, options.token)
    async with sandbox:
        app = create_app(sandbox, access, Admission(options.max_requests))
        server = _Server(app, options, lambda: announce(_address(options.host, listener)))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _first(serving, told)
        server.should_exit = True
        await _first(serving, told_again, options.stop_seconds)
        if not serving.done():
            await asyncio.to_thread(sandbox.close)
        await serving


def _stop_events() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second request to stop."""
    told, told_again = asyncio.Event(), asyncio.Event()

    def tell() -> None:
        (told_again if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    return told, told_again


async def _first(task: asyncio.Task[None], event: asyncio.Event, seconds: float | None = None) -> None:
    """Waits until the task has ended or the event is set, for so many seconds at most."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((task, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _address(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """uvicorn, with signals left to us and a word when it has begun."""

    def __init__(self, app: ASGIApp, options: ServerOptions, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="error",  # or whoever sends nonsense fills the log
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=math.ceil(options.stop_seconds) + LAST_SECONDS,
            )
        )
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
