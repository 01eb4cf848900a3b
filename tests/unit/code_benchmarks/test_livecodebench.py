"""LiveCodeBench's files: what becomes of their rows, and pickles that are never carried out."""

import gzip
import json
import os
import pickle
import sys
from pathlib import Path

import pytest

from tests.support.code_problems import livecodebench_row, packed, packed_bytes
from thor_ray.code_benchmarks import load_code_problems
from thor_ray.code_benchmarks.livecodebench import PRELUDE, parse_problem, unpack
from thor_ray.code_benchmarks.problem import FunctionCall, Rule, Script
from thor_ray.problems import ProblemFileError


class Malice:
    """Carried out, its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_scripts_read_and_print() -> None:
    problem = parse_problem(livecodebench_row("stdin"), "lcb")
    assert problem.interface == Script()
    assert problem.rule is Rule.PRINTED_ALIKE
    public, private = problem.suites
    assert (public.name, public.inputs) == ("public", ("1 2\n",))
    assert private.inputs == ("10 20 30\n", "1.5 2\n")
    assert private.expected == ('{"value": "60"}', '{"value": "3.50"}')
    assert "standard input" in problem.question
    assert problem.level == "easy"


def test_functions_are_methods_of_a_class() -> None:
    problem = parse_problem(livecodebench_row("functional"), "lcb")
    assert problem.interface == FunctionCall("total", "Solution")
    assert problem.rule is Rule.EQUAL_LISTS
    assert problem.suites[0].inputs == ("[[1, 2], 1]",)
    assert "class Solution" in problem.question


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "[]", "ü\n\\ ", "x" * 100_000])
def test_packed_text_is_read_in_every_protocol(protocol, text) -> None:
    assert unpack(packed(text, protocol)) == text


def test_tests_need_not_be_packed() -> None:
    plain = json.dumps([{"input": "4 5", "output": "9", "testtype": "stdin"}])
    problem = parse_problem(livecodebench_row("stdin", private_test_cases=plain), "lcb")
    assert problem.suites[1].inputs == ("4 5",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_something_is_refused_unread(tmp_path, protocol) -> None:
    target = tmp_path / "owned"
    hostile = packed(Malice(target), protocol)
    with pytest.raises(ProblemFileError, match="more than text"):
        unpack(hostile)
    with pytest.raises(ProblemFileError, match="more than text"):
        unpack(packed(["[]", Malice(target)], protocol))
    assert not target.exists()
    pickle.loads(pickle.dumps(Malice(target), protocol))
    assert target.exists(), "what it would have done"


@pytest.mark.parametrize("value", [["[]"], {"a": "[]"}, 3, None, b"[]", ("a", "b"), sys.maxsize])
def test_a_pickle_of_anything_but_one_text_is_refused(value) -> None:
    with pytest.raises(ProblemFileError, match=r"more than text|instead of one"):
        unpack(packed(value))


@pytest.mark.parametrize(
    "text",
    ["!", "aGVsbG8=", packed("[]")[:-8], packed_bytes(b""), packed_bytes(b"garbage"), packed_bytes(b"\x80\x04.")],
)
def test_what_is_not_packed_text_is_refused(text) -> None:
    with pytest.raises(ProblemFileError):
        unpack(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_content": None}, "question_content"),
        ({"public_test_cases": "{}"}, "not a list"),
        ({"public_test_cases": "[{}]"}, "must have the texts"),
        ({"public_test_cases": "not JSON"}, "not JSON"),
        ({"metadata": "{"}, "metadata"),
        ({"metadata": '{"func_name": "total"}'}, "asks for functional"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "tests are none"),
    ],
)
def test_a_faulty_row_is_refused_with_its_fault(changes, message) -> None:
    with pytest.raises(ProblemFileError, match=message):
        parse_problem(livecodebench_row("stdin", **changes), "lcb")


def test_a_file_is_read_by_its_shape(tmp_path) -> None:
    rows = [livecodebench_row("stdin"), livecodebench_row("functional")]
    path = tmp_path / "some.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    problems = load_code_problems(str(path))
    assert [problem.id for problem in problems] == ["sums_stdin", "sums_functional"]
    assert {problem.source for problem in problems} == {"some"}


def test_a_copy_of_the_wrong_size_is_not_taken_for_the_benchmark(tmp_path) -> None:
    (tmp_path / "test6.jsonl").write_text(json.dumps(livecodebench_row("stdin")))
    with pytest.raises(ProblemFileError, match="holds 1 problems, but LiveCodeBench v6 has 175"):
        load_code_problems("livecodebench", tmp_path)


def test_the_prelude_compiles() -> None:
    compile(PRELUDE, "prelude", "exec")
    assert PRELUDE.startswith("from string import *")
