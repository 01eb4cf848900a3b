"""The right outputs of a problem, and how long a program may take for each: made once, then used for every candidate.

Where a benchmark has no outputs, its reference solution gives them, in a run of its own. Nothing of a key is
ever in the reach of a candidate's process.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from sandbox import Result, Sandbox, Status
from thor_ray.code_benchmarks.batches import batches
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall, Suite
from thor_ray.code_benchmarks.programs import LONGEST_RUN, OUTPUTS, call_request

MIN_SECONDS: Final = 1.0
"""For each call at the least, as EvalPlus grants."""
REFERENCE_FACTOR: Final = 4.0
"""Times as long as the reference takes, as EvalPlus grants."""

_REFERENCE_SECONDS: Final = LONGEST_RUN
"""For each of the reference's calls: nobody knows yet how long it takes."""


class AnswerKeyError(RuntimeError):
    """A reference solution does not give the outputs that it is there for; the message names the problem and why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tests that run in one process.

    Attributes:
        first: The number of the first one in its suite.
        inputs: See `Suite`.
        expected: The right outputs, see `Suite`.
        seconds: Of the processor's time that each may take.
    """

    first: int
    inputs: tuple[str, ...]
    expected: tuple[str, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SuiteKey:
    """A suite, ready to be run.

    Attributes:
        name: Of the suite.
        batches: Its tests, in their order.
    """

    name: str
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """All that decides whether a program solves a problem.

    Attributes:
        problem: The problem.
        suites: Of the problem, in their order.
    """

    problem: CodeProblem
    suites: tuple[SuiteKey, ...]


async def make_answer_key(problem: CodeProblem, sandbox: Sandbox) -> AnswerKey:
    """Finds out what is right.

    Args:
        problem: The problem.
        sandbox: An open one; it runs the reference solution, if outputs are not known.

    Raises:
        AnswerKeyError: the reference solution fails.
        SandboxError: the sandbox is not open.
    """
    return AnswerKey(problem, tuple([await _suite_key(problem, suite, sandbox) for suite in problem.suites]))


async def _suite_key(problem: CodeProblem, suite: Suite, sandbox: Sandbox) -> SuiteKey:
    if suite.expected is not None:
        expected, spent = suite.expected, (0.0,) * len(suite.inputs)
        seconds = (problem.seconds,) * len(suite.inputs)
    else:
        expected, spent = await _reference_outputs(problem, suite, sandbox)
        seconds = tuple(max(MIN_SECONDS, REFERENCE_FACTOR * each) for each in spent)
    sizes = [len(one) + len(other) for one, other in zip(suite.inputs, expected, strict=True)]
    return SuiteKey(
        suite.name,
        tuple(
            Batch(part.start, suite.inputs[part], expected[part], seconds[part])
            for part in batches(sizes, spent, sandbox.limits.transfer_bytes)
        ),
    )


async def _reference_outputs(
    problem: CodeProblem, suite: Suite, sandbox: Sandbox
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Outputs of the reference solution, and the processor's seconds that each took.

    A run that reaches the sandbox's longest deadline is gone on with where it stopped.
    """
    assert problem.reference is not None
    assert isinstance(problem.interface, FunctionCall)
    lines: list[str] = []
    spent: list[float] = []
    while len(lines) < len(suite.inputs):
        left = suite.inputs[len(lines) :]
        request = call_request(problem, problem.reference, left, (_REFERENCE_SECONDS,) * len(left), LONGEST_RUN)
        result = await sandbox.arun(
            request.code, timeout=request.timeout, seed=0, files=request.files, fetch=(OUTPUTS,)
        )
        records = _complete_records(result)
        good = [record for record in records if "failure" not in record]
        if len(good) < len(records) or not (good and (len(good) == len(left) or result.status is Status.TIMEOUT)):
            raise AnswerKeyError(_complaint(problem, suite, len(lines) + len(good), records, result))
        spent += [float(record.pop("seconds")) for record in good]
        lines += map(json.dumps, good)
    return tuple(lines), tuple(spent)


def _complete_records(result: Result) -> list[dict[str, Any]]:
    """The lines that the reference solution's run has written to their end."""
    return [json.loads(line) for line in result.files.get(OUTPUTS, b"").split(b"\n")[:-1]]


def _complaint(problem: CodeProblem, suite: Suite, index: int, records: list[dict[str, Any]], result: Result) -> str:
    last = records[-1] if records else {}
    told = last.get("reason") or result.error_line or str(result.status)
    advice = "; let programs use more memory (Limits.memory_bytes)" if _wants_memory(last, result) else ""
    return f"the reference solution of {problem.id} fails at {suite.name} test {index}: {told}{advice}"


def _wants_memory(last: dict[str, Any], result: Result) -> bool:
    return last.get("failure") == "memory" or result.status is Status.MEMORY_LIMIT
