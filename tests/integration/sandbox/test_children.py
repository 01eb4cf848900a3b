"""Children that are made ahead, wait for memory, are replaced with their worker, or are answered for before their end."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox import Limits, Request, Sandbox, Status
from sandbox.limits import MIB
from tests.integration.sandbox.processes import children, eventually, is_alive, programs, worker_processes

ME = os.getpid()


def test_files_go_in_and_come_out(box):
    code = "import pathlib\ntext = pathlib.Path('in/a.txt').read_text()\npathlib.Path('out').write_text(text.upper())"
    result = box.run(code, files={"in/a.txt": b"hello"}, fetch=["out", "absent"])
    assert result.ok, result.stderr
    assert result.files == {"out": b"HELLO"}
    assert set(result.files_refused) == {"absent"}


def test_files_come_out_of_a_program_that_failed(box):
    result = box.run("open('log', 'w').write('so far'); 1 / 0", fetch=["log"])
    assert result.status is Status.RUNTIME_ERROR
    assert result.files == {"log": b"so far"}


def test_a_program_cannot_have_another_file_fetched(box, tmp_path):
    (tmp_path / "secret").write_text("secret")
    result = box.run(f"import os\nos.symlink({str(tmp_path / 'secret')!r}, 'out')\nos.mkdir('d')", fetch=["out", "d"])
    assert result.ok, result.stderr
    assert result.files == {}
    assert set(result.files_refused) == {"out", "d"}


def test_more_files_than_the_limit_are_refused_before_anything_runs(box):
    with pytest.raises(ValueError, match="transfer_bytes"):
        box.run("", files={"big": bytes(17 * MIB)})


@pytest.mark.parametrize("text", ["", "one line", "two\nlines\n", "ü" * 100_000])
def test_standard_input(box, text):
    result = box.run("import sys; data = sys.stdin.read(); print(len(data), sum(map(ord, data)))", stdin=text.encode())
    assert result.stdout.split() == [str(len(text)), str(sum(map(ord, text)))]


def test_input_reads_lines_until_there_are_none(box):
    result = box.run("print(int(input()) + int(input()))\ninput()", stdin=b"19\n23")
    assert (result.stdout, result.exc_type) == ("42\n", "EOFError")


def test_as_completed_yields_each_request_once_and_the_quick_ones_first(box):
    requests = (Request(f"import time; time.sleep({0.8 if i == 0 else 0}); print({i})") for i in range(12))
    seen = list(box.as_completed(requests, max_in_flight=4))
    assert sorted(index for index, _ in seen) == list(range(12))
    assert all(result.stdout == f"{index}\n" for index, result in seen)
    assert seen[-1][0] == 0


def test_nobody_runs_for_a_caller_that_stopped_asking(box):
    stream = box.as_completed("print(1)" if i == 0 else "while True: pass" for i in range(4))
    assert next(stream)[0] == 0
    stream.close()
    assert eventually(lambda: not programs(ME))


@pytest.fixture
def others():
    """The workers of the sandbox that all tests share."""
    return set(worker_processes(ME))


def workers_but(others: set[int]) -> set[int]:
    return set(worker_processes(ME)) - others


def programs_but(others: set[int]) -> list[int]:
    return [program for worker in workers_but(others) for program in children(worker)]


@pytest.fixture
def spared(others):
    with Sandbox(workers=1, preload=(), spare_children=2) as sandbox:
        yield sandbox


def test_a_spare_child_serves_like_any_other(spared):
    for number in range(20):
        result = spared.run(f"import os, random; print({number}, len(os.listdir('.')))", files={"f": b""})
        assert result.stdout == f"{number} 1\n", result
    assert (
        spared.run("import random; print(random.random())", seed=3).stdout
        == spared.run("import random; print(random.random())", seed=3).stdout
    )
    assert spared.run("while True: pass", timeout=0.5).status is Status.TIMEOUT
    assert spared.run("print(input())", stdin=b"spare").stdout == "spare\n"


def test_a_spare_child_that_is_killed_is_replaced(spared, others):
    assert eventually(lambda: len(programs_but(others)) == 2)
    killed = programs_but(others)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    # One that is given its order while it dies may still take it: then it is a program that somebody has killed.
    assert eventually(lambda: not any(map(is_alive, killed)))
    assert [spared.run(f"print({i})").stdout for i in range(4)] == [f"{i}\n" for i in range(4)]


def test_a_worker_is_replaced_after_so_many_children(others):
    with Sandbox(workers=1, preload=(), children_per_life=5) as sandbox:
        first = workers_but(others)
        results = sandbox.run_batch([f"print({i})" for i in range(23)])
        assert [result.stdout for result in results] == [f"{i}\n" for i in range(23)]
        assert {result.attempt for result in results} == {1}, "being replaced is no fault"
        assert eventually(lambda: len(workers_but(others)) == 1)
        assert not workers_but(others) & first


def test_programs_wait_for_their_share_of_the_memory(others):
    """Two fit into the budget at a time, although there are places for eight."""
    budget = {"memory_budget": 128 * MIB, "limits": Limits(memory_bytes=48 * MIB, scratch_bytes=16 * MIB)}
    with Sandbox(workers=2, children_per_worker=4, preload=(), **budget) as sandbox:  # type: ignore[arg-type]
        most = 0
        with ThreadPoolExecutor() as threads:
            batch = threads.submit(sandbox.run_batch, ["import time; time.sleep(0.2)"] * 10)
            while not batch.done():
                most = max(most, len(programs_but(others)))
                time.sleep(0.01)
        assert all(result.ok for result in batch.result())
        assert most <= 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_the_call_returns_in_time_when_its_only_worker_fails_late(number, others):
    with Sandbox(workers=1, preload=()) as sandbox, ThreadPoolExecutor() as threads:
        call = threads.submit(sandbox.run, "import time; time.sleep(1.4)", timeout=1.5)
        assert eventually(lambda: bool(programs_but(others)))
        (worker,) = workers_but(others)
        time.sleep(0.8)
        os.kill(worker, number)
        result = call.result(timeout=60)
        assert result.status in (Status.SANDBOX_ERROR, Status.TIMEOUT)
        assert sandbox.run("print(1)").ok


def test_a_program_with_too_many_threads_is_ended():
    code = """
import threading, time
threading.stack_size(32768)
for _ in range(400): threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
time.sleep(5)
"""
    with Sandbox(workers=1, preload=(), limits=Limits(threads=100)) as sandbox:
        assert sandbox.run(code).status is Status.MEMORY_LIMIT
        few = "import threading\nfor _ in range(40): threading.Thread(target=print).start()"
        assert sandbox.run(f"import threading; threading.stack_size(32768)\n{few}").ok


def test_threads_of_the_usual_size(box):
    code = """
import threading, time
threads = [threading.Thread(target=lambda: [time.sleep(0.2), list(range(10_000))]) for _ in range(40)]
for thread in threads: thread.start()
print(threading.active_count())
for thread in threads: thread.join()
"""
    result = box.run(code)
    assert (result.status, result.stdout) == (Status.OK, "41\n"), result.stderr
