"""Values as data: what arrives is what was sent, and an object arrives as nothing but a name."""

import json
import math
from collections import Counter, OrderedDict
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.code_benchmarks.inside.notation import Opaque, decode, encode

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=False),
    st.text(),
    st.complex_numbers(allow_nan=False),
    st.binary(),
    st.fractions(),
    st.decimals(allow_nan=False),
)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.sets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
    ),
    max_leaves=20,
)


class AlwaysEqual:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Colour(IntEnum):
    RED = 3


def sent(value: object) -> object:
    return decode(json.loads(json.dumps(encode(value))))


@given(VALUES)
def test_plain_values_arrive_as_they_were(value) -> None:
    arrived = sent(value)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("power", [63, 64, 65, 20_000])
def test_integers_of_any_size_arrive(power) -> None:
    for number in (2**power, -(2**power), 2**power - 1):
        assert sent(number) == number


def test_types_inside_are_kept() -> None:
    arrived = sent([(1, True), {2.0}, [math.inf]])
    assert repr(arrived) == "[(1, True), {2.0}, [inf]]"


def test_not_a_number_arrives() -> None:
    arrived = sent(math.nan)
    assert isinstance(arrived, float)
    assert math.isnan(arrived)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (Colour.RED, 3),
        (np.int64(5), 5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (bytearray(b"ab"), b"ab"),
        (type("Name", (str,), {})("x"), "x"),
        (type("Row", (list,), {})([1]), [1]),
    ],
)
def test_derived_classes_arrive_as_what_they_derive_from(value, plain) -> None:
    arrived = sent(value)
    assert arrived == plain
    assert type(arrived) is type(plain)


@pytest.mark.parametrize("value", [AlwaysEqual(), object(), iter([1]), np.zeros(3), len, [AlwaysEqual()]])
def test_other_objects_equal_nothing(value) -> None:
    arrived = sent(value)
    for other in (sent(value), None, 0, [0], True, Opaque("builtins.object")):
        assert not arrived == other  # noqa: SIM201 - `==` itself is meant
        assert not other == arrived  # noqa: SIM201


def test_names_of_objects_are_kept_for_messages() -> None:
    assert repr(sent(AlwaysEqual())).endswith("AlwaysEqual>")
    assert isinstance(sent(AlwaysEqual()), Opaque)


def test_numbers_equal_across_types_as_in_python() -> None:
    assert sent(Fraction(4, 2)) == 2
    assert sent(Decimal("0.5")) == 0.5


@pytest.mark.parametrize(
    "tree",
    [
        *({}, {"set": [1], "tuple": []}, {"unknown": 1}, {"int": 3}, {"int": "0xzz"}, {"set": [[1]]}, {"dict": [1]}),
        *({"complex": [1, 2, 3]}, {"fraction": ["0x1", "0x0"]}, {"decimal": "x"}, {"bytes": "0"}),
    ],
)
def test_what_is_no_notation_is_refused(tree) -> None:
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        decode(tree)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        encode(loop)
