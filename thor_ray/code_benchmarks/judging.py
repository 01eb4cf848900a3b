"""From responses to verdicts, many at a time: what the evaluation and the command line share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from itertools import islice
from typing import TypeVar

from sandbox import Sandbox
from thor_ray.code_benchmarks.answer_key import AnswerKey, AnswerKeyError, make_answer_key
from thor_ray.code_benchmarks.assembly import program_of
from thor_ray.code_benchmarks.checking import check_program
from thor_ray.code_benchmarks.problem import CodeProblem
from thor_ray.code_benchmarks.verdict import CodeStatus, CodeVerdict

T = TypeVar("T")


class CodeJudge:
    """Judges responses to programming tasks; for one asyncio loop.

        async with Sandbox(limits=SANDBOX_LIMITS) as sandbox:
            verdict = await CodeJudge(sandbox).judge(problem, response)

    A problem's answer key is made when its first response comes, and kept.

    Args:
        sandbox: An open one, which runs candidates, references and comparisons.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._keys: dict[str, tuple[CodeProblem, asyncio.Task[AnswerKey]]] = {}

    async def judge(self, problem: CodeProblem, response: str) -> CodeVerdict:
        """The verdict on the program that a response holds.

        Args:
            problem: What was asked.
            response: All that the policy wrote.

        Raises:
            AnswerKeyError: the problem's reference solution fails.
            SandboxError: the sandbox is not open.
        """
        program = program_of(problem, response)
        if program is None:
            return CodeVerdict(problem.id, CodeStatus.NO_CODE, "the response holds no program")
        return await self.check(problem, program)

    async def check(self, problem: CodeProblem, program: str) -> CodeVerdict:
        """The verdict on a whole program.

        Raises:
            AnswerKeyError: the problem's reference solution fails.
            SandboxError: the sandbox is not open.
        """
        return await check_program(await self.key(problem), program, self._sandbox)

    async def key(self, problem: CodeProblem) -> AnswerKey:
        """The problem's answer key.

        Raises:
            AnswerKeyError: the problem's reference solution fails.
            SandboxError: the sandbox is not open.
        """
        known = self._keys.get(problem.id)
        if known is None or known[0] != problem:
            known = (problem, asyncio.create_task(make_answer_key(problem, self._sandbox)))
            self._keys[problem.id] = known
        try:
            # Who gives up waiting must not take the key from the others.
            return await asyncio.shield(known[1])
        except AnswerKeyError:
            self._keys.pop(problem.id, None)  # it may have been the sandbox's fault
            raise


async def in_order_of_end(works: Iterable[Callable[[], Coroutine[None, None, T]]], in_flight: int) -> AsyncIterator[T]:
    """Results of many works as they end, so many of them at a time; what is left is cancelled with the iteration.

    Args:
        works: What to begin, taken when there is room.
        in_flight: Works at a time, at least 1.
    """
    left = iter(works)
    running: set[asyncio.Task[T]] = set()
    try:
        while True:
            running |= {asyncio.create_task(work()) for work in islice(left, in_flight - len(running))}
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
