"""A model server in this process that does exactly what a script says, answer by answer."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """A completion."""

    text: str
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Refuse:
    """An error."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """An answer that is no completion."""

    content: bytes


@dataclass(frozen=True)
class Hang:
    """Silence until the server is closed."""


@dataclass(frozen=True)
class Drip:
    """An answer that never ends, a byte at a time."""


@dataclass(frozen=True)
class Break:
    """The connection is dropped without an answer."""


Act = Say | Refuse | Raw | Hang | Drip | Break


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.reply(200, json.dumps({"object": "list", "data": [{"id": "scripted"}]}).encode())

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.act(server.next_act(self.path, body), server)

    def act(self, act: Act, server: "Server") -> None:
        match act:
            case Say(text, finish_reason):
                choice = {"index": 0, "finish_reason": finish_reason}
                choice |= {"message": {"role": "assistant", "content": text}} if "chat" in self.path else {"text": text}
                usage = {"prompt_tokens": 11, "completion_tokens": 7}
                self.reply(200, json.dumps({"choices": [choice], "usage": usage}).encode())
            case Refuse(status, headers):
                self.reply(status, b'{"error": {"message": "no"}}', headers)
            case Raw(content):
                self.reply(200, content)
            case Hang():
                server.closing.wait(30)
            case Drip():
                self.drip(server)
            case Break():
                self.close_connection = True
                self.connection.close()

    def drip(self, server: "Server") -> None:
        self.send_response(200)
        self.end_headers()
        while not server.closing.is_set():
            try:
                self.wfile.write(b" ")
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.01)

    def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Answers from a script; the last line is repeated for ever."""

    daemon_threads = True

    def __init__(self, script: Sequence[Act]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def next_act(self, path: str, body: Any) -> Act:
        with self._lock:
            act = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append({"path": path, **body})
        return act

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of the script."""


@contextmanager
def scripted(*script: Act) -> Iterator[Server]:
    with Server(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
