"""Waits grow, are drawn, and keep to what a server asks for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.retries import RetryPolicy, retry_after_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.builds(RetryPolicy, st.integers(1, 100), st.floats(0.01, 10), st.floats(10, 500)),
    st.integers(1, 200),
    st.none() | st.floats(0, 1000),
    st.floats(0, 1),
)
def test_a_wait_is_bounded_and_keeps_what_was_asked_for(policy, failures, asked_for, draw):
    wait = policy.wait_seconds(failures, asked_for, draw)
    if failures >= policy.tries or (asked_for or 0) > policy.longest_wait_seconds:
        assert wait is None
    else:
        assert wait is not None
        assert (asked_for or 0) <= wait <= policy.longest_wait_seconds


def test_waits_double_and_half_of_them_is_drawn():
    policy = RetryPolicy(tries=9, first_wait_seconds=1, longest_wait_seconds=6)
    assert [policy.wait_seconds(failures, None, 1) for failures in range(1, 6)] == [1, 2, 4, 6, 6]
    assert [policy.wait_seconds(failures, None, 0) for failures in range(1, 4)] == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 0.5 ", 0.5),
        ("soon", None),
        ("-3", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(header, seconds):
    assert retry_after_seconds(header, NOW) == seconds
