"""How a server starts, whom it lets in, how it ends, and that nothing outlives it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import sandbox
from tests.integration.sandbox.http_server import COMMAND, ENDLESS, PATIENCE_SECONDS, Server, serving, until
from tests.integration.sandbox.processes import children, command_line, is_alive, programs

TOKEN = "0123456789abcdef"


def runs_a_program(server: Server) -> bool:
    return len(programs(server.process.pid)) == 1


def test_with_a_token_nothing_runs_without_it():
    with serving("--workers", "1", "--host", "0.0.0.0", THOR_SANDBOX_TOKEN=TOKEN) as server:
        assert server.get("/v1/ping").status_code == 200
        for response in (server.post(), server.get("/health"), server.get("/openapi.json")):
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert response.json()["status"] == "SandboxError"
        wrong = {"Authorization": f"Bearer {TOKEN[:-1]}"}
        assert httpx.post(f"{server.url}/run_code", json={"code": "1"}, headers=wrong).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        spy = {"code": "import os; print(dict(os.environ))"}
        response = httpx.post(f"{server.url}/run_code", json=spy, headers=right, timeout=PATIENCE_SECONDS)
        assert response.json()["status"] == "Success"
        assert TOKEN not in response.text
        address = server.url.replace("http://", f"http://anybody:{TOKEN}@")  # for clients that know no tokens
        assert httpx.post(f"{address}/run_code", json={"code": "1"}, timeout=PATIENCE_SECONDS).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_those_it_has_let_in_and_nobody_else(number):
    with serving("--workers", "1") as server, ThreadPoolExecutor(1) as pool:
        workers = children(server.process.pid)
        assert workers
        held = pool.submit(server.post, "import time; time.sleep(1); print('slept')", run_timeout=30)
        assert until(lambda: runs_a_program(server))
        server.process.send_signal(number)
        assert until(lambda: not accepts(server))
        assert held.result().json()["run_result"]["stdout"] == "slept\n"
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert until(lambda: not any(is_alive(pid) for pid in workers))


def accepts(server: Server) -> bool:
    try:
        with server.connect():
            return True
    except OSError:
        return False


def test_a_terminal_s_interrupt_reaches_all_of_its_processes_and_stops_it_as_gently():
    with serving("--workers", "1") as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.post, "import time; time.sleep(1); print('slept')", run_timeout=30)
        assert until(lambda: runs_a_program(server))
        os.killpg(server.process.pid, signal.SIGINT)
        assert held.result().json()["run_result"]["stdout"] == "slept\n"
        assert server.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(("grace", "times"), [("0.5", 1), ("60", 2)])
def test_a_program_that_does_not_end_is_ended_after_the_grace_or_when_told_again(grace, times):
    with serving("--workers", "1", "--grace", grace) as server, ThreadPoolExecutor(1) as pool:
        workers = children(server.process.pid)
        held = pool.submit(server.post, ENDLESS, run_timeout=60)
        assert until(lambda: runs_a_program(server))
        for _ in range(times):
            server.process.send_signal(signal.SIGTERM)
            assert until(lambda: not accepts(server))
        response = held.result()
        assert (response.status_code, response.json()["status"]) == (503, "SandboxError")
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert until(lambda: not any(is_alive(pid) for pid in workers))


def test_nothing_outlives_a_server_that_is_killed():
    with serving("--workers", "1") as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.post, ENDLESS, run_timeout=60)
        assert until(lambda: runs_a_program(server))
        left = [*children(server.process.pid), *programs(server.process.pid)]
        assert len(left) >= 2
        server.process.kill()
        with pytest.raises(httpx.TransportError):
            held.result()
        assert until(lambda: not any(is_alive(pid) for pid in left))


def test_the_folder_serves_alone(tmp_path):
    """Copied out of the project, with FastAPI and uvicorn but nothing else of ours in reach."""
    shutil.copytree(Path(sandbox.__file__).parent, tmp_path / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import sys; sys.path[:] = [p for p in sys.path if p not in {hidden!r}]; sys.path.insert(0, '.'); sys.argv[0] = 'server'; "
    hidden = [str(Path(sandbox.__file__).parents[1])]
    script = (
        script.format(hidden=hidden)
        + "import runpy; runpy.run_module('sandbox.http', run_name='__main__', alter_sys=True)"
    )
    command = (sys.executable, "-P", "-c", script)
    with serving("--workers", "1", command=command, cwd=tmp_path) as server:
        assert str(tmp_path) in "".join(command_line(pid) for pid in children(server.process.pid))
        assert server.post().json()["run_result"]["stdout"] == "42\n"
        assert server.stop() == 0


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """`thor sandbox serve` in a shell that has set limits on open files."""
    return ("bash", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "bash", *COMMAND)


def test_a_low_soft_limit_on_open_files_is_raised():
    with (
        serving("--workers", "1", "--queue", "10", command=limited(64, 4096)) as server,
        contextlib.ExitStack() as idle,
    ):
        for _ in range(200):
            idle.enter_context(server.connect())
        assert server.post().json()["status"] == "Success"


def test_a_low_hard_limit_on_open_files_is_an_error_of_the_user():
    done = subprocess.run(limited(64, 512), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 2
    assert "this process may have 512" in done.stderr


def test_a_port_that_is_taken_is_an_error_of_the_user():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 cannot be listened on: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
