"""Answers that are refused before any work, and expressions that no algebra is let near."""

import time

import pytest

from thor_ray.grading import GradeStatus, grade_inline
from thor_ray.grading.gates import MAX_CHARACTERS, MAX_NESTING, is_too_large_to_evaluate
from thor_ray.grading.normalisation import normalise


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("1" * (MAX_CHARACTERS + 1), "longer"),
        ("(" * (MAX_NESTING + 1) + "5" + ")" * (MAX_NESTING + 1), "nested"),
        ("5\x00", "control"),
        ("5\u200b", "invisible"),
        ("\u202e5", "invisible"),
        ("5\ufeff", "invisible"),
        ("\ud800", "invisible"),
    ],
)
def test_gates_refuse(answer: str, reason: str) -> None:
    grade = grade_inline(answer, "5")
    assert grade is not None
    assert grade.status is GradeStatus.UNPARSABLE
    assert reason in grade.reason
    assert grade.path == "gate"


def test_gates_let_the_limits_pass() -> None:
    nested = "(" * MAX_NESTING + "5" + ")" * MAX_NESTING
    assert (grade := grade_inline(nested, "5")) is not None
    assert grade.status is GradeStatus.CORRECT
    digits = "1" * MAX_CHARACTERS
    assert (grade := grade_inline(digits, digits)) is not None
    assert grade.status is GradeStatus.CORRECT


@pytest.mark.parametrize(
    "expression",
    [
        "9^{9^{9^{9}}}",
        "9^9^9^9",
        r"x^{10^{9}}",
        "2^{x^{9^{9^{9}}}}",
        "10^{1000000000}",
        "(3^{99999})!",
        "100000!",
        "5!!!",
        r"\binom{100000000}{50000000}",
        r"e^{99999999}",
    ],
)
def test_towers_and_factorials_are_only_compared_as_text(expression: str) -> None:
    assert is_too_large_to_evaluate(normalise(expression))
    started = time.perf_counter()
    for answer, gold, status in (
        (expression, expression, GradeStatus.CORRECT),
        (expression, "5", GradeStatus.WRONG),
        ("5", expression, GradeStatus.WRONG),
        (f"1 + {expression}", expression, GradeStatus.WRONG),
    ):
        grade = grade_inline(answer, gold)
        assert grade is not None
        assert grade.status is status
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize("expression", ["2^{10}", r"e^{-x^2}", "x^{2023}", "26!", r"\binom{2n}{n}", r"\log_{10} 250"])
def test_everyday_powers_and_factorials_are_not_too_large(expression: str) -> None:
    assert not is_too_large_to_evaluate(normalise(expression))


@pytest.mark.parametrize(
    "junk", ["^", "{}", "\\frac", "1,", "=", "\\pm", "\\text{a}", "1 ", "\\cup", "(,)", "-", "1/", "\\sqrt", ":", "or "]
)
def test_junk_of_the_greatest_length_is_quick(junk: str) -> None:
    started = time.perf_counter()
    grade_inline((junk * MAX_CHARACTERS)[:MAX_CHARACTERS], "5")
    grade_inline("5", (junk * MAX_CHARACTERS)[:MAX_CHARACTERS])
    assert time.perf_counter() - started < 60
