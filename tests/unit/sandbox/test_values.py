import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Isolation, Level, Limits, Request, Result, Status
from sandbox.isolation import granted, refusal
from sandbox.limits import cpu_seconds
from sandbox.wire import ORDER_BYTES, Ended, Fork, Hello, Order, Refused, Started, unpack_message

U32, U64, I32 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(-(2**31), 2**31 - 1)
MESSAGES = st.one_of(
    st.builds(Hello, st.binary()),
    st.builds(Started, U64),
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


def test_no_deadline_beyond_a_minute():
    assert Limits(wall_seconds=60).wall_seconds == 60
    with pytest.raises(ValueError, match="at most 60"):
        Limits(wall_seconds=60.1)
    with pytest.raises(ValueError, match="timeout"):
        Request("", timeout=0)


@given(st.floats(0.01, 60))
def test_the_cpu_limit_is_never_shorter_than_the_deadline(seconds):
    assert seconds <= cpu_seconds(seconds) < seconds + 1


@given(st.integers())
def test_seeds_are_what_numpy_takes(seed):
    if 0 <= seed < 2**32:
        assert Request("", seed=seed).drawn_seed() == seed
    else:
        with pytest.raises(ValueError, match="seed"):
            Request("", seed=seed)


def test_drawn_seeds_differ():
    assert len({Request("").drawn_seed() for _ in range(20)}) > 15


CONFINED = Isolation(Level.CONFINED, 7, "abc", 0)
OPEN = Isolation(Level.LIMITS, 0, "", 0, ("no Landlock",))


def result(status: Status = Status.OK, stdout: str = "", **fields: object) -> Result:
    values: dict[str, object] = dict.fromkeys(field.name for field in dataclasses.fields(Result))
    values.update(status=status, stdout=stdout, stderr="", **fields)
    return Result(**values)  # type: ignore[arg-type]


def test_a_level_is_granted_only_if_every_probe_failed():
    assert granted(CONFINED, result(stdout='{"tried": 14, "through": []}')) == CONFINED
    leaky = granted(CONFINED, result(stdout='{"tried": 14, "through": ["fork"]}'))
    assert leaky.level is Level.LIMITS
    assert "fork" in leaky.shortfalls[0]
    broken = granted(CONFINED, result(Status.CRASH))
    assert broken.level is Level.LIMITS
    assert "crash" in broken.shortfalls[0]
    assert granted(OPEN, result(Status.CRASH)) == OPEN


def test_too_little_isolation_is_refused_with_reason_and_remedy():
    assert refusal(CONFINED, Level.CONFINED, allow_insecure=False) is None
    assert refusal(OPEN, Level.LIMITS, allow_insecure=True) is None
    for refused in (
        refusal(OPEN, Level.CONFINED, allow_insecure=True),
        refusal(OPEN, Level.LIMITS, allow_insecure=False),
    ):
        assert refused is not None
        assert "no Landlock" in refused
        assert "allow_insecure=True" in refused


@pytest.mark.parametrize(
    ("kind", "message", "line"),
    [(None, None, None), ("ValueError", "bad", "ValueError: bad"), ("AssertionError", "", "AssertionError")],
)
def test_the_error_line_reads_as_the_interpreters(kind, message, line):
    assert result(Status.RUNTIME_ERROR, exc_type=kind, exc_message=message).error_line == line
