import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.result import Status
from sandbox.verdict import Report, judge, read_report
from sandbox.wire import Ended

MEMORY = 1 << 20
CLAIMS = [Status.OK, Status.EXIT, Status.RUNTIME_ERROR, Status.SYNTAX_ERROR, Status.MEMORY_LIMIT]


def ended(code: int = 0, number: int = 0, cpu_us: int = 0, rss_kb: int = 0) -> Ended:
    return Ended(1, code << 8 | number, cpu_us, 0, rss_kb)


def report(status: Status) -> Report:
    return Report(status, None, None, "")


def status_of(end: Ended, killed_for: Status | None = None, claim: Report | None = None) -> Status:
    return judge(killed_for, end, claim, cpu_limit_seconds=2, memory=MEMORY).status


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_signal_beats_every_claim(claim):
    assert status_of(ended(number=signal.SIGSEGV), claim=report(claim)) is Status.CRASH


@pytest.mark.parametrize("reason", [Status.TIMEOUT, Status.OUTPUT_LIMIT, Status.CANCELLED])
def test_our_own_kill_explains_the_signal_but_not_an_end_that_came_first(reason):
    assert status_of(ended(number=signal.SIGKILL), killed_for=reason) is reason
    assert status_of(ended(), killed_for=reason, claim=report(Status.OK)) is Status.OK


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (ended(number=signal.SIGXCPU), Status.TIMEOUT),
        (ended(number=signal.SIGKILL, cpu_us=2_000_000), Status.TIMEOUT),
        (ended(number=signal.SIGKILL, rss_kb=MEMORY // 1024), Status.MEMORY_LIMIT),
        (ended(number=signal.SIGKILL), Status.CRASH),
        (ended(number=signal.SIGABRT), Status.CRASH),
    ],
)
def test_signals_of_the_kernel(end, status):
    assert status_of(end) is status


def test_a_claim_counts_only_if_the_exit_code_agrees():
    assert status_of(ended(code=1), claim=report(Status.RUNTIME_ERROR)) is Status.RUNTIME_ERROR
    assert status_of(ended(code=4), claim=report(Status.OK)) is Status.EXIT
    assert status_of(ended(code=0), claim=report(Status.RUNTIME_ERROR)) is Status.OK
    assert status_of(ended(code=0)) is Status.OK
    assert status_of(ended(code=7)) is Status.EXIT


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_reader(data):
    assert read_report(data) is None or isinstance(read_report(data), Report)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner),
    )
)
def test_no_json_upsets_the_reader(value):
    read_report(json.dumps(value).encode())
    read_report(json.dumps({"status": value, "exc_type": value, "exc_message": value, "traceback": value}).encode())


def test_only_a_child_s_own_statuses_can_be_claimed():
    for status in Status:
        fields = {"status": status, "exc_type": "E", "exc_message": "\ud800", "traceback": ""}
        read = read_report(json.dumps(fields).encode())
        assert (read is not None) == (status in CLAIMS)
        if read is not None:
            assert read.exc_message == "?"  # a lone surrogate would break the next encoder


def test_deeply_nested_json_is_no_report():
    assert read_report(b"[" * 60_000) is None
