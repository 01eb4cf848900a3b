"""The judge is asked about what the rules refuse, and nothing that it says can pass for a verdict but a verdict."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from thor_ray.grading import GraderPool, GradeStatus
from thor_ray.grading.judge import LlmJudge, read_verdict


class JudgeServer(HTTPServer):
    """An OpenAI-compatible server that says what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), JudgeHandler)
        self.reply = "EQUIVALENT"
        self.code = 200
        self.requests: list[dict[str, Any]] = []
        self.authorization: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class JudgeHandler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.authorization = self.headers["Authorization"]
        body = json.dumps({"choices": [{"message": {"content": self.server.reply}}]}).encode()
        self.send_response(self.server.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_what_the_rules_accept_is_not_asked_again(server: JudgeServer, pool: GraderPool) -> None:
    judge = LlmJudge(server.url, "judge", pool)
    assert judge.grade(r"\boxed{0.5}", r"\frac{1}{2}").path == "exact"
    assert judge.grade("no box", "5").status is GradeStatus.NO_BOX
    assert judge.grade(r"\boxed{5" + "\u200b}", "5").status is GradeStatus.UNPARSABLE
    assert server.requests == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("EQUIVALENT", GradeStatus.CORRECT),
        ("The same number.\n**EQUIVALENT**.", GradeStatus.CORRECT),
        ("<think>EQUIVALENT? no</think>\nDIFFERENT", GradeStatus.WRONG),
        ("EQUIVALENT or not, who knows", GradeStatus.ERROR),
        ("equivalent", GradeStatus.ERROR),
        ("", GradeStatus.ERROR),
    ],
)
def test_only_a_last_word_that_is_a_verdict_counts(
    server: JudgeServer, pool: GraderPool, reply: str, status: GradeStatus
) -> None:
    server.reply = reply
    grade = LlmJudge(server.url, "judge", pool, api_key="secret").grade(r"\boxed{half}", "one in two", "Toss a coin.")
    assert (grade.status, grade.path, grade.extracted) == (status, "judge", "half")
    assert server.authorization == "Bearer secret"
    (request,) = server.requests
    assert request["temperature"] == 0.0
    question = json.loads(request["messages"][1]["content"])
    assert question == {"problem": "Toss a coin.", "reference": "one in two", "candidate": "half"}


def test_a_server_that_fails_is_an_error_and_no_verdict(server: JudgeServer, pool: GraderPool) -> None:
    server.code = 500
    grade = asyncio.run(LlmJudge(server.url, "judge", pool).agrade(r"\boxed{half}", "0.5"))
    assert grade.status is GradeStatus.ERROR
    assert grade.reward is None
    assert "500" in grade.reason
    nobody = LlmJudge("http://127.0.0.1:1/v1", "judge", pool).grade(r"\boxed{half}", "0.5")
    assert nobody.status is GradeStatus.ERROR


@pytest.mark.parametrize("reply", [None, [], {}, {"choices": []}, {"choices": [{"message": {}}]}])
def test_what_is_no_chat_completion_is_an_error(reply: object) -> None:
    assert read_verdict(reply)[0] is GradeStatus.ERROR


def test_senseless_settings_are_refused(pool: GraderPool) -> None:
    with pytest.raises(ValueError, match="http"):
        LlmJudge("file:///etc/passwd", "judge", pool)
    with pytest.raises(ValueError, match="timeout_seconds"):
        LlmJudge("http://127.0.0.1/v1", "judge", pool, timeout_seconds=0)
