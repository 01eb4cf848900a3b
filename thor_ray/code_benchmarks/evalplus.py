"""HumanEval+ and MBPP+ from EvalPlus's own release files."""

import json
from collections.abc import Mapping
from typing import Any, Final

from thor_ray.code_benchmarks import mbpp_inputs
from thor_ray.code_benchmarks.inside.notation import encode
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall, Rule, Suite
from thor_ray.problems.errors import ProblemFileError

BASE, PLUS = "base", "plus"
"""Tests of the original benchmark, and those that EvalPlus added."""

FIELDS: Final = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")

_HUMANEVAL, _MBPP = "HumanEval", "Mbpp"
_QUESTION: Final = (
    "Write a self-contained Python program that solves the task below: the function that it asks for, with all imports "
    "and helpers that it needs. Put the program in one ```python block.\n\n```python\n{prompt}\n```"
)
_RULES: Final[Mapping[str, Rule]] = {
    f"{_HUMANEVAL}/find_zero": Rule.POLYNOMIAL_ROOT,
    f"{_MBPP}/are_equivalent": Rule.ANYTHING,
    f"{_MBPP}/sum_div": Rule.EQUAL_OR_ZERO,
    f"{_MBPP}/surface_Area": Rule.PYRAMID_SURFACE,
    f"{_MBPP}/digit_distance_nums": Rule.DIGIT_DISTANCE,
    **{f"{_MBPP}/{name}": Rule.EQUALLY_NONE for name in ("check_str", "text_match_three", "text_starta_endb")},
    **{
        f"{_MBPP}/{name}": Rule.EQUAL_AS_SETS
        for name in (
            *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum"),
            *("intersection_array", "find_dissimilar", "Diff"),
        )
    },
}
"""Tasks whose outputs are not simply compared, by benchmark and function (EvalPlus's special oracles)."""


def is_evalplus(record: Mapping[str, Any]) -> bool:
    """Whether a row looks like one of EvalPlus's."""
    return "task_id" in record and "base_input" in record


def parse_problem(record: Mapping[str, Any], source: str) -> CodeProblem:
    """The problem of one row.

    Args:
        record: The row, numbers that JSON lacks (``-Infinity``) included.
        source: ``CodeProblem.source``.

    Raises:
        ProblemFileError: the row is none; the message says what is wrong, without file and row.
    """
    missing = [name for name in FIELDS if name not in record]
    if missing:
        raise ProblemFileError(f"no row of EvalPlus: {', '.join(map(repr, missing))} missing")
    family, _, number = str(record["task_id"]).partition("/")
    if family not in (_HUMANEVAL, _MBPP) or not number.isdecimal():
        raise ProblemFileError(f"task_id is {record['task_id']!r}; HumanEval/<number> or Mbpp/<number> is expected")
    for name in ("prompt", "entry_point", "canonical_solution"):
        if not isinstance(record[name], str):
            raise ProblemFileError(f"field {name!r} must be text")
    try:
        suites = [Suite(BASE, _inputs(record["base_input"], family, int(number)))]
        if record["plus_input"]:
            suites.append(Suite(PLUS, _inputs(record["plus_input"], family, int(number))))
        tolerance = float(record["atol"])
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ProblemFileError(f"{record['task_id']}: its inputs or its tolerance cannot be read ({error})") from error
    prompt, name = record["prompt"], record["entry_point"]
    return CodeProblem(
        id=record["task_id"],
        question=_QUESTION.format(prompt=prompt.strip()),
        source=source,
        interface=FunctionCall(name),
        suites=tuple(suites),
        rule=_RULES.get(f"{family}/{name}", Rule.EQUAL_OR_CLOSE),
        tolerance=tolerance,
        opening=prompt if family == _HUMANEVAL else "",
        reference=prompt + record["canonical_solution"],
    )


def _inputs(calls: list[Any], family: str, number: int) -> tuple[str, ...]:
    restored = (mbpp_inputs.restore(number, each) if family == _MBPP else each for each in calls)
    return tuple(json.dumps(encode(list(arguments))) for arguments in restored)
