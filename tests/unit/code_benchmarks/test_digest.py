"""Digests of large outputs: equal values agree, different ones differ."""

import copy
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.code_benchmarks.inside import digest as module
from thor_ray.code_benchmarks.inside.digest import LARGE, digest, is_large

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(ATOMS, max_size=4),
        st.dictionaries(ATOMS, inner, max_size=4),
    ),
    max_leaves=12,
)


def respelt(value):
    """An equal value of other types, in another order."""
    match value:
        case bool():
            return int(value)
        case int() if abs(value) < 2**53:
            return float(value)
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return type(value)(map(respelt, value))
        case set():
            return set(map(respelt, reversed(list(value))))
        case dict():
            return {respelt(key): respelt(each) for key, each in reversed(list(value.items()))}
    return value


@given(VALUES)
def test_equal_values_have_one_digest(value) -> None:
    other = respelt(value)
    assert other == value
    assert digest(other) == digest(value)
    assert digest(copy.deepcopy(value)) == digest(value)


@given(VALUES, VALUES)
def test_digests_agree_just_where_values_do(one, other) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(st.lists(st.integers() | st.text(max_size=2), min_size=1, max_size=30), st.data())
def test_one_changed_element_changes_the_digest(values, data) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    changed = [*values]
    changed[index] = data.draw(st.integers().filter(lambda new: new != values[index]))
    assert digest(changed) != digest(values)
    assert digest(tuple(values)) != digest(values)


def test_long_sequences_are_taken_in_parts(monkeypatch) -> None:
    values = [(index, str(index), index % 2 == 0) for index in range(3000)]
    spelt_otherwise = [(float(index), str(index), index % 2 + 1 == 1) for index in range(3000)]
    assert digest(values) == digest(spelt_otherwise)
    swapped = [*values]
    swapped[1023], swapped[1024] = swapped[1024], swapped[1023]
    assert digest(swapped) != digest(values)
    monkeypatch.setattr(module, "_SLICE", 7)
    assert digest(values) == digest(spelt_otherwise)


def test_minus_one_and_minus_two_differ() -> None:
    assert hash((-1,)) == hash((-2,)), "the reason why this is no `hash`"
    assert digest([-1]) != digest([-2])


def test_numpy_scalars_and_counters_count_as_what_they_equal() -> None:
    assert digest([np.int64(3), np.float64(2)]) == digest([3, 2])
    assert digest([Counter("ab")]) == digest([{"b": 1, "a": 1}])


def test_objects_have_no_digest() -> None:
    with pytest.raises(TypeError, match="object"):
        digest([object()])


@given(VALUES)
def test_equal_values_are_large_or_not_alike(value) -> None:
    many = [value] * 200
    assert is_large(many) == is_large(respelt(many))


@pytest.mark.parametrize(
    ("value", "large"),
    [
        ([0] * LARGE, True),
        ([0] * (LARGE - 1), False),
        ("x" * LARGE, True),
        ("x" * 100, False),
        (10**4000, True),
        (10**300, False),
        ({index: index for index in range(LARGE)}, True),
        ([[[1] * 40] * 30], True),
        (None, False),
    ],
)
def test_what_is_large(value, large) -> None:
    assert is_large(value) is large
