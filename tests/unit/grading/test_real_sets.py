"""Sets of real numbers equal each other however they are written, and nothing else does."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import GradeStatus, grade_inline
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.rational import evaluate
from thor_ray.grading.reading import read
from thor_ray.grading.real_sets import Bound, RealSet, as_real_set

Interval = tuple[int, bool, int, bool]
"""Low end, whether it belongs to the interval, high end, whether it does."""

ends = st.integers(-9, 9)
intervals = st.tuples(ends, st.booleans(), st.integers(1, 6), st.booleans()).map(
    lambda parts: (parts[0], parts[1], parts[0] + parts[2], parts[3])
)


def value(text: str) -> Bound | None:
    if text in ("\\infty", "-\\infty"):
        return math.inf if text == "\\infty" else -math.inf
    return evaluate(text)


def read_set(text: str) -> RealSet | None:
    return as_real_set(read(normalise(text)), value)


def written(interval: Interval) -> str:
    low, has_low, high, has_high = interval
    return f"{'[' if has_low else '('}{low},{high}{']' if has_high else ')'}"


def holds(interval: Interval, number: Fraction) -> bool:
    low, has_low, high, has_high = interval
    return low < number < high or (has_low and number == low) or (has_high and number == high)


def contains(real_set: RealSet, number: Fraction) -> bool:
    return any(
        (low.bound < number or (low.bound == number and not low.is_above))
        and (number < high.bound or (number == high.bound and high.is_above))
        for low, high in real_set
    )


@given(st.lists(intervals, min_size=1, max_size=4))
def test_a_union_holds_what_its_parts_hold(parts: list[Interval]) -> None:
    real_set = read_set(" \\cup ".join(map(written, parts)))
    assert real_set is not None
    for half in range(-24, 40):
        number = Fraction(half, 2)
        assert contains(real_set, number) == any(holds(part, number) for part in parts)


@given(st.lists(intervals, min_size=2, max_size=4), st.data())
def test_a_union_has_no_order(parts: list[Interval], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(parts))
    assert read_set("\\cup".join(map(written, parts))) == read_set("\\cup".join(map(written, shuffled)))


@given(intervals, intervals)
def test_a_difference_holds_what_only_the_first_holds(whole: Interval, without: Interval) -> None:
    real_set = read_set(rf"{written(whole)} \setminus {written(without)}")
    assert real_set is not None
    for half in range(-24, 40):
        number = Fraction(half, 2)
        assert contains(real_set, number) == (holds(whole, number) and not holds(without, number))


def status(answer: str, gold: str) -> GradeStatus:
    grade = grade_inline(answer, gold)
    assert grade is not None
    return grade.status


@given(intervals)
def test_an_interval_equals_its_conditions(interval: Interval) -> None:
    low, has_low, high, has_high = interval
    left, right = (r"\le" if closed else "<" for closed in (has_low, has_high))
    for answer in (rf"{low} {left} x {right} {high}", rf"\{{ t : {low} {left} t {right} {high} \}}"):
        assert status(answer, written(interval)) is GradeStatus.CORRECT
    changed = written((low, not has_low, high, has_high))
    assert status(changed, written(interval)) is GradeStatus.WRONG


def test_empty_sets_are_no_reason_to_call_points_equal() -> None:
    assert status("(2,2)", "(1,1)") is GradeStatus.WRONG
    assert status("x < 1 \\text{ and } x > 3", "x < 2 \\text{ and } x > 5") is GradeStatus.WRONG
