"""EvalPlus's files: what becomes of their rows, and what is refused."""

import json

import pytest

from tests.support.code_problems import GREETING, HALVES
from thor_ray.code_benchmarks import load_code_problems
from thor_ray.code_benchmarks.evalplus import parse_problem
from thor_ray.code_benchmarks.mbpp_inputs import restore
from thor_ray.code_benchmarks.problem import FunctionCall, Rule
from thor_ray.problems import ProblemFileError


def test_a_row_becomes_a_problem() -> None:
    problem = parse_problem(HALVES, "humanevalplus")
    assert problem.id == "HumanEval/900"
    assert problem.interface == FunctionCall("halves")
    assert [(suite.name, len(suite.inputs)) for suite in problem.suites] == [("base", 2), ("plus", 3)]
    assert problem.suites[0].inputs == ("[[2, 4]]", "[[]]")
    assert problem.opening == HALVES["prompt"]
    assert str(HALVES["prompt"]).strip() in problem.question
    assert "```python block" in problem.question
    assert str(HALVES["canonical_solution"]).strip() not in problem.question


def test_a_row_without_further_inputs_has_one_suite() -> None:
    problem = parse_problem(GREETING | {"plus_input": {}}, "mbppplus")
    assert [suite.name for suite in problem.suites] == ["base"]


@pytest.mark.parametrize(
    ("family", "function", "rule"),
    [
        ("HumanEval", "find_zero", Rule.POLYNOMIAL_ROOT),
        ("Mbpp", "find_zero", Rule.EQUAL_OR_CLOSE),
        ("Mbpp", "are_equivalent", Rule.ANYTHING),
        ("Mbpp", "Diff", Rule.EQUAL_AS_SETS),
        ("Mbpp", "check_str", Rule.EQUALLY_NONE),
        ("HumanEval", "Diff", Rule.EQUAL_OR_CLOSE),
    ],
)
def test_some_tasks_have_rules_of_their_own(family, function, rule) -> None:
    row = GREETING | {"task_id": f"{family}/1", "entry_point": function}
    assert parse_problem(row, "x").rule is rule


@pytest.mark.parametrize(
    ("number", "arguments", "restored"),
    [
        (1, [[1], [2]], [[1], [2]]),
        (2, [[1], [2]], [(1,), (2,)]),
        (63, [[[1, 2]]], [[(1, 2)]]),
        (75, [[[1, 2]], 3], [[(1, 2)], 3]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1], [], [2]]], [[{1}, {}, {2}]]),
        (124, ["1", "2j"], [1.0, 2j]),
        (250, [[1], 2], [(1,), 2]),
        (252, ["3+4j"], [3 + 4j]),
        (259, [[[1], [2]], [[3]]], [((1,), (2,)), ((3,),)]),
        (278, [[1, [2]]], [(1, (2,))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (722, [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
    ],
)
def test_inputs_of_mbpp_get_back_the_types_that_json_lacks(number, arguments, restored) -> None:
    assert repr(restore(number, arguments)) == repr(restored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_id": "Other/1"}, "HumanEval/<number> or Mbpp/<number>"),
        ({"task_id": "Mbpp/x"}, "HumanEval/<number> or Mbpp/<number>"),
        ({"prompt": 3}, "'prompt' must be text"),
        ({"atol": "much"}, "tolerance"),
        ({"task_id": "Mbpp/2", "base_input": [[3]]}, "inputs"),
    ],
)
def test_a_faulty_row_is_refused_with_its_fault(changes, message) -> None:
    with pytest.raises(ProblemFileError, match=message):
        parse_problem(GREETING | changes, "x")


def test_all_faults_of_a_file_are_told_at_once(tmp_path) -> None:
    missing = {name: value for name, value in GREETING.items() if name != "entry_point"}
    lines = [json.dumps(GREETING), "{", json.dumps(missing), json.dumps(GREETING), "[]", '{"question": "1 + 1?"}']
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(ProblemFileError) as refusal:
        load_code_problems(path)
    told = str(refusal.value).split("\n")
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in told] == ["2", "3", "4", "5", "6"]
    assert "'entry_point' missing" in told[1]
    assert "already taken" in told[2]
    assert "neither a row of EvalPlus" in told[4]


def test_infinite_inputs_are_inputs(tmp_path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(GREETING | {"base_input": [[float("-inf")]]}))
    assert load_code_problems(path)[0].suites[0].inputs == ("[-Infinity]",)


@pytest.mark.parametrize("name", ["math500", "aime24"])
def test_a_benchmark_of_answers_has_no_programs(name) -> None:
    with pytest.raises(ProblemFileError, match="no programs to test"):
        load_code_problems(name)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("THOR_DATA", raising=False)
    with pytest.raises(ProblemFileError, match="--data-dir or THOR_DATA"):
        load_code_problems("humaneval+")
    with pytest.raises(ProblemFileError, match=r"MbppPlus\.jsonl\.gz"):
        load_code_problems("mbppplus", tmp_path)
