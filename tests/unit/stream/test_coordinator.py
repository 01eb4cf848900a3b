"""Stream and scheduler together: whose news count, and what becomes of places on engines."""

from thor_ray.stream import (
    AbortOrder,
    ConcurrencyRule,
    EngineScheduler,
    Part,
    ProblemCursor,
    RolloutCoordinator,
    StreamConfig,
    TrajectoryStream,
    restore_stream,
    stream_state,
)

SAMPLES = Part("store/x", {0: 3})


def coordinator(*engines: str, groups=2, staleness=1, places=4, **options) -> RolloutCoordinator:
    source = TrajectoryStream(StreamConfig(groups, staleness, 10, **options), ProblemCursor(5, seed=0))
    return with_engines(source, *engines, places=places)


def with_engines(source: TrajectoryStream, *engines: str, places=4) -> RolloutCoordinator:
    made = RolloutCoordinator(source, EngineScheduler(ConcurrencyRule(places, 1, 64)))
    for engine in engines:
        made.engine_joined(engine)
    return made


def started(rollouts: RolloutCoordinator) -> dict[str, str]:
    return {order.ticket.uid: order.engine for order in rollouts.start()}


def learn(rollouts: RolloutCoordinator) -> list[AbortOrder]:
    assert rollouts.stream.take()
    rollouts.stream.settle()
    return rollouts.published(rollouts.stream.version + 1)


def test_an_engine_that_was_given_up_cannot_finish_what_another_samples_now():
    rollouts = coordinator("a")
    uid = min(started(rollouts))
    rollouts.engine_lost("a")
    assert not rollouts.finished(uid, "a", SAMPLES), "while it waits"
    rollouts.engine_joined("b")
    assert started(rollouts)[uid] == "b"
    assert not rollouts.finished(uid, "a", SAMPLES), "while it runs elsewhere"
    rollouts.failed(uid, "a")
    assert rollouts.finished(uid, "b", SAMPLES)
    assert not rollouts.finished(uid, "b", SAMPLES), "when it is ready"


def test_a_node_that_takes_several_engines_along_costs_their_groups_no_attempt():
    """A group comes from one of them to the next, as long as nobody has noticed."""
    rollouts = coordinator("a", "b", "c", "d")
    uids = set(started(rollouts))
    for engine in ("a", "b", "c"):
        rollouts.engine_lost(engine, suspect=False)
        rollouts.start()
    assert rollouts.stream.in_flight.keys() == uids
    assert {group.ticket.failures for group in rollouts.stream.in_flight.values()} == {0}
    rollouts.engine_lost("d")
    assert {group.ticket.failures for group in rollouts.stream.in_flight.values()} == {1}


def test_groups_that_became_too_old_are_aborted_and_free_their_places():
    rollouts = coordinator("a", groups=1, staleness=1, places=2)
    first, second = started(rollouts)
    rollouts.finished(first, "a", SAMPLES)
    assert learn(rollouts) == []
    (third,) = started(rollouts)
    rollouts.finished(third, "a", Part("store/y", {1: 3}))
    assert learn(rollouts) == [AbortOrder(second, "a", keep=False)]
    assert rollouts.scheduler.running("a") == frozenset()
    assert len(started(rollouts)) == 2


def test_a_suspended_group_that_became_too_old_is_not_sampled_again():
    rollouts = coordinator("a", groups=1, staleness=1, places=2, over_sample=2.0)
    first, second = started(rollouts)
    rollouts.finished(first, "a", SAMPLES)
    (cut,) = rollouts.cut_tail()
    assert cut == AbortOrder(second, "a", keep=True)
    rollouts.suspended(second, "a", SAMPLES)
    assert learn(rollouts) == []
    orders = rollouts.start()
    assert [(order.ticket.uid, order.ticket.partial) for order in orders] == [(second, SAMPLES), ("g000002", None)]
    rollouts.finished("g000002", "a", Part("store/y", {1: 3}))
    rollouts.suspended(second, "a", SAMPLES)
    assert learn(rollouts) == []
    assert second not in started(rollouts)


def test_nothing_is_admitted_that_no_engine_can_begin_with():
    rollouts = coordinator("a", groups=8, places=3)
    assert len(started(rollouts)) == 3
    assert rollouts.stream.admitted == 3


def test_what_waits_in_a_checkpoint_is_sampled_first():
    rollouts = coordinator("a")
    before = started(rollouts)
    source = restore_stream(rollouts.stream.config, stream_state(rollouts.stream))
    assert started(with_engines(source, "b")) == dict.fromkeys(before, "b")
