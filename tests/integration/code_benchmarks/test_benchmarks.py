"""The real benchmarks: their own solutions pass, and mutants of them do not."""

import os
from functools import partial

import pytest

from thor_ray.code_benchmarks import CodeJudge, load_code_problems
from thor_ray.code_benchmarks.judging import in_order_of_end
from thor_ray.code_benchmarks.problem import Rule
from thor_ray.code_benchmarks.solutions import Solution, canonical_solutions, mutated_solutions

pytestmark = pytest.mark.skipif(
    "THOR_DATA" not in os.environ,
    reason="NOT CHECKED: the code benchmarks' own solutions; set THOR_DATA to the folder of their files",
)

UNUSUAL = {
    "humanevalplus": ["HumanEval/2", "HumanEval/32", "HumanEval/38", "HumanEval/115"],
    "mbppplus": [
        *("Mbpp/2", "Mbpp/88", "Mbpp/124", "Mbpp/252", "Mbpp/278", "Mbpp/404"),
        *("Mbpp/558", "Mbpp/581", "Mbpp/590", "Mbpp/722", "Mbpp/737", "Mbpp/793"),
    ],
}
"""Tasks with tolerances, special rules, helpers, infinities, or inputs and outputs that JSON lacks."""


async def failures(solutions: list[Solution], sandbox) -> dict[str, str]:
    judge = CodeJudge(sandbox)
    works = (partial(judge.check, one.problem, str(one.program)) for one in solutions)
    verdicts = [verdict async for verdict in in_order_of_end(works, 4)]
    assert all(verdict.judged for verdict in verdicts)
    return {verdict.id: f"{verdict.status}: {verdict.reason}" for verdict in verdicts if not verdict.passed}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_solutions_of_unusual_tasks_pass(code_sandbox, name) -> None:
    chosen = [problem for problem in load_code_problems(name) if problem.id in UNUSUAL[name]]
    assert len(chosen) == len(UNUSUAL[name])
    assert await failures(canonical_solutions(chosen), code_sandbox) == {}


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "size", "inputs"), [("humanevalplus", 164, 124_253), ("mbppplus", 378, 41_015)])
async def test_all_solutions_pass(code_sandbox, name, size, inputs) -> None:
    problems = load_code_problems(name)
    assert len(problems) == size
    assert sum(len(suite.inputs) for problem in problems for suite in problem.suites) == inputs
    assert await failures(canonical_solutions(problems), code_sandbox) == {}


async def test_mutants_of_some_tasks_fail(code_sandbox) -> None:
    some = load_code_problems("humanevalplus")[::12]
    solutions = mutated_solutions(some, seed=0)
    caught = await failures(solutions, code_sandbox)
    assert len(caught) >= 0.9 * len(solutions) > 0


@pytest.mark.exhaustive
async def test_nearly_all_mutants_fail(code_sandbox) -> None:
    solutions = mutated_solutions(load_code_problems("humanevalplus"), seed=0)
    caught = await failures(solutions, code_sandbox)
    assert len(caught) >= 0.95 * len(solutions)


def test_every_rule_of_evalplus_has_a_task() -> None:
    rules = {problem.rule for name in UNUSUAL for problem in load_code_problems(name)}
    of_other_files = {Rule.EQUAL_LISTS, Rule.PRINTED_ALIKE}  # LiveCodeBench
    of_other_releases = {Rule.ANYTHING, Rule.EQUAL_OR_ZERO}  # of MBPP+, whose tasks change between them
    assert rules == set(Rule) - of_other_files - of_other_releases
