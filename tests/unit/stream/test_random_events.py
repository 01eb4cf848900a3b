"""Invariants of the stream under random events, and under hypothesis' search for a sequence that breaks them."""

from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.streams import Harness
from thor_ray.stream import StreamConfig, drop_counts

EVENTS = {
    "start": 30, "ends": 30, "take": 10, "learn": 8, "publish": 8, "join": 3, "lose": 1, "late_samples": 2,
    "pressure": 5, "save": 1, "kill": 1,
}  # fmt: skip
WITH_CHANCE = {"ends", "lose", "late_samples", "pressure", "learn"}


@pytest.mark.slow
@pytest.mark.parametrize(("max_staleness", "events"), [(0, 20_000), (1, 40_000), (4, 40_000)])
def test_hundred_thousand_events_lose_and_repeat_nothing(max_staleness, events):
    random = Random(max_staleness)
    harness = Harness(StreamConfig(4, max_staleness, updates=10**9, starved_after=10**9))
    names = random.choices(list(EVENTS), list(EVENTS.values()), k=events)
    for number, name in enumerate(names):
        method = getattr(harness, name)
        method(random) if name in WITH_CHANCE else method()
        if number % 50 == 0:  # looking at everything that ever trained costs more than the event
            harness.check()
    harness.check()
    assert harness.stream.updates_done > events / 1000
    reasons = drop_counts(harness.stream.drops).keys()
    assert (
        {"lost", "zero_variance", "non_finite_loss"} <= reasons <= {"lost", "zero_variance", "non_finite_loss", "stale"}
    )
    if max_staleness == 0:
        assert "stale" not in reasons, "nothing is sampled while weights change"
    if max_staleness == 1:
        assert "stale" in reasons


class StreamMachine(RuleBasedStateMachine):
    """Kill points are wherever hypothesis puts ``kill``; what is killed goes on from the last ``save``."""

    @initialize(
        groups=st.integers(1, 4), staleness=st.integers(0, 3), updates=st.integers(1, 5), over_sample=st.booleans()
    )
    def begin(self, groups, staleness, updates, over_sample):
        factor = 1 + staleness / 2 if over_sample and staleness else None
        self.harness = Harness(StreamConfig(groups, staleness, updates, over_sample=factor, starved_after=10**6))
        self.steps = 0

    @rule()
    def start(self):
        self.harness.start()

    @rule(seed=st.integers(0, 2**32))
    def ends(self, seed):
        self.harness.ends(Random(seed))

    @rule(seed=st.integers(0, 2**32))
    def lose_engine(self, seed):
        self.harness.lose(Random(seed))

    @rule()
    def join(self):
        self.harness.join()

    @rule(seed=st.integers(0, 2**32))
    def late_samples(self, seed):
        self.harness.late_samples(Random(seed))

    @rule(seed=st.integers(0, 2**32))
    def pressure(self, seed):
        self.harness.pressure(Random(seed))

    @rule()
    def take(self):
        self.harness.take()

    @rule(seed=st.integers(0, 2**32))
    def learn(self, seed):
        self.harness.learn(Random(seed))

    @rule()
    def publish(self):
        self.harness.publish()

    @rule()
    def cut_tail(self):
        for order in self.harness.rollouts.cut_tail():
            assert order.keep
            part = self.harness.sample(order.uid)
            self.harness.rollouts.suspended(order.uid, order.engine, part)

    @rule()
    def save(self):
        self.harness.save()

    @rule()
    def kill(self):
        self.harness.kill()

    @invariant()
    def nothing_is_lost_or_repeated(self):
        if hasattr(self, "harness"):
            self.harness.check()

    def teardown(self):
        if hasattr(self, "harness"):
            self.harness.finish(Random(0))
            self.harness.check()
            assert self.harness.stream.updates_done == self.harness.config.updates


StreamMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStreamMachine = StreamMachine.TestCase
