"""A server is healthy while programs end, whether or not the check's own had its turn."""

from typing import Any

import pytest

from sandbox.http.health import LONGEST_SILENCE_SECONDS, OUTPUT, Condition, judge
from sandbox.result import Result, Status
from tests.support.executions import result


@pytest.mark.parametrize(
    ("own", "silence", "condition"),
    [
        (result(stdout=OUTPUT), 1e6, Condition.OK),
        (result(stdout=""), 0.0, Condition.FAILING),
        (result(stdout=OUTPUT, status=Status.TIMEOUT), 0.0, Condition.FAILING),
        (result(status=Status.SANDBOX_ERROR), 0.0, Condition.FAILING),
        (None, 0.0, Condition.BUSY),
        (None, LONGEST_SILENCE_SECONDS - 1, Condition.BUSY),
        (None, LONGEST_SILENCE_SECONDS, Condition.FAILING),
    ],
)
def test_the_condition_follows_from_what_ended(own: Result | None, silence: float, condition: Any):
    assert judge(own, silence) is condition
