"""A real model server for tests, as a process of its own: speaks the protocols of vLLM and OpenAI, knows no model.

It scores a response by its length, and as a judge finds an answer equivalent if it contains the reference. The part of a
test's name behind ``model=`` tells it how to misbehave. Run as ``python model_server.py LOG``; prints its port.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUSY_FOR = 2
"""How many requests the model ``busy`` turns away before it answers."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        assert isinstance(server, Server)
        seen = server.note(self.path, body, self.headers.get("Authorization"))
        match body["model"]:
            case "busy" if seen <= BUSY_FOR:
                self.answer(503, {"error": {"message": "warming up"}})
            case "down":
                self.answer(503, {"error": {"message": "out of memory"}})
            case "locked" if self.headers.get("Authorization") != "Bearer secret":
                self.answer(401, {"error": {"message": "no key"}})
            case "missing":
                self.answer(404, {"error": {"message": "The model `missing` does not exist."}})
            case "silent":
                time.sleep(5)
            case "rude":
                self.close_connection = True
                self.connection.close()
            case "babbling":
                self.answer(200, None, b"<html>hello</html>")
            case "two-labels":
                self.answer(200, {"data": [{"probs": [0.25, 0.75], "data": [[0.25, 0.75]]}]})
            case "infinite":
                self.answer(200, {"data": [{"probs": [float("inf")], "data": [float("nan")], "score": float("inf")}]})
            case "empty":
                self.answer(200, {"data": []})
            case "slow":
                time.sleep(0.2)
                self.answer(200, reply(self.path, body))
            case _:
                self.answer(200, reply(self.path, body))

    def answer(self, status: int, tree: Any, raw: bytes | None = None) -> None:
        content = json.dumps(tree).encode() if raw is None else raw
        server = self.server
        assert isinstance(server, Server)
        # Before the client knows, who may then send the next request.
        server.in_flight -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Writes down each request as a line of a file."""

    def __init__(self, log: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log = log
        self.seen = self.in_flight = 0

    def note(self, path: str, body: Any, authorization: str | None) -> int:
        self.seen += 1
        self.in_flight += 1
        line = {"path": path, "body": body, "authorization": authorization, "in_flight": self.in_flight}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return self.seen


def reply(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a server answers that does what it should."""
    if path == "/v1/chat/completions":
        asked = json.loads(body["messages"][1]["content"])
        word = "EQUIVALENT" if asked["reference"] in asked["candidate"] else "DIFFERENT"
        word = "perhaps" if "?" in asked["candidate"] else word
        return {"choices": [{"message": {"content": f"I compared them.\n{word}"}}]}
    response = body["text_2"] if path == "/score" else body["messages"][1]["content"]
    score = len(response) / 10
    match path:
        case "/classify":
            return {"data": [{"index": 0, "label": "LABEL_0", "probs": [score], "num_classes": 1}]}
        case "/pooling" if body["model"] == "outcome":
            return {"data": [{"index": 0, "object": "pooling", "data": [score]}]}
        case "/pooling":
            return {"data": [{"index": 0, "object": "pooling", "data": [[-1.0], [score]]}]}
        case "/score":
            return {"data": [{"index": 0, "object": "score", "score": score}]}
    return {"error": f"no {path}"}


class RunningServer:
    """A server process as its tests see it."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, log: Path) -> None:
        self.process, self.log = process, log
        self.url = f"http://127.0.0.1:{port}"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """All it was asked so far: ``path``, ``body``, ``authorization``, ``in_flight``."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@contextmanager
def running_server(log: Path) -> Iterator[RunningServer]:
    """Starts a server process that appends what it is asked to ``log``."""
    process = subprocess.Popen([sys.executable, __file__, str(log)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield RunningServer(process, int(process.stdout.readline()), log)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


if __name__ == "__main__":
    with Server(Path(sys.argv[1])) as started:
        print(started.server_port, flush=True)
        started.serve_forever()
