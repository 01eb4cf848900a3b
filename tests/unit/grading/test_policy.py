"""A tolerance is a data set's choice, and what only it lets pass is marked."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import EXACT, GraderPool, GradeStatus, GradingPolicy, grade_inline

ONE_PERCENT = GradingPolicy(Fraction(1, 100))


@pytest.mark.parametrize(
    ("answer", "gold", "is_near"),
    [
        ("9.6", "9.59", True),
        ("9.7", "9.59", False),
        (r"4.4\times 10^{33}", "4.5e33", False),
        (r"4.49\times 10^{33}", "4.5e33", True),
        (r"2\sqrt{3}", "3.46", True),
        (r"x = 3.47 \text{ cm}", r"3.46\text{ cm}", True),
        (r"3.47 \text{ m}", r"3.46\text{ cm}", False),
        ("-3.46", "3.46", False),
        ("0.001", "0", False),
        ("x + 1.001", "x + 1", False),
        ("3.46, 1", "3.47, 1", False),
        ("3.45 or 3.47", "3.46", False),
    ],
)
def test_near_numbers_pass_only_under_the_policy(pool: GraderPool, answer: str, gold: str, is_near: bool) -> None:
    assert pool.grade_answer(answer, gold).status is GradeStatus.WRONG
    grade = pool.grade_answer(answer, gold, ONE_PERCENT)
    assert grade.status is (GradeStatus.CORRECT if is_near else GradeStatus.WRONG)
    assert (grade.path == "tolerance") is is_near


def test_what_is_equal_anyway_is_not_marked(pool: GraderPool) -> None:
    assert pool.grade_answer("0.5", r"\frac{1}{2}", ONE_PERCENT).path == "exact"
    assert pool.grade_answer(r"\sqrt{12}", r"2\sqrt{3}", ONE_PERCENT).path == "symbolic"


@given(st.integers(1, 10**6), st.integers(-(10**5), 10**5))
def test_the_bound_is_the_golds_share(gold: int, difference: int) -> None:
    grade = grade_inline(str(gold + difference), str(gold), ONE_PERCENT)
    assert grade is not None
    assert (grade.status is GradeStatus.CORRECT) == (abs(difference) * 100 <= gold)


def test_exact_is_the_default() -> None:
    assert GradingPolicy() == EXACT
    grade = grade_inline("0.333333", r"\frac{1}{3}")
    assert grade is not None
    assert grade.status is GradeStatus.WRONG


@pytest.mark.parametrize("tolerance", [Fraction(0), Fraction(1), Fraction(-1, 100)])
def test_senseless_tolerances_are_refused(tolerance: Fraction) -> None:
    with pytest.raises(ValueError, match="relative_tolerance"):
        GradingPolicy(tolerance)
