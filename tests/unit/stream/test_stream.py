"""Each transition of the stream, and what it refuses."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.errors import UserError
from thor_ray.stages.problem_sets import problem_batches
from thor_ray.stream import (
    GroupState,
    Part,
    ProblemCursor,
    StreamConfig,
    StreamError,
    StreamStarvedError,
    TrajectoryStream,
    drop_counts,
    restore_stream,
    stream_state,
    version_counts,
)
from thor_ray.stream.checkpoint import as_ranges, from_ranges, waiting_tickets
from thor_ray.stream.groups import group_sequence
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, TrajectoryBuilder

EVERYTHING = 10**6


def stream(groups=2, staleness=1, updates=10, **options) -> TrajectoryStream:
    return TrajectoryStream(StreamConfig(groups, staleness, updates, **options), ProblemCursor(5, seed=0))


def sampled(*versions: int) -> Part:
    return Part("store/x", dict.fromkeys(versions or (0,), 3))


def admitted(source: TrajectoryStream) -> list[str]:
    uids = [ticket.uid for ticket in source.admit(EVERYTHING)]
    for uid in uids:
        source.started(uid)
    return uids


def train(source: TrajectoryStream) -> list[str]:
    taken = [group.uid for group in source.take()]
    source.settle()
    source.published(source.version + 1)
    return taken


def test_admission_stops_at_the_window_and_goes_on_when_weights_are_published():
    source = stream(groups=2, staleness=1)
    uids = admitted(source)
    assert len(uids) == 4
    for uid in uids[:2]:
        source.finished(uid, sampled(0))
    source.take()
    assert not source.admit(EVERYTHING)
    source.settle()
    assert not source.admit(EVERYTHING), "trained groups count until their weights are published"
    source.published(1)
    assert len(source.admit(EVERYTHING)) == 2


def test_the_inequality_of_areal_holds_with_its_own_counts():
    source = stream(groups=3, staleness=2)
    for _ in range(5):
        for uid in admitted(source):
            source.finished(uid, sampled(source.version))
        accepted_or_running = len(source.trained) + len(source.in_flight)
        assert accepted_or_running == min((2 + source.version + 1) * 3, 10 * 3)
        train(source)


def test_nothing_is_admitted_that_could_not_be_taken():
    source = stream(groups=2, staleness=3, updates=3)
    assert len(source.admit(EVERYTHING)) == 6
    assert not source.admit(EVERYTHING)


def test_a_filtered_group_makes_room_for_exactly_one_other():
    source = stream()
    uids = admitted(source)
    assert source.filtered(uids[1], "zero_variance")
    assert [ticket.sequence for ticket in source.admit(EVERYTHING)] == [4]
    assert not source.filtered(uids[1], "zero_variance"), "and does so once"
    assert drop_counts(source.drops) == {"zero_variance": 1}


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_synchronous_mode_takes_the_same_groups_in_the_same_order_however_events_fall(order, filtered):
    source = stream(groups=4, staleness=0, updates=1)
    expected = [sequence for sequence in range(40) if sequence not in filtered][:4]
    running = set(admitted(source))
    rank = {sequence: position for position, sequence in enumerate(order)}
    while running:
        uid = min(running, key=lambda each: rank.get(group_sequence(each), 99))
        running.remove(uid)
        if group_sequence(uid) in filtered:
            source.filtered(uid, "zero_variance")
        else:
            source.finished(uid, sampled(0))
        running.update(admitted(source))
    assert [group_sequence(group.uid) for group in source.take()] == expected


def test_a_take_begins_with_the_oldest_tokens():
    source = stream(groups=2, staleness=2)
    uids = admitted(source)
    for uid in uids[:2]:
        source.finished(uid, sampled(0))
    train(source)
    source.finished(uids[2], sampled(1))
    source.finished(uids[5], sampled(0, 1))
    source.finished(uids[3], sampled(1))
    assert [group.uid for group in source.take()] == [uids[5], uids[2]]


def test_the_sink_drops_what_is_too_old_on_arrival():
    source = stream(groups=1, staleness=0)
    uid = admitted(source)[0]
    source.version = 1
    assert not source.finished(uid, sampled(0, 1))
    assert drop_counts(source.drops) == {"stale": 1}


def test_publishing_drops_what_is_still_sampled_and_too_old():
    source = stream(groups=1, staleness=1)
    first, second = admitted(source)
    source.finished(first, sampled(0))
    assert train(source) == [first]
    (third,) = admitted(source)
    source.finished(third, sampled(1))
    assert [group.uid for group in source.take()] == [third]
    source.settle()
    assert source.published(2) == [second]
    assert not source.finished(second, sampled(0)), "what comes late changes nothing"
    assert [drop.uid for drop in source.drops] == [second]


def test_a_group_lost_too_often_is_dropped_with_a_reason():
    source = stream(max_attempts=2)
    uid = admitted(source)[0]
    ticket = source.lost(uid)
    assert ticket is not None
    assert ticket.failures == 1
    source.started(uid)
    assert source.lost(uid) is None
    assert drop_counts(source.drops) == {"lost": 1}


def test_a_group_is_not_blamed_for_engines_that_others_took_along():
    source = stream(max_attempts=1)
    uid = admitted(source)[0]
    for _ in range(3):
        ticket = source.lost(uid, suspect=False)
        assert ticket is not None
        assert ticket.failures == 0
        source.started(uid)
    assert source.lost(uid) is None
    assert drop_counts(source.drops) == {"lost": 1}


def test_tokens_of_a_cut_tail_are_kept_and_age():
    source = stream(groups=2, staleness=1, over_sample=1.5)
    uids = admitted(source)
    assert len(uids) == 3
    assert source.tail() == []
    for uid in uids[:2]:
        source.finished(uid, sampled(0))
    assert source.tail() == [uids[2]]
    ticket = source.suspended(uids[2], sampled(0))
    assert ticket is not None
    assert ticket.partial == sampled(0)
    train(source)
    source.started(uids[2])
    assert source.in_flight[uids[2]].oldest_version == 0
    lost = source.lost(uids[2])
    assert lost is not None
    assert lost.partial == sampled(0), "what was stored outlives the engine"
    for uid in admitted(source):
        source.finished(uid, sampled(1))
    train(source)
    assert [drop.uid for drop in source.drops] == [uids[2]]


def test_an_update_that_was_skipped_whole_needs_no_publication():
    source = stream(groups=2, staleness=0)
    uids = admitted(source)
    for uid in uids:
        source.finished(uid, sampled(0))
    source.take()
    source.settle(dict.fromkeys(uids, "non_finite_loss"))
    assert len(source.admit(EVERYTHING)) == 2
    assert not source.trained


def test_a_starved_learner_is_told_why():
    source = stream(starved_after=4)
    for uid in admitted(source):
        source.filtered(uid, "zero_variance")
    with pytest.raises(StreamStarvedError, match=r"the last 4 groups were all dropped: zero_variance 4"):
        source.take()


def test_calls_out_of_turn_are_refused():
    source = stream()
    uids = admitted(source)
    with pytest.raises(StreamError, match="running, not waiting"):
        source.started(uids[0])
    with pytest.raises(StreamError, match="unknown, not running"):
        source.lost("g000099")
    with pytest.raises(ValueError, match="not the uid"):
        source.lost("x")
    with pytest.raises(StreamError, match="version 7"):
        source.finished(uids[0], sampled(7))
    with pytest.raises(StreamError, match="not taken"):
        source.settle()
    with pytest.raises(StreamError, match="version 2 was published after version 0"):
        source.published(2)
    with pytest.raises(ValueError, match="without a reason"):
        source.filtered(uids[0], "")
    for uid in uids[:2]:
        source.finished(uid, sampled(0))
    source.take()
    for call in (source.take, lambda: source.published(1)):
        with pytest.raises(StreamError, match="settled"):
            call()
    with pytest.raises(StreamError, match=uids[3]):
        source.settle({uids[3]: "why"})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"groups": 0}, "groups_per_update"),
        ({"staleness": -1}, "max_staleness"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"staleness": 0, "over_sample": 1.5}, "over_sample"),
        ({"over_sample": 1.0}, "over_sample"),
    ],
)
def test_bad_bounds_are_refused_by_name(options, named):
    with pytest.raises(UserError, match=rf"stream\.{named}"):
        stream(**options)


def test_a_part_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no token"):
        Part("x", {0: 0})


def test_a_checkpoint_brings_finished_groups_back_as_finished_and_others_as_waiting():
    source = stream(groups=1, staleness=2)
    first, second, third = admitted(source)
    source.finished(first, sampled(0))
    source.suspended(second, sampled(0))
    source.lost(third)
    source.started(third)
    source.take()
    again = restore_stream(source.config, json.loads(json.dumps(stream_state(source))))
    assert again.in_flight[first].state is GroupState.READY, "the weights beside it have not seen it"
    assert [ticket.uid for ticket in waiting_tickets(again)] == [second, third]
    assert again.in_flight[second].ticket == source.in_flight[second].ticket
    assert again.in_flight[third].ticket.failures == 1
    assert again.cursor.draw() == source.cursor.draw()


def test_a_damaged_checkpoint_is_refused():
    source = stream()
    admitted(source)
    state = stream_state(source)
    with pytest.raises(UserError, match="4 admitted groups it accounts for 3"):
        restore_stream(source.config, state | {"in_flight": state["in_flight"][1:]})
    with pytest.raises(UserError, match="schema 0"):
        restore_stream(source.config, state | {"schema": 0})


@given(st.sets(st.integers(0, 50)))
def test_ranges_hold_the_same_numbers(numbers):
    assert from_ranges(as_ranges(numbers)) == sorted(numbers)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 3))
def test_a_cursor_goes_on_from_anywhere_in_the_order_of_the_rounds(count, drawn, seed):
    whole = ProblemCursor(count, seed)
    order = [whole.draw() for _ in range(drawn + 5)]
    resumed = ProblemCursor(count, seed, drawn)
    assert [resumed.draw() for _ in range(5)] == order[drawn:]
    problems: list[Any] = list(range(count))
    batches: Any = problem_batches(problems, 1, len(order), seed)
    assert order == [batch[0] for batch in batches]


def test_versions_are_counted_by_sampled_token():
    builder = TrajectoryBuilder("t", "p", [1, 2])
    builder.append_sampled(SpanKind.THOUGHT, [3, 4], [-0.1, -0.1], 5)
    builder.append_sampled(SpanKind.THOUGHT, [3], [-0.1], 6)
    trajectory = builder.finish(FinishReason.ANSWERED)
    assert version_counts(Group("g", GroupKind.EPISODE, "p", (trajectory, trajectory))) == {5: 4, 6: 2}
    assert np.sum(trajectory.loss_mask()) == 3
