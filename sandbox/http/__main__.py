"""`python -m sandbox.http`: the server, for those who use this folder alone."""

from __future__ import annotations

import argparse
import os
import sys

from sandbox.api import Sandbox
from sandbox.errors import SandboxError
from sandbox.http.server import DEFAULT_HOST, DEFAULT_PORT, ServerOptions, serve, server_limits
from sandbox.limits import MIB


def main() -> None:
    """Serves until it is told to stop. Exit code 2 if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.http", description="Serve SandboxFusion's POST /run_code.")
    parser.add_argument("--host", default=DEFAULT_HOST, help="any but a loopback address needs THOR_SANDBOX_TOKEN")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--workers", type=int, help="warm processes; by default one per core")
    parser.add_argument("--memory", type=int, help="MiB that one program may use")
    given = parser.parse_args()
    try:
        options = ServerOptions(given.host, given.port, os.environ.get("THOR_SANDBOX_TOKEN"))
        sandbox = Sandbox(workers=given.workers, limits=server_limits(given.memory and given.memory * MIB))
        serve(sandbox, options, lambda address: _say(f"serving on {address}"))
    except (SandboxError, ValueError) as error:
        parser.error(str(error))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
