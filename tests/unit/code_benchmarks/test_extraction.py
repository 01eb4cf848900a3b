"""Which program a response holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.code_problems import GREETING, HALVES, livecodebench_row
from thor_ray.code_benchmarks.assembly import program_of
from thor_ray.code_benchmarks.evalplus import parse_problem
from thor_ray.code_benchmarks.extraction import defines, extract_program, fenced_blocks
from thor_ray.code_benchmarks.livecodebench import parse_problem as parse_livecodebench
from thor_ray.dialogue import render_action, render_observation

DEFINITION = "def f(x):\n    return x"
USE = "print(f(3))"


def fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (f"Here:\n{fenced(DEFINITION)}\nDone.", DEFINITION),
        (f"{fenced('x = 1')}\nBetter:\n{fenced(DEFINITION)}", DEFINITION),
        (f"{fenced(DEFINITION)}\nFor example:\n{fenced(USE)}", DEFINITION),
        (f"{fenced(DEFINITION)}\nIt prints:\n{fenced('3', 'output')}", DEFINITION),
        (f"{fenced(DEFINITION)}\nIt prints:\n{fenced('3', '')}", DEFINITION),
        (fenced(DEFINITION, ""), DEFINITION),
        (fenced(DEFINITION, "Python3"), DEFINITION),
        (fenced(DEFINITION, "py"), DEFINITION),
        (f"```python title=a.py\n{DEFINITION}\n```", DEFINITION),
        (f"~~~python\n{DEFINITION}\n~~~", DEFINITION),
        (f"````python\n{DEFINITION}\n# ```\n````", f"{DEFINITION}\n# ```"),
        ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```", DEFINITION),
        (f"cut off:\n```python\n{DEFINITION}", DEFINITION),
        (f"{fenced(DEFINITION)}\nand\n```python\ndef f(", DEFINITION),
        (f"<think>{fenced('def f(x): pass')}</think>{fenced(DEFINITION)}", DEFINITION),
        (f"<think>hm, code?</think>{DEFINITION}", DEFINITION),
        (f"<think>\n{fenced(DEFINITION)}\n</think>\nThat is it.", DEFINITION),
        (fenced("int f;", "c"), None),
        (fenced("  ", "python"), None),
        ("", None),
        (" \n", None),
        (
            fenced("class Solution:\n    def f(self):\n        pass") + "\n" + fenced(USE),
            "class Solution:\n    def f(self):\n        pass",
        ),
    ],
)
def test_the_program_of_a_response(response, program) -> None:
    assert extract_program(response, "f") == program


def test_the_last_block_counts_where_no_function_is_asked_for() -> None:
    assert extract_program(f"{fenced(DEFINITION)}\n{fenced(USE)}") == USE


def test_an_executed_block_of_a_trajectory_is_a_program() -> None:
    response = f"Let us try.{render_action(DEFINITION)}{render_observation('3')}That is it."
    assert extract_program(response.replace("try.```", "try.\n```"), "f") == DEFINITION


@given(st.text(alphabet="`~ \nabpython", max_size=80))
def test_any_text_is_read(text) -> None:
    for block in fenced_blocks(text):
        assert all(line in text for line in block.text.split("\n"))
    extract_program(text, "f")


@given(st.lists(st.sampled_from(["x = 1", "  y", "", "# `a`", "z"]), max_size=5), st.sampled_from(["", "  ", "\t"]))
def test_a_block_is_read_back_whatever_its_indentation(lines, indent) -> None:
    text = "\n".join(indent + line for line in ["```python", *lines, "```"])
    (block,) = fenced_blocks(text)
    assert block.text.split("\n") == (lines or [""])
    assert block.closed


@pytest.mark.parametrize(
    ("program", "bound"),
    [
        ("def f(): pass", True),
        ("async def f(): pass", True),
        ("f = lambda: 1", True),
        ("f: object = len", True),
        ("from math import gcd as f", True),
        ("class f: pass", True),
        ("def g():\n    def f(): pass", False),
        ("f()", False),
        ("def f(:", False),
        ("x = '\0'", False),
        ("(" * 1000, False),
    ],
)
def test_what_a_program_defines(program, bound) -> None:
    assert defines(program, "f") is bound


def test_code_that_defines_the_function_is_the_whole_program() -> None:
    problem = parse_problem(HALVES, "humanevalplus")
    own = "def halves(xs):\n    return [x / 2 for x in xs]"
    assert program_of(problem, fenced(own)) == own, "it has to bring its own imports, as in EvalPlus"


def test_other_code_continues_the_task() -> None:
    problem = parse_problem(HALVES, "humanevalplus")
    body = HALVES["canonical_solution"]
    assert program_of(problem, str(body)) == str(HALVES["prompt"]) + str(body)
    assert program_of(problem, f"```python\n{body}```") == str(HALVES["prompt"]) + str(body).rstrip("\n")


def test_a_task_without_an_opening_is_not_continued() -> None:
    assert program_of(parse_problem(GREETING, "mbppplus"), fenced("pass")) == "pass"


@pytest.mark.parametrize("prose", ["I cannot solve this.", "The answer is 3!"])
def test_prose_is_no_program(prose) -> None:
    assert program_of(parse_problem(GREETING, "mbppplus"), prose) is None
    assert program_of(parse_livecodebench(livecodebench_row("stdin"), "lcb"), prose) is None


def test_fenced_code_that_does_not_compile_is_a_wrong_program() -> None:
    assert program_of(parse_problem(GREETING, "mbppplus"), fenced("def greet(:")) == "def greet(:"
