"""Results of a real sandbox as trajectories record them (spec A.7 [N]); acceptance test 10."""

from dataclasses import replace

import pytest

import sandbox
from actors.execution import (
    CPU_TEXT,
    INFRA_TEXT,
    MEMORY_TEXT,
    NO_OUTPUT_TEXT,
    OUTPUT_TEXT,
    make_sandbox,
    to_execution_result,
)
from thor_ray.config import SandboxConfig
from thor_ray.trajectory import ExecutionResult, ExecutionStatus


def run(box: sandbox.Sandbox, code: str, seconds: float = 5.0) -> ExecutionResult:
    return to_execution_result(box.run(code, timeout=seconds, seed=0), seconds)


@pytest.mark.parametrize(
    ("code", "status", "text", "exception"),
    [
        ("print(3 + 4)", ExecutionStatus.OK, "7", None),
        ("print('an Error is mentioned\\nhere')", ExecutionStatus.OK, "an Error is mentioned\nhere", None),
        ("x = 1", ExecutionStatus.NO_OUTPUT, NO_OUTPUT_TEXT, None),
        ("print('  \\n ')", ExecutionStatus.NO_OUTPUT, NO_OUTPUT_TEXT, None),
        ("print(5)\n1 / 0", ExecutionStatus.EXCEPTION, "ZeroDivisionError: division by zero", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", ExecutionStatus.EXCEPTION, "The program ended with code 3.", None),
        ("print('```python\\nx\\n```')", ExecutionStatus.OK, "'''python\nx\n'''", None),
    ],
)
def test_programs(box: sandbox.Sandbox, code: str, status: ExecutionStatus, text: str, exception: str | None) -> None:
    result = run(box, code)
    assert (result.status, result.text) == (status, text)
    assert exception is None or result.exception_type == exception
    assert result.status is ExecutionStatus.OK or result.status.failed


def test_what_does_not_compile_is_an_exception(box: sandbox.Sandbox) -> None:
    result = run(box, "print(")
    assert result.status is ExecutionStatus.EXCEPTION
    assert result.text.startswith("SyntaxError: ")
    assert "\n" not in result.text


def test_a_timeout_says_so(box: sandbox.Sandbox) -> None:
    result = run(box, "print('early', flush=True)\nwhile True: pass", seconds=0.5)
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.text == "TimeoutError: the program ran longer than 0.5 seconds"
    assert result.wall_seconds >= 0.5


def test_computing_time_has_a_limit_of_its_own_and_words_of_its_own() -> None:
    config = SandboxConfig(timeout_seconds=30, cpu_seconds=1, preload=(), min_level=1)
    with make_sandbox(config) as box:
        busy, idle = (run(box, code, 30) for code in ("while True: pass", "import time; time.sleep(1.5); print(1)"))
    assert (busy.status, busy.text) == (ExecutionStatus.TIMEOUT, CPU_TEXT)
    assert (idle.status, idle.text) == (ExecutionStatus.OK, "1")


def test_long_output_keeps_both_ends(box: sandbox.Sandbox) -> None:
    assert run(box, "print('a' * 128 + 'b' * 127)").text == "a" * 128 + "b" * 127
    assert run(box, "print('a' * 200 + 'b' * 200)").text == "a" * 128 + "..." + "b" * 128


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(x for x in [])", "<generator object <genexpr> at 0x0>"),
        ("class A: f = lambda self: 1\nprint(A().f)", "<bound method A.<lambda> of <__main__.A object at 0x0>>"),
        ("print((lambda: 1).__code__)", '<code object <lambda> at 0x0, file "<program>", line 1>'),
        ("raise ValueError(object())", "ValueError: <object object at 0x0>"),
        ("print('it is at 0x7f4d9881da40')", "it is at 0x7f4d9881da40"),
        ("print('>' * 150, object(), '<' * 150)", f"{'>' * 128}...{'<' * 128}"),
    ],
)
def test_observations_have_no_addresses_of_objects(box: sandbox.Sandbox, code: str, text: str) -> None:
    """They would differ the next time, and all that the policy writes after them."""
    assert run(box, code).text == text


def test_other_limits_have_their_own_words(box: sandbox.Sandbox) -> None:
    plain = box.run("x = 1", seed=0)
    for status, text in ((sandbox.Status.MEMORY_LIMIT, MEMORY_TEXT), (sandbox.Status.OUTPUT_LIMIT, OUTPUT_TEXT)):
        result = to_execution_result(replace(plain, status=status, stdout="partial"), 5.0)
        assert (result.status, result.text) == (ExecutionStatus.EXCEPTION, text)
    crashed = to_execution_result(replace(plain, status=sandbox.Status.CRASH, signal=11, exit_code=None), 5.0)
    assert crashed.text == "The program was ended by signal 11."


@pytest.mark.parametrize("status", [sandbox.Status.SANDBOX_ERROR, sandbox.Status.CANCELLED])
def test_our_failures_are_neither_timeouts_nor_the_codes_fault(box: sandbox.Sandbox, status: sandbox.Status) -> None:
    """Acceptance test 10."""
    result = to_execution_result(replace(box.run("print(1)", seed=0), status=status), 5.0)
    assert (result.status, result.text) == (ExecutionStatus.INFRA_ERROR, INFRA_TEXT)
    assert not result.status.failed


@pytest.mark.parametrize("status", list(sandbox.Status))
def test_every_status_of_the_sandbox_is_mapped(box: sandbox.Sandbox, status: sandbox.Status) -> None:
    result = to_execution_result(replace(box.run("print(1)", seed=0), status=status), 5.0)
    ours = {sandbox.Status.SANDBOX_ERROR, sandbox.Status.CANCELLED}
    assert (result.status is ExecutionStatus.OK) == (status is sandbox.Status.OK)
    assert (result.status is ExecutionStatus.INFRA_ERROR) == (status in ours)
    assert (result.status is ExecutionStatus.TIMEOUT) == (status is sandbox.Status.TIMEOUT)
