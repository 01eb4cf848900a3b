"""What is a unit, and which units may stand for each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import GradeStatus, grade_inline
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.units import split_unit, units_agree


@pytest.mark.parametrize(
    ("text", "body", "unit"),
    [
        (r"864 \mbox{ inches}^2", "864", "inch^2"),
        (r"864\text{ square inches}", "864", "inch^2"),
        (r"10\text{ m/s}", "10", "meter/second"),
        (r"10\,\mathrm{m}\,\mathrm{s}^{-1}", "10", "meter/second"),
        (r"5\text{ kg}\cdot\text{m}/\text{s}^2", "5", "kilogram*meter/second^2"),
        (r"\$18.90", "18.90", "dollar"),
        ("18.90 dollars", "18.90", "dollar"),
        (r"18.90\$", "18.90", "dollar"),
        (r"12\%", "12", "%"),
        (r"75^{\circ}", "75", "degree"),
        (r"20^\circ\text{C}", "20", "degree C"),
        ("60 mph", "60", "mile/hour"),
        ("30 km/h", "30", "kilometer/hour"),
        (r"36\pi \text{ cubic centimeters}", r"36\pi", "centimeter^3"),
        ("5 red marbles", "5", "red marble"),
        ("7", "7", ""),
        ("6m", "6m", ""),
        ("5x", "5x", ""),
        (r"5\text{ or more}", r"5\text{ or more}", ""),
        (r"5\text{ squared}", r"5\text{ squared}", ""),
        (r"\sin 30^\circ", r"\sin 30^\circ", ""),
    ],
)
def test_units_are_taken_off(text: str, body: str, unit: str) -> None:
    measured = split_unit(normalise(text))
    assert (measured.body.strip(), measured.unit) == (body, unit)


@pytest.mark.parametrize(
    ("text", "scale"), [("5 million", 10**6), (r"5\text{ million dollars}", 10**6), ("5 dozen", 12)]
)
def test_words_that_multiply_belong_to_the_value(text: str, scale: int) -> None:
    assert split_unit(normalise(text)).scale == scale
    grade = grade_inline(text, str(5 * scale))
    assert grade is not None
    assert grade.status is GradeStatus.CORRECT
    grade = grade_inline(text, "5")
    assert grade is not None
    assert grade.status is GradeStatus.WRONG


def test_a_missing_unit_agrees_with_any_and_a_generic_one_with_its_dimension() -> None:
    assert units_agree("", "inch^2")
    assert units_agree("inch^2", "")
    assert units_agree("inch^2", "unit^2")
    assert not units_agree("inch^2", "unit")
    assert not units_agree("inch^2", "inch^3")
    assert not units_agree("meter", "kilometer")


@given(st.text(alphabet="0123 .\\text{}cm/^2-%$dollarmi", max_size=40))
def test_any_text_is_taken_apart_or_left_whole(text: str) -> None:
    measured = split_unit(normalise(text))
    assert measured.unit or measured.scale != 1 or measured.body == normalise(text)
