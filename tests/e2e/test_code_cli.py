"""`thor code check` as a person uses it: a process of its own, files in, files out."""

import json
from pathlib import Path

import pytest

from tests.support.code_problems import GREETING, HALVES, livecodebench_row
from tests.support.commands import thor

SMALL = ("--workers", "1", "--memory", "256")


def write_lines(path: Path, *records: object) -> str:
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path.name


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    return write_lines(tmp_path / "tasks.jsonl", HALVES, GREETING)


def test_the_benchmarks_own_solutions_pass(tmp_path, tasks) -> None:
    done = thor(tmp_path, "code", "check", tasks, *SMALL, "--output", "verdicts.jsonl")
    assert done.returncode == 0, done.stderr
    assert "tasks.jsonl, canonical: 2 programs in" in done.stdout
    assert "2 passed" in done.stdout
    assert "pass@1, base: 100.0 %\npass@1, plus: 100.0 %" in done.stdout
    assert "check: done" in done.stderr
    verdicts = {line["id"]: line for line in read_lines(tmp_path / "verdicts.jsonl")}
    assert verdicts.keys() == {"HumanEval/900", "Mbpp/901"}
    assert verdicts["Mbpp/901"]["suites"] == {"base": True, "plus": True}


def test_a_wrong_solution_of_a_benchmarks_own_is_a_failure(tmp_path) -> None:
    tasks = write_lines(tmp_path / "tasks.jsonl", GREETING | {"canonical_solution": "def greet(name): return 1 // 0"})
    done = thor(tmp_path, "code", "check", tasks, *SMALL)
    assert done.returncode == 2
    assert "the reference solution of Mbpp/901 fails at base test 0: ZeroDivisionError" in done.stderr


def test_mutants_are_caught_and_survivors_are_named(tmp_path, tasks) -> None:
    equivalent = GREETING | {
        "task_id": "Mbpp/902",
        "canonical_solution": "\ndef greet(name):\n    limit = 99\n    return 'hello ' + name[:]\n",
    }
    tasks = write_lines(tmp_path / "tasks.jsonl", HALVES, equivalent)
    caught = thor(
        tmp_path, "code", "check", tasks, *SMALL, "--solutions", "mutated", "--limit", "1", "-o", "verdicts.jsonl"
    )
    assert caught.returncode == 0, caught.stderr
    assert "mutants caught: 1 of 1" in caught.stdout
    (line,) = read_lines(tmp_path / "verdicts.jsonl")
    assert line["status"] == "wrong_output"
    assert "x / 2 ->" in str(line["change"]) or line["change"] == "2 -> 3"
    surviving = next(
        done
        for seed in range(10)
        if "Mbpp/902 line"
        in (
            done := thor(tmp_path, "code", "check", tasks, *SMALL, "--solutions", "mutated", "--seed", str(seed))
        ).stdout
    )
    assert "mutants caught: 1 of 2" in surviving.stdout
    assert "Mbpp/902 line 6: 99 -> 100" in surviving.stdout
    assert surviving.returncode == 1


def test_responses_of_a_model_are_scored(tmp_path, tasks) -> None:
    responses = write_lines(
        tmp_path / "responses.jsonl",
        {"id": "HumanEval/900", "response": "```python\ndef halves(xs): return [x // 2 + 0.0 for x in xs]\n```"},
        {"id": "HumanEval/900", "response": "I do not know."},
        {"id": "Mbpp/901", "response": "```python\ndef greet(name): return 'hello ' + name\n```"},
    )
    done = thor(tmp_path, "code", "check", tasks, *SMALL, "--solutions", responses)
    assert done.returncode == 0, done.stderr
    assert "3 programs in" in done.stdout
    assert "1 no_code, 1 passed, 1 wrong_output" in done.stdout
    assert "pass@1, base: 75.0 %\npass@1, plus: 50.0 %" in done.stdout
    assert "HumanEval/900: wrong_output (plus test 0): expected [0.5, -1.5], got [0.0, -2.0]" in done.stderr


def test_livecodebench_is_checked_from_a_local_copy(tmp_path) -> None:
    tasks = write_lines(tmp_path / "lcb.jsonl", livecodebench_row("stdin"), livecodebench_row("functional"))
    responses = write_lines(
        tmp_path / "responses.jsonl",
        {"id": "sums_stdin", "solution": "print(sum(map(float, input().split())))"},
        {"id": "sums_functional", "solution": "class Solution:\n    def total(self, n, m): return sum(n)"},
    )
    done = thor(tmp_path, "code", "check", tasks, *SMALL, "--solutions", responses)
    assert done.returncode == 0, done.stderr
    assert "1 passed, 1 wrong_output" in done.stdout
    own = thor(tmp_path, "code", "check", tasks, *SMALL)
    assert own.returncode == 2
    assert "no solution of its own" in own.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("humanevalplus",), "--data-dir or THOR_DATA"),
        (("math500",), "no programs to test"),
        (("absent.jsonl",), "no such problem file"),
        (("tasks.jsonl", "--solutions", "absent.jsonl"), "no such problem file"),
        (("tasks.jsonl", "--output", "absent/verdicts.jsonl"), "there is no directory absent"),
        (("tasks.jsonl", "--memory", "99999999"), "memory_budget"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(tmp_path, tasks, arguments, message) -> None:
    done = thor(tmp_path, "code", "check", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
