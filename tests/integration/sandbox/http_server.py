"""A server process and what can be seen of it from outside."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS: Final = 60.0
COMMAND = (sys.executable, "-m", "thor_ray.cli", "sandbox", "serve")
ENDLESS = "while True: pass"


@dataclass
class Server:
    """A running ``thor sandbox serve``.

    Attributes:
        process: the server.
        url: its address.
        greeting: the line that it printed when it had begun.
    """

    process: "subprocess.Popen[str]"
    url: str
    greeting: str

    def post(self, code: str = "print(6 * 7)", **fields: Any) -> httpx.Response:
        """One `POST /run_code`."""
        body = json.dumps({"code": code, **fields})  # in ASCII, so that it can hold what is no Unicode
        headers = {"Content-Type": "application/json"}
        return httpx.post(f"{self.url}/run_code", content=body, headers=headers, timeout=PATIENCE_SECONDS)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE_SECONDS)

    def in_flight(self) -> int:
        return int(self.get("/health").json()["in_flight"])

    def connect(self) -> socket.socket:
        """A connection for requests that no client library sends."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops it; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def serving(*options: str, command: tuple[str, ...] = COMMAND, cwd: Path = ROOT, **variables: str) -> Iterator[Server]:
    """A server on a free port; killed at the end if it still runs.

    Args:
        options: of the command.
        command: what to run.
        cwd: where it runs.
        variables: for its environment.
    """
    arguments = [*command, "--port", "0", *options]
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env={**os.environ, **variables, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        greeting = process.stderr.readline()
        assert greeting.startswith("serving on http"), greeting + process.stderr.read()
        yield Server(process, greeting.split()[2].replace("0.0.0.0", "127.0.0.1"), greeting)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stderr.close()


def until(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true, with the patience that a loaded machine needs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
