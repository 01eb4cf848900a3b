"""Sessions whose steps are awaited."""

import asyncio
import os

import pytest

from sandbox import Sandbox, SandboxError, SessionState, Status
from tests.integration.sandbox.processes import AT_WORK, at_work, eventually, is_alive, programs

ME = os.getpid()
KEPT, REBUILT = SessionState.KEPT, SessionState.REBUILT
DRAW = "import random, numpy, sympy.core.random as s\nprint(random.random(), numpy.random.rand(), s.rng.random())"


# asyncio.


async def test_steps_can_be_awaited(box):
    async with box.session(seed=3) as session:
        await session.step("x = 6")
        assert (await session.step("print(7 * x)")).stdout == "42\n"
        assert (await session.step("1 / 0")).state is REBUILT
        assert (await session.step("print(x)")).stdout == "6\n"
        assert (await session.step("while True: pass", timeout=0.3)).status is Status.TIMEOUT
        await session.reset()
        assert (await session.step("print('x' in globals())")).stdout == "False\n"
    with pytest.raises(SandboxError, match="closed"):
        await session.step("")


async def test_the_event_loop_goes_on_while_steps_run(box):
    async with box.session() as one, box.session() as other:
        code = "import time; print(time.monotonic()); time.sleep(0.6); print(time.monotonic())"
        both = asyncio.gather(*(each.step(code) for each in (one, other)))
        ticks = 0
        while not both.done():
            await asyncio.sleep(0.01)
            ticks += 1
        spans = [tuple(map(float, each.stdout.split())) for each in await both]
        assert ticks > 10
        assert max(begun for begun, _ in spans) < min(ended for _, ended in spans), "one after the other"


async def test_async_and_plain_sessions_give_the_same_results(box):
    codes = ["x = 1", DRAW, "1 / 0", "print(x)", "import sys; sys.exit(2)", "while True: pass"]
    async with box.session(seed=5, timeout=1) as session:
        awaited = [await session.step(code) for code in codes]
    with box.session(seed=5, timeout=1) as session:
        plain = await asyncio.to_thread(lambda: [session.step(code) for code in codes])
    assert [(each.status, each.stdout, each.stderr, each.state, each.seed) for each in awaited] == [
        (each.status, each.stdout, each.stderr, each.state, each.seed) for each in plain
    ]


@pytest.mark.parametrize(("on_error", "left"), [("rollback", "True"), ("keep", "False")])
async def test_cancelling_a_step_kills_it_and_leaves_a_defined_state(box, on_error, left):
    async with box.session(on_error=on_error) as session:
        await session.step("x = 1")
        (before,) = programs(ME)
        running = asyncio.create_task(session.step(f"x = 2\n{AT_WORK}while True: pass", timeout=60))
        await asyncio.to_thread(eventually, lambda: bool(at_work(ME)))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(eventually, lambda: not is_alive(before))
        result = await session.step("print('x' in globals() and x == 1)")
        assert (result.stdout, result.state) == (f"{left}\n", KEPT)


async def test_cancelling_a_replay_loses_nothing(box):
    async with box.session() as session:
        await session.step("import time; time.sleep(0.5); x = 1")
        await session.step("1 / 0")
        running = asyncio.create_task(session.step("print(2)"))
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await session.step("print(x)")).stdout == "1\n"


async def test_cancelling_the_opening_gives_the_place_back():
    async with Sandbox(workers=1, preload=(), max_sessions=1) as sandbox:
        async with sandbox.session():
            waiting = asyncio.create_task(sandbox.session().__aenter__())
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with sandbox.session(open_timeout=5) as session:
            assert (await session.step("print(1)")).ok


async def test_one_awaited_step_at_a_time(box):
    async with box.session() as session:
        running = asyncio.create_task(session.step("import time; time.sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(SandboxError, match="one at a time"):
            await session.step("")
        assert (await running).ok


async def test_closing_during_an_await_cancels_the_step(box):
    async with box.session() as session:
        running = asyncio.create_task(session.step(f"{AT_WORK}while True: pass", timeout=30))
        await asyncio.to_thread(eventually, lambda: bool(at_work(ME)))
        session.close()
        assert (await running).status is Status.CANCELLED


async def test_many_sessions_at_once(box):
    async def play(number: int) -> str:
        async with box.session() as session:
            await session.step(f"x = {number}")
            await session.step("1 / 0")
            return str((await session.step("print(x)")).stdout)

    assert await asyncio.gather(*map(play, range(24))) == [f"{number}\n" for number in range(24)]
