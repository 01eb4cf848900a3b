"""Every kind of caller gets the same verdicts: threads, event loops, Ray actors; none of them is disturbed."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from thor_ray.grading import Grade, GraderPool, GradeStatus

ZETA = r"\zeta(\frac{7}{3})"
HANGING = (rf"\boxed{{{ZETA} + 10^{{-1400}}}}", ZETA)
"""A response and a gold answer that take minutes to tell apart."""

CASES = [
    (
        rf"so \boxed{{\sqrt{{{3 * n * n}}}}}",
        rf"{n + n % 2}\sqrt{{3}}",
        (GradeStatus.WRONG if n % 2 else GradeStatus.CORRECT),
    )
    for n in range(2, 66)
]
"""Responses that need algebra, golds, and the right verdicts."""


def statuses(grades: list[Grade]) -> list[GradeStatus]:
    return [grade.status for grade in grades]


def test_thirty_two_threads_share_a_pool_beside_answers_that_hang() -> None:
    hostile: list[Grade] = []
    with GraderPool(workers=2, deadline_seconds=1.0) as pool:
        attackers = [threading.Thread(target=lambda: hostile.append(pool.grade(*HANGING))) for _ in range(2)]
        for attacker in attackers:
            attacker.start()
        with ThreadPoolExecutor(32) as threads:
            grades = list(threads.map(lambda case: pool.grade(case[0], case[1]), CASES))
        for attacker in attackers:
            attacker.join()
    assert statuses(grades) == [expected for _, _, expected in CASES]
    assert statuses(hostile) == [GradeStatus.TIMEOUT] * 2


def test_an_event_loop_keeps_its_pace() -> None:
    async def scenario() -> tuple[list[Grade], float]:
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - before)

        async with GraderPool(workers=2, deadline_seconds=1.0) as pool:
            await asyncio.to_thread(pool.warm_up)
            clock = asyncio.create_task(watch())
            grades = await pool.agrade_many([HANGING, *((response, gold) for response, gold, _ in CASES)])
            clock.cancel()
        return grades, worst

    grades, worst = asyncio.run(scenario())
    assert statuses(grades) == [GradeStatus.TIMEOUT, *(expected for _, _, expected in CASES)]
    assert worst < 0.5


def test_a_cancelled_caller_leaves_a_pool_that_works() -> None:
    async def scenario() -> Grade:
        async with GraderPool(deadline_seconds=1.0) as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await pool.agrade(*HANGING)
            return await pool.agrade(*CASES[0][:2])

    assert asyncio.run(scenario()).status is CASES[0][2]


def test_an_async_ray_actor_grades_many_at_a_time(ray_cluster: Any) -> None:
    import ray

    class GradingActor:
        """As a rollout actor does: one pool, many coroutines."""

        def __init__(self) -> None:
            self.pool = GraderPool(workers=2, deadline_seconds=1.0)

        async def grade(self, response: str, gold: str) -> Grade:
            return await self.pool.agrade(response, gold)

        async def counts(self) -> dict[str, int]:
            return self.pool.counts()

    actor_class: Any = ray.remote(num_cpus=0, max_concurrency=64)(GradingActor)
    actor = actor_class.remote()
    hostile = actor.grade.remote(*HANGING)
    grades = ray.get([actor.grade.remote(response, gold) for response, gold, _ in CASES], timeout=120)
    assert statuses(grades) == [expected for _, _, expected in CASES]
    assert ray.get(hostile, timeout=30).status is GradeStatus.TIMEOUT
    counts = ray.get(actor.counts.remote(), timeout=30)
    assert sum(counts.values()) == len(CASES) + 1
    assert counts["timeout"] == 1
    ray.kill(actor)


def test_a_threaded_ray_actor_grades_off_the_main_thread(ray_cluster: Any) -> None:
    import ray

    class ThreadedActor:
        """Its methods run in threads that are not the main one, where signals cannot be set."""

        def __init__(self) -> None:
            self.pool = GraderPool()

        def grade(self, response: str, gold: str) -> Grade:
            return self.pool.grade(response, gold)

    actor_class: Any = ray.remote(num_cpus=0, max_concurrency=8)(ThreadedActor)
    actor = actor_class.remote()
    grades = ray.get([actor.grade.remote(response, gold) for response, gold, _ in CASES], timeout=120)
    assert statuses(grades) == [expected for _, _, expected in CASES]
    ray.kill(actor)


def test_alarms_and_their_handlers_stay_the_callers() -> None:
    rang: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with GraderPool(deadline_seconds=1.0) as pool:
            assert pool.grade(*HANGING).status is GradeStatus.TIMEOUT
        assert rang == [signal.SIGALRM]
        signal.setitimer(signal.ITIMER_REAL, 3600)
        with GraderPool() as pool:
            assert pool.grade(*CASES[0][:2]).status is CASES[0][2]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_gmpy2_changes_no_verdict_and_no_deadline() -> None:
    """mpmath computes with gmpy2 where it is installed, in calls that no signal can interrupt; ours is SIGKILL."""
    pytest.importorskip("gmpy2", reason="NOT CHECKED: gmpy2 is not installed (pip install gmpy2)")
    program = (
        "import time; from thor_ray.grading import GraderPool; pool = GraderPool(); pool.warm_up(); begun = time.monotonic();"
        f"assert pool.grade{HANGING!r}.status == 'timeout'; assert time.monotonic() - begun < 60;"
        f"assert pool.grade{CASES[0][:2]!r}.status == {CASES[0][2].value!r}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
