"""Many callers, lost workers, lost owners, cancellation, closing."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError, SandboxUnavailable, Status
from sandbox.inside import landlock
from sandbox.limits import MIB
from tests.integration.sandbox.processes import (
    AT_WORK,
    at_work,
    children,
    command_line,
    eventually,
    is_alive,
    programs,
    worker_processes,
)

ROOT = Path(__file__).parents[3]


def test_many_threads_at_once(box):
    with ThreadPoolExecutor(32) as pool:
        outputs = list(pool.map(lambda i: box.run(f"print({i})", timeout=30).stdout, range(96)))
    assert outputs == [f"{i}\n" for i in range(96)]


async def test_hundreds_of_awaits_at_once(box):
    results = await asyncio.gather(*(box.arun(f"print({i})", timeout=30) for i in range(200)))
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(200)]
    assert max(result.queue_ms for result in results) > 10 * min(result.queue_ms for result in results)


async def test_the_event_loop_goes_on_while_a_program_runs(box):
    running = asyncio.create_task(box.arun("import time; time.sleep(1)"))
    ticks = 0
    while not running.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert (await running).status is Status.OK
    assert ticks > 10


async def test_queue_time_does_not_count_as_run_time():
    async with Sandbox(workers=1, preload=(), children_per_worker=1) as sandbox:
        busy = asyncio.create_task(sandbox.arun("import time; time.sleep(0.6)"))
        await asyncio.sleep(0.1)
        result = await sandbox.arun("print(1)", timeout=0.4)
        await busy
    assert result.status is Status.OK
    assert result.queue_ms > 300


async def test_cancelling_an_await_kills_the_program(box):
    task = asyncio.create_task(box.arun("while True: pass", timeout=60))
    assert await asyncio.to_thread(eventually, lambda: len(programs(os.getpid())) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(eventually, lambda: not programs(os.getpid()))


async def test_cancelling_a_queued_await_means_that_it_never_runs():
    async with Sandbox(workers=1, preload=(), children_per_worker=1) as sandbox:
        busy = asyncio.create_task(sandbox.arun("import time; time.sleep(0.5)"))
        await asyncio.sleep(0.1)
        queued = asyncio.create_task(sandbox.arun("while True: pass", timeout=60))
        await asyncio.sleep(0.1)
        queued.cancel()
        assert (await busy).status is Status.OK
        assert (await sandbox.arun("print(1)")).status is Status.OK


async def test_cancelling_at_any_moment_leaves_nothing():
    """Of sixty calls each is cancelled a little later in its life than the one before: queued, forked, running, ended."""
    async with Sandbox(workers=1, preload=()) as sandbox:
        for index in range(60):
            task = asyncio.create_task(sandbox.arun("import time; time.sleep(0.01); print(1)", timeout=10))
            await asyncio.sleep(index * 0.0005)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError) or outcome.stdout == "1\n"  # type: ignore[union-attr]
        assert (await sandbox.arun("print(2)")).stdout == "2\n"


async def test_a_thousand_calls_at_once_share_a_budget_of_memory(box):
    """Three fit at a time, and every call gets its turn."""
    limits = Limits(memory_bytes=64 * MIB)
    ours = set(worker_processes(os.getpid()))
    async with Sandbox(
        workers=2, children_per_worker=8, preload=(), limits=limits, memory_budget=3 * limits.share_bytes
    ) as sandbox:
        calls = asyncio.gather(*(sandbox.arun(f"print({i})", timeout=10) for i in range(1000)))
        most = 0
        while not calls.done():
            workers = set(worker_processes(os.getpid())) - ours
            most = max(most, sum(len(children(worker)) for worker in workers))
            await asyncio.sleep(0.01)
        results = await calls
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(1000)]
    assert 1 <= most <= 3


def test_interrupting_a_call_kills_the_program(box):
    class InterruptError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(InterruptError):
            box.run("while True: pass", timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert eventually(lambda: not programs(os.getpid()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_worker_costs_a_retry(number, workers):
    with Sandbox(workers=workers, preload=()) as sandbox, ThreadPoolExecutor(1) as pool:
        before = set(worker_processes(os.getpid()))
        running = pool.submit(sandbox.run, "import time; time.sleep(0.5); print('done')", timeout=10)
        assert eventually(lambda: bool(programs(os.getpid())))
        for worker in [pid for pid in before if children(pid)]:
            os.kill(worker, number)
        result = running.result(timeout=30)
        assert (result.status, result.stdout, result.attempt) == (Status.OK, "done\n", 2)
        assert sandbox.run("print(1)").stdout == "1\n"


def test_a_worker_lost_twice_is_a_sandbox_error_and_the_next_call_works():
    with Sandbox(workers=1, preload=()) as sandbox, ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, f"{AT_WORK}import time; time.sleep(30)", timeout=40)
        for _ in range(2):
            assert eventually(lambda: bool(at_work(os.getpid())))
            victims = [pid for pid in worker_processes(os.getpid()) if children(pid)]
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: not any(is_alive(pid) for pid in victims))  # noqa: B023
        result = running.result(timeout=30)
        assert (result.status, result.attempt, result.exc_type) == (Status.SANDBOX_ERROR, 2, "SandboxError")
        assert "signal 9" in str(result.exc_message)
        assert result.isolation is None
        assert sandbox.run("print(1)").stdout == "1\n"


def test_a_timeout_is_kept_even_if_the_worker_is_stopped():
    with Sandbox(workers=1, preload=()) as sandbox, ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, f"{AT_WORK}while True: pass", timeout=2)
        # A worker that is stopped before it has told of the child counts as failed, and the call is tried again.
        assert eventually(lambda: bool(at_work(os.getpid())))
        time.sleep(0.2)  # it tells once it has forked
        for worker in [pid for pid in worker_processes(os.getpid()) if children(pid)]:
            os.kill(worker, signal.SIGSTOP)
        assert running.result(timeout=20).status is Status.TIMEOUT
        assert sandbox.run("print(1)").stdout == "1\n"


def test_closing_cancels_what_runs_and_what_waits():
    with Sandbox(workers=1, preload=(), children_per_worker=1) as sandbox:
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(sandbox.run("while True: pass", timeout=60)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert eventually(lambda: bool(programs(os.getpid())))
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [Status.CANCELLED] * 3
    with pytest.raises(SandboxError, match="not open"):
        sandbox.run("print(1)")


def test_two_sandboxes_in_one_process_do_not_disturb_each_other(box):
    with Sandbox(workers=1, preload=(), limits=Limits(wall_seconds=0.3)) as other:
        assert other.run("while True: pass").status is Status.TIMEOUT
        assert box.run("print(1)").ok
    assert box.run("print(2)").ok


def test_a_sandbox_can_be_opened_again_and_a_forgotten_one_is_closed():
    sandbox = Sandbox(workers=1, preload=())
    for _ in range(2):
        with sandbox:
            assert sandbox.run("print(1)").ok
    forgotten = Sandbox(workers=1, preload=()).start()
    assert forgotten.run("print(1)").ok
    del forgotten  # the check after each test finds what is left


def test_misuse_says_what_to_do():
    with pytest.raises(SandboxError, match="start"):
        Sandbox().run("print(1)")
    with pytest.raises(ValueError, match="workers is 0"):
        Sandbox(workers=0)
    with pytest.raises(ValueError, match="min_level is 9"):
        Sandbox(min_level=9)
    with Sandbox(workers=1, preload=()) as sandbox:
        with pytest.raises(SandboxError, match="open already"):
            sandbox.start()
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                sandbox.run("print(1)")
            except SandboxError as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        assert b"another process" in os.read(read, 1000)
        os.close(read)


def test_a_preload_that_does_not_exist_is_refused_by_name():
    with pytest.raises(SandboxUnavailable, match=r"No module named 'absent_module'.*preload"):
        Sandbox(workers=1, preload=("absent_module",)).start()


def test_when_no_worker_starts_any_more_calls_fail_instead_of_waiting_and_recover_later(tmp_path):
    library = tmp_path / "library_of_mine.py"
    library.write_text("ANSWER = 42\n")
    with Sandbox(workers=1, preload=("library_of_mine",), library_paths=[str(tmp_path)]) as sandbox:
        assert sandbox.run("import library_of_mine as l; print(l.ANSWER)").stdout == "42\n"
        library.rename(tmp_path / "hidden")
        for worker in [pid for pid in worker_processes(os.getpid()) if str(tmp_path) in command_line(pid)]:
            os.kill(worker, signal.SIGKILL)
        failed = sandbox.run("print(1)")
        assert failed.status is Status.SANDBOX_ERROR
        assert "No module named 'library_of_mine'" in str(failed.exc_message)
        (tmp_path / "hidden").rename(library)
        assert sandbox.run("print(1)").stdout == "1\n"


def test_no_room_for_scratch_directories_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with pytest.raises(SandboxUnavailable, match="TMPDIR"):
        Sandbox(workers=1, preload=()).start()


OWNER = """
import sys, threading, time
sys.path.insert(0, {root!r})
from sandbox import Sandbox
sandbox = Sandbox(workers=1, preload=()).start()
threading.Thread(target=sandbox.run, args=({program!r},), kwargs=dict(timeout=60)).start()
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_owner(number):
    source = OWNER.format(root=str(ROOT), program=f"{AT_WORK}while True: pass")
    owner = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "started\n"
    assert eventually(lambda: bool(at_work(owner.pid)))
    zygotes, running = children(owner.pid), programs(owner.pid)
    assert (len(zygotes), len(running)) == (1, 1)
    owner.send_signal(number)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: not any(map(is_alive, zygotes + running)))


def run_script(script: str, *command: str) -> str:
    source = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{textwrap.dedent(script)}"
    done = subprocess.run(
        [*(command or (sys.executable,)), "-c", source], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(landlock.abi_version() < 6, reason="Landlock scopes signals from version 6 on")
def test_landlock_holds_alone_even_where_the_filter_would_refuse_first(tmp_path):
    """Two layers close the same doors; this one is tried without the other."""
    output = run_script(f"""
        import os, socket
        from sandbox.inside import kernel, landlock
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        scratch = os.open({str(tmp_path)!r}, os.O_PATH)
        os.chdir({str(tmp_path)!r})
        listener = socket.create_server(("127.0.0.1", 0))
        landlock.Rules(landlock.abi_version(), landlock.open_directories(["/usr/lib"])).confine(scratch)
        open("inside", "w").close()
        doors = [
            lambda: os.kill(os.getppid(), 0),
            lambda: socket.create_connection(listener.getsockname()),
            lambda: open("/etc/passwd"),
            lambda: open("/usr/lib/new", "w"),
            lambda: os.mkfifo("fifo"),
            lambda: os.listdir("/"),
        ]
        for door in doors:
            try:
                door()
            except PermissionError:
                print("closed")
            else:
                print("open")
    """)
    assert output.split() == ["closed"] * 6


def test_works_as_a_plain_user_without_privileges():
    python = "/usr/bin/python3"
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python]
    try:
        subprocess.run(
            [
                *drop,
                "-c",
                f"import sys, pathlib; assert sys.version_info >= (3, 11); pathlib.Path({str(ROOT)!r}, 'sandbox/api.py').read_text()",
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no interpreter of at least Python 3.11 that a plain user may run, or not root")
    output = run_script(
        """
        from sandbox import Sandbox
        with Sandbox(workers=1, preload=()) as sandbox:
            result = sandbox.run("print(6 * 7)")
            print(result.stdout.strip(), result.isolation.level >= 2, result.isolation.user_id)
        """,
        *drop,
    )
    assert output.split() == ["42", "True", "65534"]


def test_programs_hear_the_signals_that_their_owner_ignores_or_blocks():
    output = run_script("""
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        from sandbox import Sandbox
        with Sandbox(workers=1, preload=()) as sandbox:
            for name in ("SIGINT", "SIGTERM", "SIGALRM"):
                print(sandbox.run(f"import signal; signal.raise_signal(signal.{name}); print('deaf')").status)
    """)
    assert output.split() == ["runtime_error", "crash", "crash"]


def test_importing_is_cheap():
    output = run_script(
        "import time; t = time.perf_counter(); import sandbox; print(time.perf_counter() - t, 'numpy' in sys.modules)"
    )
    seconds, heavy = output.split()
    assert float(seconds) < 0.5
    assert heavy == "False"
