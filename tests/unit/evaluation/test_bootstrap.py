"""Intervals hold their figure, cover the truth as often as they claim, and repeat."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thor_ray.evaluation import bootstrap
from thor_ray.evaluation.bootstrap import Resampler, percentile_interval, share_interval, two_sided_p

shares = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(shares)
def test_a_share_lies_within_its_limits_and_they_within_0_and_1(values):
    resampler = Resampler(len(values), 0, "x", 200)
    low, high = share_interval(float(np.mean(values)), resampler.ratios(values), len(values))
    assert -1e-9 <= low <= np.mean(values) <= high <= 1 + 1e-9
    assert high > low


@given(shares)
def test_each_resample_is_a_mean_of_drawn_problems(values):
    drawn = Resampler(len(values), 0, "x", 50).ratios(values)
    assert drawn.shape == (50,)
    assert np.all(drawn >= min(values) - 1e-9)
    assert np.all(drawn <= max(values) + 1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=20))
def test_a_ratio_of_sums_takes_problems_whole(numerators):
    """Numerators twice the denominators give 2 in every resample, however unlike the problems are."""
    resampler = Resampler(len(numerators), 3, "x", 100)
    drawn = resampler.ratios([2 * value for value in numerators], numerators)
    assert np.allclose(drawn[np.isfinite(drawn)], 2)


def test_the_same_seed_and_stream_give_the_same_resamples_and_others_others():
    values = np.random.default_rng(1).random(40)
    first = Resampler(40, 5, "math500", 500).ratios(values)
    assert np.array_equal(first, Resampler(40, 5, "math500", 500).ratios(values))
    assert not np.array_equal(first, Resampler(40, 6, "math500", 500).ratios(values))
    assert not np.array_equal(first, Resampler(40, 5, "aime2024", 500).ratios(values))


def test_resamples_are_drawn_problem_by_problem():
    resampler = Resampler(7, 0, "x", 2500)
    ones = np.eye(7)
    counts = np.stack([resampler.ratios(one) * 7 for one in ones])
    assert np.allclose(counts.sum(axis=0), 7)
    assert np.allclose(counts, np.round(counts))
    assert np.allclose(counts.mean(axis=1), 1, atol=0.1)


def test_problems_that_all_agree_still_have_an_interval():
    low, high = share_interval(0.0, Resampler(30, 0, "x", 100).ratios([0.0] * 30), 30)
    assert low == 0
    assert high == pytest.approx(0.1135, abs=1e-3)  # Wilson, 0 of 30
    assert percentile_interval(np.zeros(100), 30) is None
    assert two_sided_p(np.zeros(100), 30) is None


def test_limits_hold_the_share_even_where_resamples_miss_it():
    """A mean of few draws can lie on one side of the figure in every resample."""
    assert share_interval(0.5, np.linspace(0.6, 0.9, 100), 20)[0] == 0.5
    assert share_interval(0.5, np.linspace(0.1, 0.4, 100), 20)[1] == 0.5


def test_one_problem_says_nothing_of_the_spread():
    resampler = Resampler(1, 0, "x", 100)
    assert percentile_interval(resampler.ratios([0.4]), 1) is None
    with pytest.raises(ValueError, match="resampling needs problems"):
        Resampler(0, 0, "x")


def test_an_undefined_ratio_is_undefined_in_every_resample():
    assert np.isnan(Resampler(3, 0, "x", 10).ratios([0, 0, 0], [0, 0, 0])).all()


@pytest.mark.parametrize("problems", [5, 10, 30, 200])
def test_p_values_invert_the_interval(problems):
    """The level at which the widened interval touches 0 is the p-value."""
    for tail in (0.01, 0.025, 0.2):
        assert bootstrap._nominal(bootstrap._expanded(tail, problems), problems) == pytest.approx(tail, rel=1e-6)


def test_the_interval_is_as_wide_as_students_for_a_mean():
    """Known quantiles of Student's t: the bootstrap of a normal mean has its width."""
    for freedom, quantile in ((9, 2.262), (29, 2.045), (199, 1.972)):
        level = bootstrap._expanded(0.025, freedom + 1)
        normal = -NormalDist().inv_cdf(level) / np.sqrt((freedom + 1) / freedom)
        assert normal == pytest.approx(quantile, rel=2e-3)


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=8, max_size=20))
def test_a_difference_is_significant_where_its_interval_leaves_out_zero(differences):
    problems = len(differences)
    drawn = Resampler(problems, 0, "x", 2000).ratios(differences)
    limits, p = percentile_interval(drawn, problems), two_sided_p(drawn, problems)
    if limits is None:
        assert p is None
        return
    assert p is not None
    assert 0 < p <= 1
    if p < 0.04:
        assert limits[0] > 0 or limits[1] < 0
    if limits[0] > 1e-6 or limits[1] < -1e-6:
        assert p < 0.07


@pytest.mark.parametrize(
    ("problems", "mean", "spread"), [(30, 0.45, 1.0), (30, 0.45, 30.0), (30, 0.1, 2.0), (200, 0.9, 2.0)]
)
def test_the_interval_covers_the_truth_about_95_times_in_100(problems, mean, spread):
    """Problems × 4 samples, the problems' difficulties drawn from a beta distribution."""
    random = np.random.default_rng(5)
    resamplers = [Resampler(problems, seed, "coverage", 1000) for seed in range(10)]
    runs, covered = 600, 0
    for run in range(runs):
        difficulty = random.beta(mean * spread, (1 - mean) * spread, size=problems)
        values = (random.random((problems, 4)) < difficulty[:, None]).mean(axis=1)
        low, high = share_interval(float(values.mean()), resamplers[run % 10].ratios(values), problems)
        covered += low <= mean <= high
    assert 0.925 <= covered / runs <= 0.975


def test_equal_policies_are_called_different_about_5_times_in_100():
    random = np.random.default_rng(11)
    resamplers = [Resampler(30, seed, "alarms", 1000) for seed in range(10)]
    runs, alarms = 600, 0
    for run in range(runs):
        difficulty = random.beta(0.5, 0.5, size=30)
        a, b = ((random.random((30, 4)) < difficulty[:, None]).mean(axis=1) for _ in range(2))
        p = two_sided_p(resamplers[run % 10].ratios(b - a), 30)
        alarms += p is not None and p < 0.05
    assert 0.03 <= alarms / runs <= 0.07
