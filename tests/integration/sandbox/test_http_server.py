"""A real server process, real clients, real programs."""

import base64
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sandbox import Sandbox
from sandbox.http import create_app
from sandbox.http.access import Access
from sandbox.http.admission import Admission
from tests.integration.sandbox.http_server import ENDLESS, Server, serving, until
from tests.integration.sandbox.processes import command_line, programs, worker_processes


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that tests share; they leave it as they found it."""
    with serving("--workers", "1", "--queue", "40") as running:
        yield running
        assert running.stop() == 0


def occupied(server: Server, programs_running: int) -> bool:
    return len(programs(server.process.pid)) == programs_running


# ------------------------------------------------------------------------------------------- requests and replies


def test_it_says_where_it_serves_and_at_which_level(server):
    assert server.url.startswith("http://127.0.0.1:")
    assert re.search(r"at level [2-4] \(\w+\)$", server.greeting)


def call_as_verl(server: Server, code: str, stdin: str | None, timeout: float = 10) -> httpx.Response:
    """Byte for byte what verl sends (verl/utils/reward_score/sandbox_fusion/utils.py, call_sandbox_api)."""
    payload = json.dumps(
        {
            "compile_timeout": timeout,
            "run_timeout": timeout,
            "code": code,
            "stdin": stdin,
            "memory_limit_MB": 1024,
            "language": "python",
            "files": {},
            "fetch_files": [],
        }
    )
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return httpx.post(f"{server.url}/run_code", headers=headers, content=payload, timeout=2 * timeout + 10)


@pytest.mark.parametrize(
    ("code", "status", "run_status", "return_code", "stdout", "stderr"),
    [
        ("print(sum(map(int, input().split())))", "Success", "Finished", 0, "7\n", ""),
        ("import sys; print(sys.stdin.read(), end='')", "Success", "Finished", 0, "3 4\n", ""),
        ("1 / 0", "Failed", "Finished", 1, "", "ZeroDivisionError: division by zero"),
        ("print(1); raise SystemExit(3)", "Failed", "Finished", 3, "1\n", ""),
        ("int a = 1", "Failed", "Finished", 1, "", "SyntaxError: invalid syntax"),
        ("print(1, flush=True)\nwhile True: pass", "Failed", "TimeLimitExceeded", None, "1\n", ""),
        ("import ctypes; ctypes.string_at(0)", "Failed", "Finished", -11, "", ""),
    ],
)
def test_verl_reads_what_it_expects(server, code, status, run_status, return_code, stdout, stderr):
    response = call_as_verl(server, code, "3 4\n", timeout=1.5 if return_code is None else 10)
    response.raise_for_status()
    body = response.json()
    run = body["run_result"]
    assert (body["status"], run["status"], run["return_code"]) == (status, run_status, return_code)
    assert run["stdout"] == stdout
    assert stderr in run["stderr"]
    assert body["compile_result"] is None
    assert 0 < run["execution_time"] < 10
    assert set(body) == {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
    assert "queue;dur=" in response.headers["Server-Timing"]


def test_thor_s_own_scripts_are_served(server):
    """They post to an address with a slash at its end, do not look at the status, and strip the standard error."""
    asked = {
        "code": "from sympy import *; print(integrate(x := Symbol('x'), x))",
        "language": "python",
        "run_timeout": 30,
    }
    response = httpx.post(f"{server.url}/run_code/", json=asked, timeout=30)
    assert response.status_code == 200
    run = response.json()["run_result"]
    assert (str(run["return_code"]), run["stdout"], run["stderr"].strip()) == ("0", "x**2/2\n", "")


def test_files_go_in_and_come_out(server):
    response = server.post(
        "import os\nos.makedirs('out')\nopen('out/copy', 'wb').write(open('in/data.bin', 'rb').read()[::-1])",
        files={"in/data.bin": base64.b64encode(bytes(range(256))).decode(), "ignored": None},
        fetch_files=["out/copy", "absent"],
    )
    body = response.json()
    assert body["status"] == "Success", body
    assert base64.b64decode(body["files"]["out/copy"]) == bytes(reversed(range(256)))
    assert "absent" not in body["files"]
    assert "absent" in body["message"]


def test_an_output_of_a_mebibyte_comes_back_whole(server):
    response = server.post("print('x' * (1 << 20), end='')")
    assert response.json()["run_result"]["stdout"] == "x" * (1 << 20)


def test_a_flood_is_named(server):
    body = server.post("while True: print('x' * 1000)").json()
    assert (body["status"], body["message"], body["run_result"]["return_code"]) == ("Failed", "output_limit", -9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"language": "cpp"}, "language: Input should be 'python'"),
        ({"run_timeout": 61}, "run_timeout: Input should be less than or equal to 60"),
        ({"files": {"../escape": ""}}, "'../escape' cannot be"),
        ({"fetch_files": ["/etc/passwd"]}, "'/etc/passwd' cannot be"),
        ({"fetch_files": ["\udcff"]}, "not Unicode"),
        ({"code": 7}, "code: Input should be a valid string"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_shape_of_a_reply(server, fields, words):
    response = server.post(**{"code": "print(1)", **fields})
    assert response.status_code == 422
    body = response.json()
    assert (body["status"], body["run_result"]) == ("SandboxError", None)
    assert words in body["message"]


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "code"),
    [
        ("POST", "/run_code", b"{", "application/json", 422),
        ("POST", "/run_code", b"[" * 100_000, "application/json", 400),
        ("POST", "/run_code", b'{"code": "1"}', "text/plain", 422),  # what a page in a browser may send unasked
        ("GET", "/run_code", b"", "application/json", 405),
        ("POST", "/run_jupyter", b"{}", "application/json", 404),
    ],
)
def test_what_is_no_request_is_refused_in_the_shape_of_a_reply(server, method, path, content, kind, code):
    response = httpx.request(method, server.url + path, content=content, headers={"Content-Type": kind})
    assert (response.status_code, response.json()["status"]) == (code, "SandboxError")


@pytest.mark.parametrize("text", ["\ud800", "\0", "é\u202e\U0001f600"])
def test_any_text_can_be_program_and_input(server, text):
    response = server.post(f"print(1) # {text}", stdin=text)
    assert response.status_code == 200
    assert response.json()["status"] in ("Success", "Failed")


def test_a_request_larger_than_the_limit_is_refused_and_the_server_goes_on(server):
    response = server.post("x" * (33 << 20))
    assert response.status_code == 413
    assert "the limit is 33554432" in response.json()["message"]
    assert server.post().json()["run_result"]["stdout"] == "42\n"


def test_a_program_longer_than_the_limit_is_a_failure_of_the_program(server):
    body = server.post("#" * (2 << 20)).json()
    assert (body["status"], body["run_result"]["return_code"]) == ("Failed", 1)
    assert "the limit is 1048576" in body["run_result"]["stderr"]


def test_a_name_that_leads_here_from_elsewhere_is_refused(server):
    response = httpx.post(f"{server.url}/run_code", json={"code": "1"}, headers={"Host": "evil.example.org"})
    assert response.status_code == 421


# ------------------------------------------------------------------------------------------------ many at a time


def test_replies_are_not_held_back(server):
    """Nagle's algorithm against delayed acknowledgements: 40 ms for every reply but the first."""
    with httpx.Client() as client:
        replies = [client.post(f"{server.url}/run_code", json={"code": "1"}) for _ in range(20)]
    assert min(reply.elapsed.total_seconds() for reply in replies[1:]) < 0.035


def test_many_clients_at_once(server):
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda i: server.post(f"print({i})", run_timeout=30), range(96)))
    taken = [reply for reply in replies if reply.status_code == 200]
    assert len(taken) >= 40 - 1
    assert {reply.status_code for reply in replies} <= {200, 429}
    assert all(reply.json()["run_result"]["stdout"] == f"{i}\n" for i, reply in enumerate(replies) if reply in taken)


def test_a_full_house_sends_clients_away_and_says_when_to_come_back():
    with serving("--workers", "1", "--queue", "2") as server, ThreadPoolExecutor(2) as pool:
        held = [pool.submit(server.post, "import time; time.sleep(2); print('slept')") for _ in range(2)]
        assert until(lambda: occupied(server, 2))
        refused = server.post()
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["status"] == "SandboxError"
        assert "2 requests" in refused.json()["message"]
        assert [each.result().json()["run_result"]["stdout"] for each in held] == ["slept\n"] * 2
        assert server.post().json()["status"] == "Success"
        assert server.in_flight() == 0


def hang_up_on(server: Server, code: str) -> None:
    body = json.dumps({"code": code, "run_timeout": 60}).encode()
    with server.connect() as connection:
        head = f"POST /run_code HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        assert until(lambda: server.in_flight() > 0)


def test_a_client_that_hangs_up_ends_its_program(server):
    hang_up_on(server, ENDLESS)
    assert until(lambda: occupied(server, 0) and server.in_flight() == 0)
    assert server.post().json()["status"] == "Success"


def test_a_client_that_gives_up_waiting_ends_its_program(server):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/run_code", json={"code": ENDLESS, "run_timeout": 60}, timeout=0.5)
    assert until(lambda: occupied(server, 0) and server.in_flight() == 0)


def test_what_waits_in_the_queue_can_be_given_up_too(server):
    """The server runs two programs at a time; those of clients that are gone by then never begin."""
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(server.post, "import time; time.sleep(1.5)") for _ in range(2)]
        assert until(lambda: occupied(server, 2))
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/run_code", json={"code": ENDLESS, "run_timeout": 60}, timeout=0.3)
        assert [each.result().json()["status"] for each in held] == ["Success"] * 2
        assert until(lambda: server.in_flight() == 0)
        assert occupied(server, 0)


def test_nothing_adds_up(server):
    """Descriptors of the server after many requests of every kind: as many as before."""

    def descriptors() -> int:
        return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

    def one_of_each() -> None:
        server.post()
        server.post("1 / 0")
        server.post(language="cpp")
        server.get("/health")
        hang_up_on(server, ENDLESS)
        assert until(lambda: server.in_flight() == 0)

    one_of_each()
    before = descriptors()
    for _ in range(5):
        one_of_each()
    assert until(lambda: descriptors() <= before)


# ---------------------------------------------------------------------------------------------------------- health


def test_health_is_a_program_that_ran(server):
    assert server.get("/v1/ping").json() == "pong"
    response = server.get("/health")
    assert response.status_code == 200
    health = response.json()
    assert health["status"] == "ok"
    assert health["level"] == health["isolation"]["level"] >= 2
    assert health["execution"]["status"] == "ok"
    assert health["execution"]["wall_ms"] > 0
    assert (health["in_flight"], health["capacity"], health["saturation"]) == (0, 40, 0.0)
    executed = health["executed"]
    server.post()
    assert server.get("/health").json()["executed"] == executed + 1


async def test_a_sandbox_that_runs_nothing_any_more_is_not_healthy_until_it_does_again(tmp_path):
    library = tmp_path / "library_of_mine.py"
    library.write_text("")
    async with Sandbox(workers=1, preload=("library_of_mine",), library_paths=[str(tmp_path)]) as box:
        app = create_app(box, Access(None), Admission())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            assert (await client.get("/health")).status_code == 200
            library.rename(tmp_path / "hidden")
            for worker in [pid for pid in worker_processes(os.getpid()) if str(tmp_path) in command_line(pid)]:
                os.kill(worker, signal.SIGKILL)
            response = await client.get("/health")
            assert (response.status_code, response.json()["status"]) == (503, "failing")
            assert response.json()["execution"]["status"] == "sandbox_error"
            response = await client.post("/run_code", json={"code": "print(1)"})
            assert (response.status_code, response.json()["status"]) == (200, "SandboxError")
            assert "library_of_mine" in response.json()["message"]
            (tmp_path / "hidden").rename(library)
            response = await client.get("/health")
            assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_a_server_that_is_full_of_programs_is_busy_not_ill():
    """The check's own program waits its turn; that others end shows that programs run."""
    with serving("--workers", "1", "--queue", "8") as server, ThreadPoolExecutor(8) as pool:
        seconds = (2, 1, *[0.3] * 6)  # the check is answered when the second one ends
        held = [pool.submit(server.post, f"import time; time.sleep({each})", run_timeout=30) for each in seconds]
        assert until(lambda: occupied(server, 2))
        response = server.get("/health")
        assert response.status_code == 200
        health = response.json()
        assert (health["status"], health["execution"], health["capacity"]) == ("busy", None, 8)
        assert health["saturation"] == health["in_flight"] / 8 > 0.5
        assert {each.result().status_code for each in held} == {200}
        assert server.get("/health").json()["status"] == "ok"
