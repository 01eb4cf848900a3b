"""Serves the page until it is told to stop, or as long as a run goes on."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Final

import uvicorn

from thor_ray.dashboard.access import Access
from thor_ray.dashboard.app import create_app
from thor_ray.dashboard.catalogue import Catalogue
from thor_ray.errors import UserError
from thor_ray.run_directory import RunDirectory

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8700
SHUTDOWN_SECONDS: Final = 3
"""How long requests that are being answered may keep a page from closing."""


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """Where the page is served, and to whom.

    Attributes:
        host: Address to listen on; one that other machines can reach needs a token.
        port: 0 takes a free one.
        token: What a browser has to bring; ``None`` lets in whoever is on this machine.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)


def serve(runs: Sequence[RunDirectory], options: DashboardOptions, announce: Callable[[str], None]) -> None:
    """Serves a page over ``runs`` (all below ``runs/`` if there are none) until SIGINT or SIGTERM.

    Args:
        runs: Run directories; the first is shown first.
        options: Where and to whom.
        announce: Called with the address, token included, once the page can be opened.

    Raises:
        UserError: nothing can listen there, or the address needs a token.
    """
    Access.for_host(options.host, options.token, options.port)
    with contextlib.closing(_listen(options)) as listener:
        catalogue = Catalogue(runs)
        server = _server(catalogue, options, listener)
        Thread(target=catalogue.warm, name="warm", daemon=True).start()
        announce(_address(options, listener))
        # Ctrl-C is how a page is closed: uvicorn has ended by itself when it passes the signal on.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextlib.contextmanager
def served(run: RunDirectory, port: int = DEFAULT_PORT) -> Iterator[str]:
    """Serves a page over one run to this machine, in a thread of this process, for as long as the block runs.

    Args:
        run: The run, which this process may be writing.
        port: To listen on; a free one is taken where somebody else has it.

    Yields:
        The address.
    """
    try:
        listener = _listen(DashboardOptions(port=port))
    except UserError:
        listener = _listen(DashboardOptions(port=0))
    with contextlib.closing(listener):
        options = DashboardOptions()
        server = _server(Catalogue([run]), options, listener)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="dashboard", daemon=True)
        thread.start()
        try:
            yield _address(options, listener)
        finally:
            server.should_exit = True
            thread.join(SHUTDOWN_SECONDS + 2)


def _server(catalogue: Catalogue, options: DashboardOptions, listener: socket.socket) -> uvicorn.Server:
    access = Access.for_host(options.host, options.token, listener.getsockname()[1])
    config = uvicorn.Config(
        create_app(catalogue, access),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)


def _listen(options: DashboardOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(
            f"nothing can listen on {options.host}, port {options.port}: {reason}", "choose another --port or --host"
        ) from error
    return listener


def _address(options: DashboardOptions, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}/" + (f"?token={options.token}" if options.token else "")
