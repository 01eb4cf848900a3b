"""When a hand-made result and a program's output say the same."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.refine.agreement import Agreement, agreement, number_of

SAME, ROUNDED, DIFFERENT = Agreement.SAME, Agreement.ROUNDED, Agreement.DIFFERENT


@pytest.mark.parametrize(
    ("claimed", "observed", "expected"),
    [
        ("12", "12", SAME),
        ("0.50", "1/2", SAME),
        ("2", "2.0\n", SAME),
        ("33.33", "33.333", ROUNDED),
        ("2", "13/6", ROUNDED),
        ("3", "2.5", ROUNDED),
        ("33.34", "33.32", DIFFERENT),
        ("1/3", "0.333", DIFFERENT),
        ("12", "13", DIFFERENT),
        ("True", "True", SAME),
        ("True", "False", DIFFERENT),
        ("12", "2*sqrt(3)", DIFFERENT),
        ("12", "12/0", DIFFERENT),
        ("12", None, Agreement.NO_OUTPUT),
    ],
)
def test_values_are_compared_rather_than_texts(claimed, observed, expected):
    assert agreement(claimed, observed) is expected


def test_only_the_same_and_the_rounded_value_agree():
    assert [each for each in Agreement if each.agrees] == [SAME, ROUNDED]


@given(st.fractions(-(10**6), 10**6, max_denominator=10**6), st.integers(0, 5))
def test_every_value_agrees_with_itself_and_with_its_rounding(value, digits):
    assert agreement(str(value), str(value)) is SAME
    assert agreement(f"{float(round(value, digits)):.{digits}f}", str(value)).agrees


@given(st.text(max_size=30))
def test_any_text_is_a_rational_number_or_none(text):
    number = number_of(text)
    assert number is None or isinstance(number, Fraction)
