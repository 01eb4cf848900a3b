"""The pool under load and under attack: deadlines, dead workers, threads, event loops, signals, leftovers."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thor_ray.grading import Grade, GraderPool, GradeStatus, grade_answer
from thor_ray.grading.worker_process import AlgebraTimeoutError, WorkerProcess

ZETA = r"\zeta(\frac{7}{3})"
HARD = rf"{ZETA} + 10^{{-1400}}"
"""Differs from ``ZETA`` by so little that telling it takes minutes."""
SQUARE_ROOT = r"2\sqrt{3}"


@pytest.fixture
def pool() -> Iterator[GraderPool]:
    """A pool of its own for every test here, since they do it harm."""
    with GraderPool() as grader:
        yield grader


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def test_arithmetic_starts_no_process(pool: GraderPool) -> None:
    assert pool.grade(r"so \boxed{\frac{10}{4}}", "2.5").status is GradeStatus.CORRECT
    assert pool.grade(r"so \boxed{7}", "8").status is GradeStatus.WRONG
    assert pool.grade("so 7", "7").status is GradeStatus.NO_BOX
    assert pool.worker_pids() == []


def test_an_endless_comparison_is_killed_at_the_deadline() -> None:
    worker = WorkerProcess()
    worker.wait_until_ready()
    started = time.monotonic()
    with pytest.raises(AlgebraTimeoutError):
        worker.equal(ZETA, HARD, deadline=started + 0.5)
    assert time.monotonic() - started < 60
    assert not is_running(worker.pid)
    assert not worker.is_alive


def test_after_a_timeout_the_next_verdict_is_quick(pool: GraderPool) -> None:
    pool.warm_up()
    pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT)  # from here on there is a spare
    spare = pool._supply._spare
    assert spare is not None
    spare.wait_until_ready()
    hostile = pool.grade_answer(HARD, ZETA)
    assert hostile.status is GradeStatus.TIMEOUT
    assert hostile.reward is None
    assert hostile.milliseconds < 60_000
    ordinary = pool.grade_answer(r"\sqrt{48}", r"4\sqrt{3}")
    assert ordinary.status is GradeStatus.CORRECT
    assert ordinary.milliseconds < 60_000


def test_timeouts_are_not_remembered() -> None:
    with GraderPool(deadline_seconds=0.2) as pool:
        first, second = (pool.grade_answer(HARD, ZETA) for _ in range(2))
    assert first.status is second.status is GradeStatus.TIMEOUT
    assert second.milliseconds > 100


def test_a_worker_killed_from_outside_is_replaced(pool: GraderPool) -> None:
    for root in (12, 27, 75):
        pool.grade_answer(rf"\sqrt{{{root}}}", SQUARE_ROOT)
        for pid in pool.worker_pids():
            os.kill(pid, signal.SIGKILL)
        assert wait_until_gone(pool.worker_pids()) == []
    grade = pool.grade_answer(r"\sqrt{108}", r"6\sqrt{3}")
    assert grade.status is GradeStatus.CORRECT


def test_repeated_answers_come_from_memory(pool: GraderPool) -> None:
    first = pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT)
    repeats = [pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT) for _ in range(100)]
    assert {(grade.status, grade.reason, grade.path) for grade in repeats} == {(first.status, first.reason, first.path)}
    assert min(grade.milliseconds for grade in repeats) < 0.1


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    with GraderPool(cache_size=2) as pool:
        for answer in ("1", "2", "1", "3"):
            pool.grade_answer(answer, "5")
        assert [answer for _, answer, *_ in pool._ledger._grades] == ["1", "3"]


def test_sixteen_threads_share_one_pool() -> None:
    cases = [(rf"\sqrt{{{n * n * 3}}}", rf"{n + n % 2}\sqrt{{3}}", n % 2 == 0) for n in range(2, 50)]
    with GraderPool(workers=2) as pool, ThreadPoolExecutor(16) as threads:
        grades = list(threads.map(lambda case: pool.grade_answer(case[0], case[1]), cases))
    assert [grade.status is GradeStatus.CORRECT for grade in grades] == [case[2] for case in cases]


def test_an_event_loop_goes_on_while_algebra_runs() -> None:
    async def scenario() -> tuple[list[Grade], int]:
        async with GraderPool(workers=2) as pool:
            await asyncio.to_thread(pool.warm_up)
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            clock = asyncio.create_task(tick())
            grades = await asyncio.gather(
                pool.agrade(rf"\boxed{{{HARD}}}", ZETA),
                pool.agrade(r"\boxed{\sqrt{12}}", SQUARE_ROOT),
                pool.agrade(r"\boxed{5}", "5"),
                pool.agrade("nothing", "5"),
            )
            clock.cancel()
            return list(grades), ticks

    grades, ticks = asyncio.run(scenario())
    assert [grade.status for grade in grades] == [
        GradeStatus.TIMEOUT,
        GradeStatus.CORRECT,
        GradeStatus.CORRECT,
        GradeStatus.NO_BOX,
    ]
    assert ticks > 20


def test_the_callers_alarm_is_left_alone(pool: GraderPool) -> None:
    rang = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 3600)
        assert pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT).status is GradeStatus.CORRECT
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert rang == []


def test_sympy_stays_out_of_the_callers_process() -> None:
    program = (
        "import sys; from thor_ray.grading import grade_answer;"
        r"assert grade_answer(r'\sqrt{12}', r'2\sqrt{3}').status == 'correct';"
        "assert not {'sympy', 'math_verify', 'torch', 'ray', 'vllm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_closing_leaves_no_process() -> None:
    with GraderPool(workers=2) as pool:
        pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT)
        pids = pool.worker_pids()
        assert len(pids) == 2  # one at work, one spare
    assert wait_until_gone(pids, 0.0) == []
    with pytest.raises(RuntimeError):
        pool.grade_answer(r"\sqrt{27}", SQUARE_ROOT)
    pool.close()


def test_two_threads_may_end_a_worker_at_once() -> None:
    """The thread that gives up on it, and the one that closes the pool."""

    def end(worker: WorkerProcess) -> None:
        together.wait()
        worker.kill()

    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(25):
            worker = WorkerProcess()
            list(threads.map(end, [worker] * 4))
            assert not worker.is_alive
            assert not is_running(worker.pid)


def test_workers_die_with_an_owner_that_is_killed_even_at_work() -> None:
    program = (
        "import threading, time; from thor_ray.grading import GraderPool; pool = GraderPool(deadline_seconds=600);"
        r"pool.grade_answer(r'\sqrt{12}', r'2\sqrt{3}');"
        f"threading.Thread(target=pool.grade_answer, args=({HARD!r}, {ZETA!r}), daemon=True).start(); time.sleep(0.5);"
        "print(*pool.worker_pids(), flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2  # one at an endless comparison, one spare
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert wait_until_gone(pids, 3.0) == []


def test_a_forked_child_is_told_to_make_its_own_pool(pool: GraderPool) -> None:
    pool.warm_up()
    child = os.fork()
    if child == 0:
        try:
            pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT)
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_memory_of_a_worker_is_limited() -> None:
    worker = WorkerProcess()
    worker.wait_until_ready()
    limits = Path(f"/proc/{worker.pid}/limits").read_text(encoding="utf-8")
    worker.kill()
    assert str(2 << 30) in next(line for line in limits.splitlines() if line.startswith("Max address space"))


def test_a_worker_that_cannot_start_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with GraderPool() as pool:
        grade = pool.grade_answer(r"\sqrt{12}", SQUARE_ROOT)
    assert grade.status is GradeStatus.ERROR
    assert grade.reward is None
    assert "did not start" in grade.reason


def test_the_module_level_functions_need_no_set_up() -> None:
    assert grade_answer("5", "5").status is GradeStatus.CORRECT


@pytest.mark.parametrize(
    "arguments", [{"workers": 0}, {"deadline_seconds": 0.0}, {"cache_size": -1}], ids=lambda value: next(iter(value))
)
def test_senseless_settings_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GraderPool(**arguments)
