"""Batches, mutants, solution files, verdicts and figures."""

import ast
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.code_problems import GREETING, HALVES, livecodebench_row
from thor_ray.code_benchmarks import CodeStatus, CodeVerdict
from thor_ray.code_benchmarks.batches import REFERENCE_SECONDS, batches
from thor_ray.code_benchmarks.evalplus import parse_problem
from thor_ray.code_benchmarks.livecodebench import parse_problem as parse_livecodebench
from thor_ray.code_benchmarks.mutation import mutant_of
from thor_ray.code_benchmarks.problem import CodeProblem, Script, Suite
from thor_ray.code_benchmarks.solutions import canonical_solutions, mutated_solutions, read_solutions
from thor_ray.code_benchmarks.summary import summarise
from thor_ray.errors import UserError
from thor_ray.grading import GradeStatus

PROBLEMS = [parse_problem(HALVES, "plus"), parse_problem(GREETING, "plus")]

# ------------------------------------------------------------------------------------------------------- batches


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 5)), max_size=40))
def test_batches_are_the_suite_in_order_and_as_small_as_they_have_to_be(tests) -> None:
    sizes, seconds = [size for size, _ in tests], [spent for _, spent in tests]
    parts = list(batches(sizes, seconds, 400))
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(len(tests)))
    for part in parts:
        alone = part.stop - part.start == 1
        assert alone or (sum(sizes[part]) <= 100 and sum(seconds[part]) <= REFERENCE_SECONDS + 1e-9)
    for part, following in pairwise(parts):
        taken = slice(part.start, following.start + 1)
        assert sum(sizes[taken]) > 100 or sum(seconds[taken]) > REFERENCE_SECONDS - 1e-9


# ------------------------------------------------------------------------------------------------------- mutants

PROGRAM = '''
def first_at_least(xs, low):
    """Index of the first number that is at least `low`, -1 without one."""
    for index in range(0, len(xs)):
        if xs[index] >= low and not low < 0:
            return index + 2 * 3 % 5
    return -1
'''


def test_each_seed_changes_one_expression() -> None:
    original = ast.unparse(ast.parse(PROGRAM))
    mutants = {mutant.program for seed in range(60) if (mutant := mutant_of(PROGRAM, str(seed))) is not None}
    assert len(mutants) >= 8
    for program in mutants:
        changed = [pair for pair in zip(program.split("\n"), original.split("\n"), strict=True) if len(set(pair)) > 1]
        assert len(changed) == 1
        ast.parse(program)


def test_a_mutant_says_what_was_changed_and_repeats() -> None:
    mutant = mutant_of("def f(a, b):\n    return a < b", "seed")
    assert mutant is not None
    assert (mutant.line, mutant.change) == (2, "a < b -> a >= b")
    assert mutant == mutant_of("def f(a, b):\n    return a < b", "seed")


def test_a_return_value_is_negated_where_there_is_nothing_else_to_change() -> None:
    mutant = mutant_of("def f(a):\n    return a", "seed")
    assert mutant is not None
    assert mutant.program.endswith("return not a")
    assert mutant_of("import math", "seed") is None


# ----------------------------------------------------------------------------------------------------- solutions


def test_the_benchmarks_own_solutions() -> None:
    assert [one.program for one in canonical_solutions(PROBLEMS)] == [problem.reference for problem in PROBLEMS]
    mutated = mutated_solutions(PROBLEMS, 0)
    assert all(one.program != one.problem.reference and one.mutant is not None for one in mutated)
    assert mutated == mutated_solutions(PROBLEMS, 0)


def test_livecodebench_has_no_solutions_of_its_own() -> None:
    problems = [parse_livecodebench(livecodebench_row("stdin"), "lcb")]
    for solutions in (lambda: canonical_solutions(problems), lambda: mutated_solutions(problems, 0)):
        with pytest.raises(UserError, match="lcb comes without") as refusal:
            solutions()
        assert "--solutions" in refusal.value.remedy


def test_a_file_may_hold_responses_programs_and_completions(tmp_path) -> None:
    lines = [
        {"id": "HumanEval/900", "response": "So:\n```python\nhalves = None\n```"},
        {"task_id": "HumanEval/900", "completion": "    return []\n"},
        {"task_id": "Mbpp/901", "solution": "greet = print"},
        {"id": "Mbpp/901", "response": "No idea."},
    ]
    path = tmp_path / "solutions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    read = read_solutions(path, PROBLEMS)
    assert [one.program for one in read] == [
        "halves = None",
        f"{HALVES['prompt']}    return []\n",
        "greet = print",
        None,
    ]
    assert [one.sample_index for one in read] == [0, 1, 0, 1]


def test_a_faulty_file_is_refused_with_all_its_faults(tmp_path) -> None:
    lines = ["{", "3", '{"id": "x", "response": ""}', '{"id": "Mbpp/901"}', '{"id": "Mbpp/901", "response": 3}']
    path = tmp_path / "solutions.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as refusal:
        read_solutions(path, PROBLEMS)
    assert [f"{path}:{number}:" in refusal.value.message for number in range(1, 6)] == [True] * 5
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no solutions"):
        read_solutions(path, PROBLEMS)
    with pytest.raises(UserError, match="no such"):
        read_solutions(tmp_path / "absent.jsonl", PROBLEMS)


# ------------------------------------------------------------------------------------------- verdicts and figures


def verdict(identity: str, status: CodeStatus, **suites: bool) -> CodeVerdict:
    return CodeVerdict(identity, status, suites=suites)


def test_figures_are_means_over_problems() -> None:
    verdicts = [
        verdict("a", CodeStatus.PASSED, base=True, plus=True),
        verdict("a", CodeStatus.WRONG_OUTPUT, base=True, plus=False),
        verdict("b", CodeStatus.TIMEOUT, base=False),
        verdict("b", CodeStatus.SANDBOX_ERROR, base=True),
        verdict("c", CodeStatus.PASSED, base=True),
        verdict("d", CodeStatus.NO_CODE),
    ]
    summary = summarise(verdicts, ["base", "plus"])
    assert summary.pass_at_1 == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assert summary.suite_pass_at_1 == pytest.approx({"base": (1 + 0 + 1 + 0) / 4, "plus": (0.5 + 0 + 1 + 0) / 4})
    assert (summary.programs, summary.passed) == (6, 2)


def test_nothing_judged_has_no_figures() -> None:
    summary = summarise([verdict("a", CodeStatus.SANDBOX_ERROR)], ["base"])
    assert summary.pass_at_1 is None
    assert summary.suite_pass_at_1 == {}


@pytest.mark.parametrize("status", list(CodeStatus))
def test_only_what_passed_is_rewarded_and_our_own_failure_is_no_verdict(status) -> None:
    grade = verdict("a", status).to_grade()
    expected = {CodeStatus.PASSED: 1.0, CodeStatus.SANDBOX_ERROR: None}.get(status, 0.0)
    assert grade.reward == expected
    assert (grade.status is GradeStatus.CORRECT) == (status is CodeStatus.PASSED)


def test_a_grade_does_not_show_what_a_verdict_knows() -> None:
    told = CodeVerdict("a", CodeStatus.WRONG_OUTPUT, "expected 42, got 41", {"base": False}, "base", 3).to_grade()
    assert told.reason == "wrong_output (base test 3)"


def test_a_problem_needs_outputs_or_a_reference() -> None:
    with pytest.raises(ValueError, match="neither outputs nor a reference"):
        CodeProblem(id="a", question="?", source="x", interface=Script(), suites=(Suite("public", ("1",)),))
    with pytest.raises(ValueError, match="1 inputs, but 2 outputs"):
        Suite("public", ("1",), ("1", "2"))
