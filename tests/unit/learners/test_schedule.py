"""The learning rate of each update."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.schedule import learning_rate
from thor_ray.config import OptimizerConfig


def rates(total: int, **options: object) -> list[float]:
    config = OptimizerConfig.model_validate({"learning_rate": 8.0, **options})
    return [learning_rate(config, update, total) for update in range(total)]


def test_constant():
    assert rates(3) == [8, 8, 8]


def test_warm_up_reaches_the_peak():
    assert rates(6, warmup_updates=4) == [2, 4, 6, 8, 8, 8]


def test_linear_falls_and_still_learns_at_the_last_update():
    assert rates(4, schedule="linear") == [8, 6, 4, 2]


def test_linear_after_warm_up():
    assert rates(6, schedule="linear", warmup_updates=2) == [4, 8, 8, 6, 4, 2]


def test_cosine_falls_slowly_then_fast_then_slowly():
    assert rates(4, schedule="cosine") == pytest.approx([8, 4 + 2 * 2**0.5, 4, 4 - 2 * 2**0.5])


def test_cosine_after_warm_up():
    assert rates(6, schedule="cosine", warmup_updates=4) == pytest.approx([2, 4, 6, 8, 8, 4])


def test_linear_beyond_its_end_stays_at_zero():
    config = OptimizerConfig(learning_rate=1, schedule="linear")
    assert learning_rate(config, 12, 10) == 0


@given(st.integers(0, 20), st.integers(1, 40), st.sampled_from(["constant", "linear", "cosine"]))
def test_it_lies_between_zero_and_the_peak(warmup, total, schedule):
    assert all(0 <= rate <= 8 + 1e-9 for rate in rates(total, warmup_updates=warmup, schedule=schedule))


@given(st.integers(1, 40))
def test_zero_stays_zero(total):
    assert rates(total, learning_rate=0, warmup_updates=3) == pytest.approx([0] * total)
