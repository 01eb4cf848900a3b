"""Places for sessions, and what ends them: closing, lost workers, killed owners, interrupts."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError, SandboxUnavailable, SessionState, Status
from sandbox.limits import MIB
from tests.integration.sandbox.processes import (
    AT_WORK,
    at_work,
    children,
    eventually,
    is_alive,
    programs,
    worker_processes,
)

ROOT = Path(__file__).parents[3]
ME = os.getpid()
KEPT, REBUILT, LOST = SessionState.KEPT, SessionState.REBUILT, SessionState.LOST


@pytest.fixture
def session(box):
    with box.session(seed=7) as session:
        yield session


# Places.


def test_sessions_wait_for_a_place_and_say_so():
    with Sandbox(workers=1, preload=(), max_sessions=1) as sandbox, sandbox.session() as first:
        with pytest.raises(SandboxUnavailable, match="max_sessions is 1"), sandbox.session(open_timeout=0.3):
            pass
        threading.Timer(0.3, first.close).start()
        with sandbox.session(open_timeout=10) as second:
            assert second.step("print(2)").stdout == "2\n"


def test_closing_a_session_that_waits_for_its_place_ends_the_wait():
    with Sandbox(workers=1, preload=(), max_sessions=1) as sandbox, sandbox.session():
        waiting = sandbox.session()
        threading.Timer(0.3, waiting.close).start()
        begun = time.monotonic()
        with pytest.raises(SandboxUnavailable, match="was closed"), waiting:
            pass
        assert time.monotonic() - begun < 60


def test_idle_sessions_leave_the_places_of_programs_alone():
    limits = Limits(memory_bytes=48 * MIB, scratch_bytes=16 * MIB)
    sandbox = Sandbox(workers=1, children_per_worker=1, preload=(), memory_budget=256 * MIB, limits=limits)
    with sandbox, sandbox.session() as one, sandbox.session() as two:
        assert sandbox.run("print(1)").stdout == "1\n"
        with pytest.raises(SandboxUnavailable, match="memory"), sandbox.session(open_timeout=0.2):
            pass
        assert [each.ok for each in sandbox.run_batch(["x = bytearray(30_000_000)"] * 6)] == [True] * 6
        assert one.step("print(1)").ok
        assert two.step("print(2)").ok


def test_a_session_keeps_its_place_when_it_is_rebuilt():
    with Sandbox(workers=1, preload=(), max_sessions=1) as sandbox, sandbox.session() as session:
        for _ in range(5):
            assert session.step("1 / 0").state is REBUILT
            assert session.step("print(1)").ok


# The ends of sessions, sandboxes, workers and owners.


def test_nothing_is_left_of_a_session(box):
    with box.session() as session:
        session.step("x = 1")
        assert len(programs(ME)) == 1
    assert eventually(lambda: not programs(ME))


def test_a_forgotten_session_ends_with_its_last_reference(box):
    session = box.session().__enter__()
    session.step("x = 1")
    assert len(programs(ME)) == 1
    del session
    gc.collect()
    assert eventually(lambda: not programs(ME))


def test_closing_the_sandbox_ends_its_sessions():
    sandbox = Sandbox(workers=1, preload=()).start()
    session = sandbox.session().__enter__()
    session.step("x = 1")
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        session.step("print(x)")
    session.close()
    with pytest.raises(SandboxError, match="not open"):
        sandbox.session()


@pytest.mark.parametrize("what", ["session", "sandbox"])
def test_closing_cancels_the_step_that_runs(what):
    sandbox = Sandbox(workers=1, preload=()).start()
    with sandbox.session() as session, ThreadPoolExecutor(1) as threads:
        running = threads.submit(session.step, f"{AT_WORK}while True: pass", timeout=30)
        assert eventually(lambda: bool(at_work(ME)))
        (session if what == "session" else sandbox).close()
        result = running.result(timeout=5)
        assert (result.status, result.state) == (Status.CANCELLED, LOST)
    sandbox.close()


@pytest.fixture
def others():
    """The workers of the sandbox that all tests share."""
    return set(worker_processes(ME))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("when", ["between", "during"])
@pytest.mark.parametrize("on_error", ["rollback", "keep"])
def test_a_lost_worker_costs_an_attempt_or_the_state(others, number, when, on_error):
    with Sandbox(workers=2, preload=()) as sandbox, sandbox.session(on_error=on_error) as session:
        workers = set(worker_processes(ME)) - others
        session.step("x = 41")
        (worker,) = [each for each in workers if children(each)]
        code = "import os, time; time.sleep(0.5); print(x + 1)"
        begun = time.monotonic()
        if when == "between":
            os.kill(worker, number)
            if number == signal.SIGKILL:
                assert eventually(lambda: not is_alive(worker))
            result = session.step(code, timeout=2)
        else:
            threading.Timer(0.2, os.kill, (worker, number)).start()
            result = session.step(code, timeout=2)
        assert time.monotonic() - begun < 60
        if number == signal.SIGSTOP:  # the process itself is well
            assert (result.status, result.stdout, result.attempt) == (Status.OK, "42\n", 1)
            os.kill(worker, signal.SIGKILL)
        elif on_error == "rollback":
            assert (result.status, result.stdout, result.state, result.attempt) == (Status.OK, "42\n", KEPT, 2)
        else:
            assert (result.status, result.state) == (Status.SANDBOX_ERROR, LOST)
            assert session.step("print('x' in globals())").stdout == "False\n"


def test_a_step_returns_in_time_although_its_worker_is_stopped_and_its_process_must_be_killed(others):
    with Sandbox(workers=1, preload=()) as sandbox, sandbox.session() as session:
        session.step("x = 1")
        (worker,) = set(worker_processes(ME)) - others
        os.kill(worker, signal.SIGSTOP)
        begun = time.monotonic()
        result = session.step("while True: pass", timeout=1)
        assert time.monotonic() - begun < 60
        assert (result.status, result.state) == (Status.TIMEOUT, REBUILT)
        assert session.step("print(x)").stdout == "1\n", "another worker has it"


OWNER = """
import sys, time
sys.path.insert(0, {root!r})
from sandbox import Sandbox
sandbox = Sandbox(workers=1, preload=()).start()
session = sandbox.session().__enter__()
session.step("x = 1")
print("running", flush=True)
session.step("while True: pass", timeout=60)
"""


def test_nothing_outlives_a_killed_owner():
    owner = subprocess.Popen([sys.executable, "-c", OWNER.format(root=str(ROOT))], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "running\n"
    family = worker_processes(owner.pid) + programs(owner.pid)
    assert len(family) == 2
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: not any(map(is_alive, family)))


def test_interrupting_a_step_leaves_a_defined_state(session):
    class InterruptError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    session.step("x = 1")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(InterruptError):
            session.step("x = 2\nwhile True: pass", timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert session.step("print(x)").stdout == "1\n"
