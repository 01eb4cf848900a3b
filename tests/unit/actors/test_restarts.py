"""The restart budget of an engine's place, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.restarts import RestartBudget
from thor_ray.config import RecipeError, RestartConfig, validate_recipe


@st.composite
def budgets(draw: st.DrawFn) -> RestartConfig:
    delay = draw(st.floats(0, 50))
    return RestartConfig(
        most=draw(st.integers(1, 6)),
        within_seconds=draw(st.floats(1, 1000)),
        delay_seconds=delay,
        longest_delay_seconds=delay + draw(st.floats(0, 200)),
    )


lives = st.lists(st.floats(0, 400), min_size=1, max_size=40)
"""For how many seconds each engine of a place lives."""


def restarts(config: RestartConfig, lives: list[float]) -> list[float | None]:
    """When an engine is started for each one that is lost; ``None`` where the budget is spent, and time goes on."""
    budget, now, granted = RestartBudget(config), 0.0, list[float | None]()
    for life in lives:
        now += life
        start = budget.spend(now)
        granted.append(start)
        now = now if start is None else start
    return granted


@given(config=budgets(), lives=lives)
def test_no_span_has_more_restarts_than_the_budget(config, lives):
    starts = [start for start in restarts(config, lives) if start is not None]
    for earlier, later in zip(starts, starts[config.most :], strict=False):
        # The float that follows a loss by exactly the span counts as the next span's.
        assert later - earlier >= config.within_seconds * (1 - 1e-12)


@given(config=budgets(), lives=lives)
def test_a_restart_is_refused_only_where_the_budget_is_spent(config, lives):
    now, before = 0.0, list[float]()
    for life, start in zip(lives, restarts(config, lives), strict=True):
        now += life
        recent = [other for other in before if now - other < config.within_seconds]
        assert (start is None) == (len(recent) >= config.most)
        if start is not None:
            before.append(start)
            now = start


@given(config=budgets(), lives=lives)
def test_delays_double_up_to_the_longest_and_never_go_back_in_time(config, lives):
    now, before = 0.0, list[float]()
    for life, start in zip(lives, restarts(config, lives), strict=True):
        now += life
        if start is None:
            continue
        recent = sum(now - other < config.within_seconds for other in before)
        delay = min(config.delay_seconds * 2 ** (recent - 1), config.longest_delay_seconds) if recent else 0
        assert start == now + delay
        before.append(start)
        now = start


def test_patience_is_whole_again_after_a_quiet_time():
    config = RestartConfig(most=2, within_seconds=100, delay_seconds=5, longest_delay_seconds=60)
    assert restarts(config, [10, 1, 1, 100]) == [10, 16, None, 117]


def test_without_a_budget_nothing_is_started():
    assert RestartBudget(RestartConfig(most=0)).spend(0.0) is None


@pytest.mark.parametrize(
    ("restarts", "said"),
    [
        ({"most": 0, "delay_seconds": 1}, r"engine\.restarts\.most: 0 leaves delay_seconds without effect"),
        ({"delay_seconds": 10, "longest_delay_seconds": 5}, "longest_delay_seconds is 5, less than delay_seconds, 10"),
        ({"most": -1}, "most"),
        ({"within_seconds": 0}, "within_seconds"),
    ],
)
def test_what_would_do_nothing_or_is_contradictory_is_refused(restarts, said):
    with pytest.raises(RecipeError, match=said):
        validate_recipe({"engine": {"restarts": restarts}}, "test")
