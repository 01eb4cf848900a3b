"""Serves the page until it is told to stop."""

import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import uvicorn

from thor_ray.dashboard.access import Access
from thor_ray.dashboard.app import create_app
from thor_ray.dashboard.catalogue import Catalogue
from thor_ray.errors import UserError
from thor_ray.run_directory import RunDirectory

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8700


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
    catalogue = Catalogue(runs)
    with contextlib.closing(_listen(options)) as listener:
        port = listener.getsockname()[1]
        app = create_app(catalogue, Access.for_host(options.host, options.token, port))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=3,
        )
        announce(_address(options, port))
        # Ctrl-C is how a page is closed: uvicorn has ended by itself when it passes the signal on.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


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


def _address(options: DashboardOptions, port: int) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}/" + (f"?token={options.token}" if options.token else "")
