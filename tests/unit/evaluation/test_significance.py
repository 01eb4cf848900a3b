"""Tests of significance against what is known of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.evaluation.significance import (
    ContingencyTable,
    chi_squared,
    chi_squared_tail,
    holm,
    sign_test,
    stratified_chi_squared,
)

counts = st.integers(0, 60)
tables = st.builds(ContingencyTable, counts, counts, counts, counts)


@given(counts, counts)
def test_the_sign_test_is_the_binomial_tail_of_both_sides(better, worse):
    pairs = better + worse
    chances = [math.comb(pairs, k) / 2**pairs for k in range(pairs + 1)]
    as_uneven = [chances[k] for k in range(pairs + 1) if abs(2 * k - pairs) >= abs(better - worse)]
    assert sign_test(better, worse) == pytest.approx(min(1.0, sum(as_uneven)), rel=1e-9)
    assert sign_test(better, worse) == sign_test(worse, better)


def test_the_sign_test_is_exact_at_any_size():
    assert sign_test(0, 0) == 1
    assert sign_test(5, 0) == 2 / 32
    assert sign_test(0, 1000) == 2.0**-999
    with pytest.raises(ValueError, match="must not be negative"):
        sign_test(-1, 3)


def test_chi_squared_is_the_papers():
    """Paper table 4: χ² = 336.3, p = 4.09e-75."""
    found = chi_squared(ContingencyTable(3950, 139, 1549, 318))
    assert found is not None
    assert found[0] == pytest.approx(336.29, abs=0.01)
    assert found[1] == pytest.approx(4.09e-75, rel=2e-3)


@given(tables)
def test_chi_squared_is_the_sum_over_cells(table):
    found = chi_squared(table)
    cells = [
        (table.right_passed, table.right, table.passed),
        (table.right_failed, table.right, table.failed),
        (table.wrong_passed, table.wrong, table.passed),
        (table.wrong_failed, table.wrong, table.failed),
    ]
    if not all(row * column for _, row, column in cells):
        assert found is None
        return
    expected = sum(
        (seen - row * column / table.total) ** 2 / (row * column / table.total) for seen, row, column in cells
    )
    assert found is not None
    assert found[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert 0 <= found[1] <= 1


@pytest.mark.parametrize(("statistic", "tail"), [(0, 1.0), (3.841458820694124, 0.05), (10.827566170662733, 0.001)])
def test_the_tail_has_its_known_quantiles(statistic, tail):
    assert chi_squared_tail(statistic) == pytest.approx(tail, rel=1e-9)


@given(tables)
def test_one_stratum_is_the_plain_test_up_to_its_size(table):
    """The variance within a stratum has n − 1 where Pearson's has n."""
    plain, stratified = chi_squared(table), stratified_chi_squared([table])
    if plain is None or table.total < 2:
        assert stratified is None
        return
    assert stratified is not None
    assert stratified[0] == pytest.approx(plain[0] * (table.total - 1) / table.total, rel=1e-6, abs=1e-9)


def test_strata_take_away_what_hardness_alone_explains():
    """Within each problem code success says nothing; over all samples it seems to say a lot."""
    easy, hard = ContingencyTable(81, 9, 9, 1), ContingencyTable(1, 9, 9, 81)
    pooled = ContingencyTable(82, 18, 18, 82)
    overall, within = chi_squared(pooled), stratified_chi_squared([easy, hard])
    assert overall is not None
    assert overall[1] < 1e-15
    assert within == (0.0, 1.0)


def test_strata_without_contrast_say_nothing():
    assert stratified_chi_squared([ContingencyTable(4, 0, 0, 0), ContingencyTable(0, 0, 3, 1)]) is None
    assert stratified_chi_squared([]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_adjusts_upwards_keeps_the_order_and_is_no_stricter_than_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, raised in zip(p_values, adjusted, strict=True):
        assert p <= raised <= min(1.0, len(p_values) * p) + 1e-12 or raised == pytest.approx(max(adjusted))
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)
    assert adjusted[order[0]] == min(1.0, len(p_values) * p_values[order[0]])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
