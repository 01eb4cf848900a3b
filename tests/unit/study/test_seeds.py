"""Statistics over seeds against tables of Student's t."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.study.seeds import change, over_seeds, t_quantile, t_tail


@pytest.mark.parametrize(("degrees", "value"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_quantiles_are_those_of_the_tables(degrees, value):
    assert t_quantile(0.975, degrees) == pytest.approx(value, abs=5e-4)


@given(st.floats(0, 50), st.integers(1, 40))
def test_tails_shrink_from_one_half(statistic, degrees):
    tail = t_tail(statistic, degrees)
    assert 0 <= tail <= 0.5
    assert t_tail(statistic + 1, degrees) < tail or tail < 1e-12


def test_a_mean_has_students_interval():
    found = over_seeds([0.5, 0.6, 0.7, 0.8, 0.9])
    reach = 2.776 * math.sqrt(0.025) / math.sqrt(5)
    assert found.mean == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((0.7 - reach, 0.7 + reach), abs=1e-4)


def test_one_seed_has_no_interval_and_no_test():
    assert over_seeds([0.5]).low is None
    assert change([0.5], [0.6]).p_value is None


def test_changes_are_paired_by_seed():
    # Differences 1, 2, 3: mean 2, deviation 1, t = 2 / (1 / sqrt 3) = 3.4641 at 2 degrees.
    found = change([1.0, 10.0, 100.0], [2.0, 12.0, 103.0])
    assert found.difference.mean == 2
    assert found.p_value == pytest.approx(0.0742, abs=1e-4)


def test_differences_without_spread():
    assert change([0.25, 0.5], [0.25, 0.5]).p_value == 1
    assert change([0.25, 0.5], [0.5, 0.75]).p_value == 0


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="zip"):
        change([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="needs values"):
        over_seeds([])
