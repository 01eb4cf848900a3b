"""Engines, learner and time around the real coordinator: bounds, back-pressure, the cut tail, kill points."""

import json
from random import Random

import pytest

from thor_ray.stream import (
    ConcurrencyRule,
    ProblemCursor,
    StreamConfig,
    TrajectoryStream,
    drop_counts,
    restore_stream,
    stream_state,
)
from thor_ray.stream.groups import group_sequence
from thor_ray.stream.simulation import Simulation, World


def stream(groups, staleness, updates, **options) -> TrajectoryStream:
    return TrajectoryStream(StreamConfig(groups, staleness, updates, **options), ProblemCursor(11, seed=0))


def test_engines_are_hardly_ever_idle_and_no_group_is_too_old():
    source = stream(64, 8, updates=1000)
    simulation = Simulation(source, World(engines=8))
    simulation.run(until_version=8)
    busy, began = simulation.outcome.busy_seconds, simulation.outcome.seconds
    outcome = simulation.run(until_version=20)
    assert (outcome.busy_seconds - busy) / (outcome.seconds - began) / 64 > 0.95
    assert max(outcome.staleness) <= 8
    assert not source.drops


def test_a_slow_learner_holds_engines_back_and_nothing_is_dropped_for_it():
    source = stream(16, 1, updates=12)
    outcome = Simulation(source, World(engines=8, spread=0.0, update_seconds=1000.0)).run()
    assert len(outcome.trained) == 12 * 16
    assert source.admitted == 12 * 16
    assert not source.drops


def test_synchronous_training_is_the_same_whatever_the_engines_do():
    runs = [
        Simulation(stream(16, 0, 6), World(engines, filtered=0.3, death_every=deaths), seed=5).run()
        for engines, deaths in ((2, None), (8, None), (4, 400.0))
    ]
    assert runs[0].trained == runs[1].trained == runs[2].trained
    assert not any(runs[0].staleness)


def test_the_tail_is_cut_and_its_tokens_are_used_later():
    cut = stream(64, 3, updates=20, over_sample=2.0)
    world = World(engines=16, colocated=True)
    with_cut = Simulation(cut, world).run()
    whole = Simulation(stream(64, 0, updates=20), world).run()
    assert sorted(with_cut.trained) == sorted(set(with_cut.trained))
    assert max(with_cut.staleness) in range(1, 4)
    assert with_cut.seconds < 0.7 * whole.seconds
    assert drop_counts(cut.drops).keys() <= {"stale"}


def test_concurrency_finds_what_engines_can_carry():
    source = stream(256, 4, updates=12)
    simulation = Simulation(source, World(engines=4, places=20), rule=ConcurrencyRule(2, 1, 64))
    simulation.run()
    assert all(12 <= simulation.rollouts.scheduler.limit(f"engine{index}") <= 20 for index in range(4))


@pytest.mark.parametrize("seed", range(5))
def test_killed_again_and_again_every_group_trains_once_or_is_dropped(seed):
    config = StreamConfig(8, 2, updates=15, max_attempts=2)
    world = World(engines=3, places=4, filtered=0.2, death_every=100.0)
    random, source = Random(seed), TrajectoryStream(config, ProblemCursor(11, seed=0))
    for _ in range(12):
        simulation = Simulation(source, world, seed)
        before = set(source.trained)
        simulation.run(max_events=random.randrange(1, 80))
        trained = [group_sequence(uid) for uid in simulation.outcome.trained]
        assert len(set(trained)) == len(trained)
        assert not before & set(trained), "trained before the kill, and again"
        source = restore_stream(config, json.loads(json.dumps(stream_state(source))))
    Simulation(source, world, seed).run()
    assert len(source.trained) == 15 * 8
    assert not source.trained & {drop.sequence for drop in source.drops}
    assert len(source.trained) + len(source.drops) + len(source.in_flight) == source.admitted
