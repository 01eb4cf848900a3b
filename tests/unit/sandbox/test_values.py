import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Limits, Request, Result, Status
from sandbox.wire import ORDER_BYTES, Ended, Fork, Hello, Order, Refused, Scratch, Started, unpack_message

U32, U64, I32 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(-(2**31), 2**31 - 1)
MESSAGES = st.one_of(
    st.builds(Hello, st.binary()),
    st.builds(Started, U64),
    st.builds(Scratch, U64),
    st.builds(Ended, U64, I32, U64, U64, U64),
    st.builds(Refused, U64, I32),
)


@given(MESSAGES)
def test_messages_survive_the_wire(message):
    assert unpack_message(message.pack()) == message


@given(st.builds(Order, U64, U32, U32, U32, st.booleans()))
def test_orders_survive_the_wire(order):
    assert Order.unpack(order.pack()) == order
    assert len(order.pack()) == ORDER_BYTES


@given(st.builds(Fork, U64))
def test_requests_for_children_survive_the_wire(fork):
    assert Fork.unpack(fork.pack()) == fork


@pytest.mark.parametrize("packet", [b"", b"X", b"S123", b"E"])
def test_what_is_no_message_is_refused(packet):
    with pytest.raises(ValueError, match="packet"):
        unpack_message(packet)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_are_positive_numbers(field, value):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})


@pytest.mark.parametrize("seconds", [0, -1, 1.5])
def test_computing_time_is_a_positive_number_of_whole_seconds(seconds):
    with pytest.raises(ValueError, match=r"Limits\.cpu_seconds"):
        Limits(cpu_seconds=seconds)


def test_no_deadline_beyond_a_minute():
    assert Limits(wall_seconds=60).wall_seconds == 60
    with pytest.raises(ValueError, match="at most 60"):
        Limits(wall_seconds=60.1)
    with pytest.raises(ValueError, match="timeout"):
        Request("", timeout=0)


@given(st.floats(0.01, 60))
def test_the_cpu_limit_is_never_shorter_than_the_deadline(seconds):
    assert seconds <= Limits().computing_seconds(seconds) < seconds + 1
    assert Limits(cpu_seconds=3).computing_seconds(seconds) == min(3, Limits().computing_seconds(seconds))


@given(st.integers())
def test_seeds_are_what_numpy_takes(seed):
    if 0 <= seed < 2**32:
        assert Request("", seed=seed).drawn_seed() == seed
    else:
        with pytest.raises(ValueError, match="seed"):
            Request("", seed=seed)


def test_drawn_seeds_differ():
    assert len({Request("").drawn_seed() for _ in range(20)}) > 15


def result(status: Status = Status.OK, stdout: str = "", **fields: object) -> Result:
    values: dict[str, object] = dict.fromkeys(field.name for field in dataclasses.fields(Result))
    values.update(status=status, stdout=stdout, stderr="", **fields)
    return Result(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "message", "line"),
    [(None, None, None), ("ValueError", "bad", "ValueError: bad"), ("AssertionError", "", "AssertionError")],
)
def test_the_error_line_reads_as_the_interpreters(kind, message, line):
    assert result(Status.RUNTIME_ERROR, exc_type=kind, exc_message=message).error_line == line
