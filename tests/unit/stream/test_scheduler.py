"""Placement: sticky, stealing, limits that tune themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.stream import ConcurrencyRule, EnginePressure, EngineScheduler

FULL, EMPTY = EnginePressure(0.95), EnginePressure(0.1)


def scheduler(*engines: str, places: int = 2) -> EngineScheduler:
    made = EngineScheduler(ConcurrencyRule(places, 1, 64))
    for engine in engines:
        made.add_engine(engine)
    return made


def placed(source: EngineScheduler) -> dict[str, str]:
    return {start.uid: start.engine for start in source.start()}


def test_groups_go_where_there_is_most_room():
    source = scheduler("a", "b", places=3)
    for uid in "12345":
        source.enqueue(uid)
    assert sorted(placed(source).values()) == ["a", "a", "a", "b", "b"]
    source.release("1")
    assert source.free == 2


def test_a_group_starts_where_its_prefix_is_even_if_others_have_more_room():
    source = scheduler("a", "b")
    source.enqueue("1", home="a")
    source.enqueue("2", home="a")
    assert placed(source) == {"1": "a", "2": "a"}


def test_an_engine_that_would_be_idle_steals():
    source = scheduler("a", "b")
    for uid in "123":
        source.enqueue(uid, home="a")
    assert placed(source) == {"1": "a", "2": "a", "3": "b"}


def test_a_homed_group_starts_at_home_once_there_is_room():
    source = scheduler("a", places=1)
    source.enqueue("1", home="a")
    source.enqueue("2", home="a")
    assert placed(source) == {"1": "a"}
    source.enqueue("3", first=True)
    assert source.release("1") == "a"
    assert placed(source) == {"2": "a"}
    assert source.queued == 1


def test_a_lost_engine_returns_what_it_sampled_and_frees_what_it_had_not_begun():
    source = scheduler("a", places=1)
    source.enqueue("1", home="a")
    source.enqueue("2", home="a")
    source.start()
    assert source.lose_engine("a") == ["1"]
    assert (source.queued, source.free) == (1, 0)
    source.add_engine("b")
    assert placed(source) == {"2": "b"}


def test_nothing_starts_until_an_engine_has_come_down_to_a_lowered_limit():
    source = scheduler("a", places=4)
    for uid in "123456":
        source.enqueue(uid)
    assert len(source.start()) == 4
    source.report("a", EnginePressure(1.0, preemptions=1))
    assert source.limit("a") == 3
    for uid, started in (("1", 0), ("2", 1)):
        source.release(uid)
        assert source.free == started
        assert len(source.start()) == started


def test_what_is_queued_or_running_is_not_queued_again():
    source = scheduler("a", places=1)
    source.enqueue("1")
    with pytest.raises(ValueError, match="queued or running"):
        source.enqueue("1")
    source.start()
    with pytest.raises(ValueError, match="queued or running"):
        source.enqueue("1")
    with pytest.raises(ValueError, match="engine a already"):
        source.add_engine("a")


def test_a_queued_group_can_be_withdrawn():
    source = scheduler("a", places=1)
    for uid in "12":
        source.enqueue(uid, home="a")
    source.enqueue("3")
    assert source.release("2") is None
    assert source.release("3") is None
    assert placed(source) == {"1": "a"}


@pytest.mark.parametrize(
    ("limit", "running", "pressure", "expected"),
    [
        (8, 8, EMPTY, 10),
        (8, 5, EMPTY, 8),
        (8, 8, EnginePressure(0.7), 8),
        (8, 8, EnginePressure(0.1, waiting=3), 8),
        (8, 8, FULL, 7),
        (8, 8, EnginePressure(0.7, preemptions=1), 6),
        (64, 8, EnginePressure(0.99, preemptions=3), 6),
        (64, 64, EMPTY, 64),
        (1, 1, EnginePressure(1.0, preemptions=1), 1),
    ],
)
def test_a_limit_grows_when_it_binds_and_falls_under_pressure(limit, running, pressure, expected):
    assert ConcurrencyRule(1, 1, 64).next_limit(limit, running, pressure) == expected


@given(st.integers(2, 60), st.integers(1, 60))
def test_a_limit_finds_the_capacity_of_its_engine(capacity, initial):
    rule, limit = ConcurrencyRule(initial, 1, 64), initial
    for _ in range(100):
        limit = rule.next_limit(limit, limit, EnginePressure(min(1.0, limit / capacity), int(limit > capacity)))
    assert capacity * rule.grow_below - 1 <= limit <= capacity


def test_impossible_bounds_are_refused():
    with pytest.raises(ValueError, match="minimum"):
        ConcurrencyRule(initial=0)
    with pytest.raises(ValueError, match="grow_below"):
        ConcurrencyRule(grow_below=0.9)


@given(st.lists(st.tuples(st.sampled_from("adrlp"), st.integers(0, 5)), max_size=80))
def test_work_conserving_whatever_happens(events):
    """After ``start``, no engine has room while a group is queued, and none is above its limit."""
    source, engines, uids = scheduler(), list[str](), list[str]()
    for number, (event, choice) in enumerate(events):
        if event == "a":
            uids.append(f"g{number}")
            source.enqueue(uids[-1], home=f"e{choice}", first=choice % 2 == 0)
        elif event == "d" and uids:
            source.release(uids.pop(choice % len(uids)))
        elif event == "r":
            engines.append(f"later{number}" if f"e{choice}" in engines else f"e{choice}")
            source.add_engine(engines[-1])
        elif event == "l" and engines:
            for uid in source.lose_engine(engines.pop(choice % len(engines))):
                source.enqueue(uid, first=True)
        elif event == "p" and engines:
            source.report(engines[choice % len(engines)], EnginePressure(choice / 5))
        before = {engine: len(source.running(engine)) for engine in engines}
        source.start()
        assert source.free == sum(max(0, source.limit(each) - len(source.running(each))) for each in engines)
        assert not (source.free and source.queued)
        assert source.queued + sum(len(source.running(each)) for each in engines) == len(uids)
        for engine in engines:
            assert len(source.running(engine)) <= max(before[engine], source.limit(engine))
