"""Runs a candidate's program on a problem's tests and says what became of it.

The candidate's process gets inputs and nothing else; it writes what the program returns or prints. Another process, in
which no candidate's code has ever been, then compares that with the answer key. So a program can pretend anything about
itself, and what it pretends is compared: an object that equals everything arrives as its class's name, an exit leaves
outputs missing, and no expected output is anywhere near code that nobody has read.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox import Limits, Request, Result, Sandbox, Status
from thor_ray.code_benchmarks.answer_key import AnswerKey, Batch
from thor_ray.code_benchmarks.problem import CodeProblem, Script
from thor_ray.code_benchmarks.programs import (
    LONGEST_RUN,
    OUTPUTS,
    PRINTED,
    call_request,
    judge_request,
    script_request,
)
from thor_ray.code_benchmarks.verdict import CodeStatus, CodeVerdict

SANDBOX_LIMITS: Final = Limits(memory_bytes=2 << 30)
"""What EvalPlus's own solutions fit into: one of MBPP+ returns a list of a gigabyte."""

_START_SECONDS: Final = 10.0
"""By the clock, for a run's imports and the candidate's own."""
_CLOCK_FACTOR: Final = 2.0
"""Seconds of the clock for each of the processor's that the tests of a run may use together."""

_STATUSES: Final[Mapping[Status, CodeStatus]] = {
    Status.TIMEOUT: CodeStatus.TIMEOUT,
    Status.MEMORY_LIMIT: CodeStatus.MEMORY,
    Status.CRASH: CodeStatus.CRASH,
    Status.CANCELLED: CodeStatus.SANDBOX_ERROR,
    Status.SANDBOX_ERROR: CodeStatus.SANDBOX_ERROR,
}
"""What the end of a run says about the test that it did not answer; any other end is an error of the program."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a batch failed, and at which of its tests."""

    index: int
    status: CodeStatus
    reason: str


async def check_program(key: AnswerKey, program: str, sandbox: Sandbox) -> CodeVerdict:
    """Tests one program; stops at the first suite with a test that fails.

    Args:
        key: Of the problem.
        program: The candidate's.
        sandbox: An open one. Its level must give programs a directory of their own (2 or higher).

    Raises:
        SandboxError: the sandbox is not open.
    """
    began = time.monotonic()
    suites: dict[str, bool] = {}
    for suite in key.suites:
        for batch in suite.batches:
            failure = await _check_batch(key.problem, batch, program, sandbox)
            if failure is not None:
                if failure.status is not CodeStatus.SANDBOX_ERROR:
                    suites[suite.name] = False
                return CodeVerdict(
                    id=key.problem.id,
                    status=failure.status,
                    reason=failure.reason,
                    suites=suites,
                    failed_suite=suite.name,
                    failed_test=batch.first + failure.index,
                    milliseconds=_milliseconds_since(began),
                )
        suites[suite.name] = True
    return CodeVerdict(key.problem.id, CodeStatus.PASSED, suites=suites, milliseconds=_milliseconds_since(began))


async def _check_batch(problem: CodeProblem, batch: Batch, program: str, sandbox: Sandbox) -> _Failure | None:
    """The first failure among a batch's tests; ``None`` if all are passed."""
    if isinstance(problem.interface, Script):
        outputs, unanswered = await _run_scripts(problem, batch, program, sandbox)
    else:
        outputs, unanswered = await _run_calls(problem, batch, program, sandbox)
    return await _judge(problem, batch, outputs, unanswered, sandbox)


async def _run_calls(
    problem: CodeProblem, batch: Batch, program: str, sandbox: Sandbox
) -> tuple[bytes, tuple[CodeStatus, str]]:
    """What the program has left of outputs, and what to say of a test without one."""
    timeout = min(LONGEST_RUN, _START_SECONDS + _CLOCK_FACTOR * sum(batch.seconds))
    request = call_request(problem, program, batch.inputs, batch.seconds, timeout)
    result = await _run(request, sandbox)
    return result.files.get(OUTPUTS, b""), _ending(result, OUTPUTS)


async def _run_scripts(
    problem: CodeProblem, batch: Batch, program: str, sandbox: Sandbox
) -> tuple[bytes, tuple[CodeStatus, str]]:
    """The same for scripts, each test in a process of its own, up to the first one that does not end well."""
    lines: list[bytes] = []
    ending = (CodeStatus.ERROR, "")
    for text, seconds in zip(batch.inputs, batch.seconds, strict=True):
        result = await _run(script_request(problem, program, text, seconds), sandbox)
        ending = _ending(result, PRINTED)
        if not result.ok or PRINTED not in result.files:
            break
        printed = result.files[PRINTED].decode("utf-8", "replace")
        lines.append(json.dumps({"value": printed}).encode() + b"\n")
    return b"".join(lines), ending


async def _judge(
    problem: CodeProblem, batch: Batch, outputs: bytes, unanswered: tuple[CodeStatus, str], sandbox: Sandbox
) -> _Failure | None:
    """Compares outputs in a process of its own, and adds what it cannot know: that some are missing."""
    request = judge_request(problem, batch.expected, outputs, batch.inputs)
    if request.transfer_bytes() > sandbox.limits.transfer_bytes:
        return _Failure(0, CodeStatus.WRONG_OUTPUT, f"its outputs take {len(outputs)} bytes, too many to compare")
    result = await _run(request, sandbox)
    if not result.ok:
        status, reason = _ending(result, "verdict")
        return _Failure(0, status, f"comparing its outputs failed: {reason}")
    found: dict[str, Any] = json.loads(result.stdout)
    if found["failure"] is not None:
        return _Failure(found["count"], CodeStatus(found["failure"]["status"]), found["failure"]["reason"])
    return None if found["count"] == len(batch.inputs) else _Failure(found["count"], *unanswered)


async def _run(request: Request, sandbox: Sandbox) -> Result:
    return await sandbox.arun(
        request.code,
        timeout=request.timeout,
        seed=request.seed,
        files=request.files,
        fetch=request.fetch,
        stdin=request.stdin,
    )


def _ending(result: Result, name: str) -> tuple[CodeStatus, str]:
    """How a run's end explains an output that is missing."""
    if result.ok:
        refused = result.files_refused.get(name)
        return CodeStatus.ERROR, f"its outputs are no file: {refused}" if refused else "ended before it had answered"
    status = _STATUSES.get(result.status, CodeStatus.ERROR)
    by_signal = f" by signal {result.signal}" if result.signal is not None else ""
    return status, result.error_line or f"{result.status}{by_signal}"


def _milliseconds_since(began: float) -> float:
    return math.ceil(1000 * (time.monotonic() - began) * 10) / 10
