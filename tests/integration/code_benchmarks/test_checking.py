"""Programs on tests, in the real sandbox: what passes, what fails, and what is said about it."""

from dataclasses import replace
from typing import Any

import pytest

from sandbox import Limits, Sandbox, SandboxError
from tests.support.code_problems import GREETING, HALVES, livecodebench_row
from thor_ray.code_benchmarks import AnswerKeyError, CodeJudge, CodeStatus, CodeVerdict, make_answer_key
from thor_ray.code_benchmarks.evalplus import parse_problem
from thor_ray.code_benchmarks.livecodebench import parse_problem as parse_livecodebench
from thor_ray.code_benchmarks.problem import CodeProblem

HALVES_PROBLEM = parse_problem(HALVES, "test")
GREETING_PROBLEM = parse_problem(GREETING, "test")


async def judged(problem: CodeProblem, program: str, sandbox: Sandbox) -> CodeVerdict:
    return await CodeJudge(sandbox).check(problem, program)


def task(**changes: Any) -> CodeProblem:
    return parse_problem(GREETING | changes, "test")


# ------------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    "program",
    [
        "def halves(xs): return [x / 2 for x in xs]",
        "def halves(xs):\n    xs[:] = [x * 0.5 for x in xs]\n    return xs",
        "from __future__ import annotations\ndef halves(xs: Undefined): return [x * 0.5000000001 for x in xs]",
        "import numpy\ndef halves(xs): return [x / numpy.int64(2) for x in xs]",
        "halves = lambda xs: [x / 2 for x in xs]",
        "print('hello')\ndef halves(xs):\n    print(xs)\n    return [x / 2 for x in xs]",
        "class Half:\n    def __call__(self, xs): return [x / 2 for x in xs]\nhalves = Half()",
        "def halves(xs): return [x / 2 for x in xs]\nif __name__ == '__main__':\n    raise SystemExit(3)",
        "import dataclasses\nclass Box: x: 'int'\nBox = dataclasses.dataclass(Box)\nhalves = lambda xs: [Box(x).x / 2 for x in xs]",
    ],
)
async def test_right_programs_pass(code_sandbox, program) -> None:
    verdict = await judged(HALVES_PROBLEM, program, code_sandbox)
    assert verdict.status is CodeStatus.PASSED, verdict
    assert verdict.suites == {"base": True, "plus": True}
    assert verdict.milliseconds > 0


@pytest.mark.parametrize(
    ("program", "status", "suite", "test", "reason"),
    [
        ("def halves(xs): return xs", "wrong_output", "base", 0, "expected [1.0, 2.0], got [2, 4]"),
        ("def halves(xs): return [x // 2 for x in xs]", "wrong_output", "plus", 0, "expected [0.5, -1.5], got [0, -2]"),
        ("def halves(xs): return [x / 2.00001 for x in xs]", "wrong_output", "base", 0, "expected"),
        ("def halves(xs): return tuple(x / 2 for x in xs)", "wrong_output", "base", 0, "got (1.0, 2.0)"),
        ("def halves(xs): return (x / 2 for x in xs)", "wrong_output", "base", 0, "got <builtins.generator>"),
        ("def halves(xs): return [xs[0] / 2, 2.0]", "error", "base", 1, "IndexError: list index out of range"),
        ("def halves(xs) return xs", "error", "base", 0, "before its first call: SyntaxError"),
        ("def other(xs): return xs", "error", "base", 0, "has no attribute 'halves'"),
        ("def halves(): return []", "error", "base", 0, "TypeError"),
        ("def halves(xs: List[int]): return xs", "error", "base", 0, "NameError: name 'List' is not defined"),
        ("1 / 0", "error", "base", 0, "before its first call: ZeroDivisionError"),
        ("def halves(xs): return halves(xs)", "error", "base", 0, "RecursionError"),
        ("def halves(xs):\n    while True: pass", "timeout", "base", 0, "took more than 1 s"),
        ("def halves(xs): return input()", "error", "base", 0, "EOFError"),
        ("def halves(xs): return 'x' * 10**11", "memory", "base", 0, "MemoryError"),
        ("import ctypes\ndef halves(xs): return ctypes.string_at(1)", "crash", "base", 0, "crash by signal 11"),
    ],
)
async def test_wrong_programs_fail_at_a_test_for_a_reason(code_sandbox, program, status, suite, test, reason) -> None:
    verdict = await judged(HALVES_PROBLEM, program, code_sandbox)
    assert (verdict.status, verdict.failed_suite, verdict.failed_test) == (CodeStatus(status), suite, test), verdict
    assert reason in verdict.reason
    assert verdict.suites == ({"base": False} if suite == "base" else {"base": True, "plus": False})


async def test_the_first_wrong_output_counts_also_if_a_later_call_fails(code_sandbox) -> None:
    program = "def halves(xs): return [x / xs[0] for x in xs] if xs != [0] else 1 / 0"
    verdict = await judged(HALVES_PROBLEM, program, code_sandbox)
    assert (verdict.status, verdict.failed_test) == (CodeStatus.WRONG_OUTPUT, 0)


async def test_a_process_that_dies_keeps_what_it_had_answered(code_sandbox) -> None:
    program = "import os\ndef halves(xs):\n    if not xs: os._exit(0)\n    return [x / 2 for x in xs]"
    verdict = await judged(HALVES_PROBLEM, program, code_sandbox)
    assert (verdict.status, verdict.failed_test) == (CodeStatus.ERROR, 1)
    assert verdict.reason == "ended before it had answered"


async def test_no_call_sees_what_another_did_to_its_arguments(code_sandbox) -> None:
    problem = task(
        prompt="",
        entry_point="longest",
        canonical_solution="def longest(rows): return len(max(rows, key=len))",
        base_input=[[[[1, 2], [3]]]] * 3,
        plus_input=[],
    )
    program = "def longest(rows):\n    best = len(max(rows, key=len))\n    rows.append([0] * 9)\n    return best"
    assert (await judged(problem, program, code_sandbox)).passed


async def test_slow_references_give_candidates_more_time(code_sandbox) -> None:
    burn = "import time\ndef spend(seconds):\n    while time.process_time() < START + {}: pass\n    return seconds\n"
    problem = task(
        prompt="",
        entry_point="spend",
        canonical_solution="import time\nSTART = time.process_time()\n" + burn.format(0.6),
        base_input=[[0]],
        plus_input=[],
    )
    key = await make_answer_key(problem, code_sandbox)
    (batch,) = key.suites[0].batches
    assert batch.seconds[0] > 2
    patient = "import time\nSTART = time.process_time()\n" + burn.format(1.6)
    assert (await judged(problem, patient, code_sandbox)).passed, "slower than a second, but not four times as slow"


async def test_large_outputs_are_compared_by_digest(code_sandbox) -> None:
    problem = task(
        prompt="",
        entry_point="count",
        canonical_solution="def count(n): return [str(i) for i in range(n)]",
        base_input=[[3], [2_000_000]],
        plus_input=[],
    )
    key = await make_answer_key(problem, code_sandbox)
    (batch,) = key.suites[0].batches
    assert len(batch.expected[1]) < 200
    assert (await judged(problem, "def count(n): return list(map(str, range(n)))", code_sandbox)).passed
    wrong = "def count(n): return [*map(str, range(n - 1)), 'x']"
    verdict = await judged(problem, "def count(n): return ['0', '1', '2'] if n == 3 else 0", code_sandbox)
    assert (verdict.status, verdict.failed_test) == (CodeStatus.WRONG_OUTPUT, 1)
    assert not (await judged(task(**large(wrong)), wrong, code_sandbox)).passed


def large(_: str) -> dict[str, Any]:
    return {
        "prompt": "",
        "entry_point": "count",
        "canonical_solution": "def count(n): return [str(i) for i in range(n)]",
        "base_input": [[5000]],
        "plus_input": [],
    }


async def test_a_long_suite_is_parted_and_failures_are_counted_through(code_sandbox) -> None:
    inputs = [["x" * 1000] for _ in range(40)] + [["last"]]
    problem = task(base_input=inputs, plus_input=[])
    limits = Limits(transfer_bytes=150_000, memory_bytes=256 << 20)
    with Sandbox(workers=1, limits=limits) as sandbox:
        key = await make_answer_key(problem, sandbox)
        assert len(key.suites[0].batches) > 1
        verdict = await judged(problem, "def greet(name): return 'hello ' + name.replace('last', 'x')", sandbox)
        assert (verdict.status, verdict.failed_test) == (CodeStatus.WRONG_OUTPUT, 40)
        assert (await judged(problem, "def greet(name): return 'hello ' + name", sandbox)).passed


async def test_a_broken_reference_is_told_and_judges_nobody(code_sandbox) -> None:
    broken = replace(GREETING_PROBLEM, reference="def greet(name): return 1 / len(name)")
    with pytest.raises(AnswerKeyError, match=r"Mbpp/901 fails at plus test 0: ZeroDivisionError"):
        await judged(broken, "def greet(name): return 0", code_sandbox)
    with pytest.raises(AnswerKeyError, match="base test 0"):
        await judged(replace(broken, reference="import os; os._exit(0)"), "", code_sandbox)


async def test_our_own_failure_is_no_verdict() -> None:
    sandbox = Sandbox(workers=1, limits=Limits(memory_bytes=256 << 20)).start()
    key = await make_answer_key(GREETING_PROBLEM, sandbox)
    sandbox.close()
    from thor_ray.code_benchmarks import check_program

    with pytest.raises(SandboxError):
        await check_program(key, "def greet(name): return name", sandbox)


# --------------------------------------------------------------------------------------------------- LiveCodeBench

SUM_SCRIPT = "total = sum(map(float, input().split()))\nprint(int(total) if total == int(total) else total)"


@pytest.mark.parametrize(
    "program",
    [
        SUM_SCRIPT,
        SUM_SCRIPT + "\nexit(1)",
        "if __name__ == '__main__':\n    " + SUM_SCRIPT.replace("\n", "\n    "),
        "import sys\nprint(f'{sum(map(float, sys.stdin.read().split())):.3f}  ')",
        "import sys, os\nos.write(1, str(sum(map(float, sys.stdin.buffer.readline().split()))).encode())",
        "def main():\n    global n\n    n = sum(map(float, input().split()))\nmain()\nprint(n)",
        "print(reduce(add, map(float, stdin.readline().split())))",
        "print(sum(float(x) for x in open(0).read().split()))",
        "print(sum(map(float, input().split())), flush=True)\nimport os\nos._exit(0)",
    ],
)
async def test_scripts_that_print_the_right_lines_pass(code_sandbox, program) -> None:
    problem = parse_livecodebench(livecodebench_row("stdin"), "lcb")
    verdict = await judged(problem, program, code_sandbox)
    assert verdict.passed, verdict
    assert verdict.suites == {"public": True, "private": True}


@pytest.mark.parametrize(
    ("program", "status", "suite", "test"),
    [
        ("print(3)", "wrong_output", "private", 0),
        ("print(sum(map(int, input().split())))", "error", "private", 1),
        ("print('sum:', sum(map(float, input().split())))", "wrong_output", "public", 0),
        ("", "wrong_output", "public", 0),
        ("while True: pass", "timeout", "public", 0),
        ("print(3)\nimport os\nos._exit(1)", "error", "public", 0),
        ("print(", "error", "public", 0),
        ("x = [0] * 10**10", "memory", "public", 0),
        ("while True: print('x' * 100000)", "error", "public", 0),
    ],
)
async def test_other_scripts_fail(code_sandbox, program, status, suite, test) -> None:
    problem = replace(parse_livecodebench(livecodebench_row("stdin"), "lcb"), seconds=1.0)
    verdict = await judged(problem, program, code_sandbox)
    assert (verdict.status, verdict.failed_suite, verdict.failed_test) == (CodeStatus(status), suite, test), verdict


async def test_a_script_may_print_more_than_the_sandbox_keeps(code_sandbox) -> None:
    lines = "\n".join(map(str, range(50_000)))
    test = f'[{{"input": "50000", "output": {lines!r}, "testtype": "stdin"}}]'.replace("'", '"')
    problem = parse_livecodebench(livecodebench_row("stdin", public_test_cases=test, private_test_cases="[]"), "lcb")
    assert (await judged(problem, "for i in range(int(input())): print(i)", code_sandbox)).passed
    skips = "for i in range(int(input())): print(i if i != 25000 else 0)"
    assert (await judged(problem, skips, code_sandbox)).status is CodeStatus.WRONG_OUTPUT


@pytest.mark.parametrize(
    ("program", "passed"),
    [
        (
            "class Solution:\n    def total(self, numbers: List[int], more: int) -> int: return sum(numbers) + more",
            True,
        ),
        ("def total(numbers, more): return sum(numbers) + more", True),
        ("class Solution:\n    def total(self, numbers, more): return reduce(add, numbers, more)", True),
        ("class Solution:\n    def total(self, numbers, more): return len(numbers) + more + 1", False),
        ("class Solution:\n    def other(self, numbers, more): return 4", False),
        ("class Solution:\n    def total(self, numbers, more): return str(sum(numbers) + more)", False),
    ],
)
async def test_methods_are_called_on_the_tests(code_sandbox, program, passed) -> None:
    problem = parse_livecodebench(livecodebench_row("functional"), "lcb")
    assert (await judged(problem, program, code_sandbox)).passed is passed


# ------------------------------------------------------------------------------------------------------ responses


async def test_responses_are_judged_by_the_program_that_they_hold(code_sandbox) -> None:
    judge = CodeJudge(code_sandbox)
    good = "Here you go.\n```python\ndef greet(name):\n    return f'hello {name}'\n```\n"
    assert (await judge.judge(GREETING_PROBLEM, good)).passed
    assert (await judge.judge(GREETING_PROBLEM, "Sorry, I cannot.")).status is CodeStatus.NO_CODE
    continued = await judge.judge(HALVES_PROBLEM, "    return [x / 2 for x in xs]\n")
    assert continued.passed


async def test_answer_keys_are_made_once_also_for_many_at_a_time(code_sandbox) -> None:
    judge = CodeJudge(code_sandbox)
    import asyncio

    keys = await asyncio.gather(*(judge.key(GREETING_PROBLEM) for _ in range(5)))
    assert all(key is keys[0] for key in keys)
    other = replace(GREETING_PROBLEM, reference="def greet(name): return name")
    assert (await judge.key(other)).suites[0].batches[0].expected == ('{"value": "Ada"}',)


async def test_a_reference_that_outlasts_a_run_is_gone_on_with(code_sandbox, monkeypatch) -> None:
    monkeypatch.setattr("thor_ray.code_benchmarks.answer_key.LONGEST_RUN", 4.0)
    slow = "import time\ndef greet(name):\n    time.sleep(0.9)\n    return 'hello ' + name\n"
    names = [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
    problem = task(prompt="", canonical_solution=slow, base_input=names, plus_input=[])
    key = await make_answer_key(problem, code_sandbox)
    (batch,) = key.suites[0].batches
    assert batch.expected == tuple(f'{{"value": "hello {name}"}}' for (name,) in names)
    assert len(batch.seconds) == len(names)
