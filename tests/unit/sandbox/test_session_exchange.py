"""The state machine of a session's step, without clock and descriptors."""

import itertools
import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Limits, Status
from sandbox.sessions.exchange import GRACE_SECONDS, Exchange, read_step_report

DEADLINE = 5.0
SOUND = {
    "step": 3,
    "status": "ok",
    "exc_type": None,
    "exc_message": None,
    "traceback": "",
    "exit_code": 0,
    "user_us": 7,
    "system_us": 8,
    "max_rss_kb": 9,
}
FAILED = {**SOUND, "status": "runtime_error", "exit_code": 1}


def line(**fields: object) -> bytes:
    return json.dumps({**SOUND, **fields}).encode() + b"\n"


def exchange(grace: float = GRACE_SECONDS) -> Exchange:
    return Exchange(3, Limits(output_bytes=100), DEADLINE, grace)


def test_a_sound_report_ends_the_step():
    step = exchange()
    step.feed_report(line(), 1.0)
    assert step.report is not None
    assert (step.report.claim.status, step.report.exit_code, step.report.user_us) == (Status.OK, 0, 7)
    assert step.tick(1.0) is None


@given(st.lists(st.integers(1, len(line())), max_size=5))
def test_a_report_may_come_in_pieces(cuts):
    step, text = exchange(), line()
    edges = sorted({0, len(text), *cuts})
    for start, end in itertools.pairwise(edges):
        assert step.report is None
        step.feed_report(text[start:end], 1.0)
    assert step.report is not None
    assert step.fault is None


@pytest.mark.parametrize(
    "fields",
    [
        {"step": 2},
        {"step": "3"},
        {"status": "timeout"},
        {"exit_code": 1},
        {"status": "exit"},
        {"status": "exit", "exit_code": 256},
        {"exit_code": False},
        {"user_us": -1},
        {"user_us": 1.5},
        {"user_us": 2**53},
        {"max_rss_kb": None},
        {"traceback": None},
    ],
)
def test_a_report_that_does_not_add_up_is_none(fields):
    assert read_step_report(line(**fields), 3) is None


@given(
    st.one_of(st.binary(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_no_line_can_make_reading_fail(data):
    text = data if isinstance(data, bytes) else data.encode()
    assert read_step_report(text, 3) is None


@given(
    st.fixed_dictionaries({name: st.one_of(st.just(value), st.integers(), st.text()) for name, value in SOUND.items()})
)
def test_what_is_believed_is_within_bounds(fields):
    report = read_step_report(json.dumps(fields).encode(), 3)
    if report is not None:
        assert (report.exit_code == 0) is (report.claim.status is Status.OK)
        assert 0 <= report.exit_code <= 255
        assert all(0 <= each < 2**53 for each in (report.user_us, report.system_us, report.max_rss_kb))


@pytest.mark.parametrize("said", [b"x\n", b"\n", line() * 2, line() + b"x", line(step=4), b"x" * 70_000])
def test_a_spoilt_report_pipe_kills(said):
    step = exchange()
    step.feed_report(said, 1.0)
    assert step.report is None
    assert step.tick(1.0) is signal.SIGKILL
    assert step.fault is not None
    step.feed_report(line(), 1.1)
    assert step.report is None, "it is too late"


def test_at_the_deadline_it_is_interrupted_and_after_the_grace_killed():
    step = exchange()
    assert step.moment == DEADLINE
    assert step.tick(DEADLINE - 0.01) is None
    assert step.tick(DEADLINE) is signal.SIGINT
    assert step.stopped_for is Status.TIMEOUT
    assert step.moment == DEADLINE + GRACE_SECONDS
    assert step.tick(DEADLINE + GRACE_SECONDS / 2) is None
    assert step.tick(DEADLINE + GRACE_SECONDS) is signal.SIGKILL
    assert step.tick(DEADLINE + 100) is None


def test_a_report_within_the_grace_leaves_the_process_alone():
    step = exchange()
    step.tick(DEADLINE)
    step.feed_report(json.dumps(FAILED).encode() + b"\n", DEADLINE + 0.1)
    assert step.report is not None
    assert step.stopped_for is Status.TIMEOUT


def test_without_grace_it_is_killed_at_once():
    assert exchange(grace=0).tick(DEADLINE) is signal.SIGKILL


def test_too_much_output_interrupts():
    step = exchange()
    step.stdout.feed(b"x" * 60)
    step.stderr.feed(b"x" * 40)
    assert step.tick(1.0) is None
    step.stdout.feed(b"x")
    assert step.tick(1.0) is signal.SIGINT
    assert step.stopped_for is Status.OUTPUT_LIMIT
    assert step.tick(DEADLINE) is signal.SIGKILL
    assert step.stopped_for is Status.OUTPUT_LIMIT, "the first reason stands"


def test_a_closed_report_pipe_is_forgiven_to_a_dying_process_only():
    step = exchange()
    step.feed_report(b"", 1.0)
    assert step.tick(1.0) is None
    assert 1.0 < step.moment < 1.5
    assert step.tick(step.moment) is signal.SIGKILL
    assert step.fault is not None


def test_giving_up_kills_whatever_was_reported():
    step = exchange()
    step.feed_report(line(), 1.0)
    step.give_up(Status.CANCELLED)
    assert step.report is None
    assert step.tick(1.0) is signal.SIGKILL
    assert step.stopped_for is Status.CANCELLED


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from([line(), b"", b"{", b"\n", b"x" * 70_000])),
        st.tuples(st.just("output"), st.integers(1, 200)),
        st.tuples(st.just("time"), st.floats(0, 3)),
        st.tuples(st.just("give up"), st.none()),
    ),
    max_size=30,
)


@given(EVENTS, st.sampled_from([0.0, GRACE_SECONDS]))
def test_whatever_happens_it_ends_in_time_with_at_most_one_interrupt_and_one_kill(events, grace):
    step, now, sent = exchange(grace), 0.0, []
    for kind, value in events:
        if step.report is not None:
            break
        if kind == "report":
            step.feed_report(value, now)
        elif kind == "output":
            step.stdout.feed(b"x" * value)
        elif kind == "time":
            now += value
        else:
            step.give_up(Status.CANCELLED)
        if step.report is None:
            sent.append(step.tick(now))
    for _ in range(3):
        if step.report is None and step.moment < float("inf"):
            now = max(now, step.moment)
            sent.append(step.tick(now))
    signals = [each for each in sent if each is not None]
    assert step.report is not None or signals[-1] is signal.SIGKILL
    assert signals in ([], [signal.SIGINT], [signal.SIGKILL], [signal.SIGINT, signal.SIGKILL])
    driven_until = sum(value for kind, value in events if kind == "time")
    assert now <= max(driven_until, DEADLINE) + GRACE_SECONDS + 1e-6
