"""When an output is right: EvalPlus's and LiveCodeBench's rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.code_benchmarks.inside import equality
from thor_ray.code_benchmarks.inside.equality import RULES, close, is_floats, matches
from thor_ray.code_benchmarks.inside.notation import Opaque
from thor_ray.code_benchmarks.problem import Rule

NUMBERS = st.floats(min_value=-1e9, max_value=1e9) | st.integers(-(10**9), 10**9)
ANY_FLOAT = st.floats()


def right(rule: Rule, output, expected, arguments=(), tolerance: float = 0.0) -> bool:
    return matches(rule, output, expected, list(arguments), tolerance)


def test_every_rule_has_its_function() -> None:
    assert set(RULES) == {rule.value for rule in Rule}


@given(ANY_FLOAT, ANY_FLOAT, st.sampled_from([1e-6, 1e-4]))
def test_close_is_numpys_allclose_on_single_numbers(output, expected, tolerance) -> None:
    assert close(output, expected, tolerance) == bool(np.allclose(output, expected, rtol=1e-07, atol=tolerance))


@given(st.lists(st.tuples(NUMBERS, st.sampled_from([0.0, 1e-9, 9e-7, 2e-6, 1e-3, 1.0])), max_size=6))
def test_close_is_numpys_allclose_on_lists(pairs) -> None:
    expected = [number for number, _ in pairs]
    output = [number + error for number, error in pairs]
    assert close(output, expected, 1e-6) == bool(np.allclose(output, expected, rtol=1e-07, atol=1e-6))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.integers(0, 4))
def test_floats_may_be_off_by_a_millionth_and_no_more(values, index) -> None:
    index %= len(values)
    near, far = [*values], [*values]
    near[index] += 5e-7
    far[index] += 1e-5 + 2e-7 * abs(values[index])
    assert right(Rule.EQUAL_OR_CLOSE, near, values)
    assert not right(Rule.EQUAL_OR_CLOSE, far, values)


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        (1, True, True),
        (2.0, 2, True),
        ((1, 2), [1, 2], False),
        ([1, 2.0000001], [1, 2.0], False),  # not nothing but floats: exact
        ([2.0000001], [2.0], True),
        ((2.0000001,), [2.0], False),  # close, but of another type
        (2, 2.0000001, False),
        ([2.0, 3.0], [2.0], False),
        ([], [2.0], False),
        (None, None, True),
        (None, 0, False),
        ("1.0", 1.0, False),
        ([["a"]], [["a"]], True),
        (10**400, 1.0, False),
        (math.nan, math.nan, False),
        (math.inf, math.inf, True),
        (-math.inf, math.inf, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        (Opaque("a.B"), 0, False),
        (Opaque("a.B"), None, False),
        ([Opaque("a.B")], [0.5], False),
    ],
)
def test_equal_or_close(output, expected, verdict) -> None:
    assert right(Rule.EQUAL_OR_CLOSE, output, expected) is verdict


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        (1.00005, 1.0, True),
        (1.0005, 1.0, False),
        ([1, 2], [1, 2.00005], True),
        ([[1.0], [2.0]], [[1.0], [2.00005]], True),
        ("a", "b", False),
        ([1.0, "a"], [1.00001, "a"], False),
    ],
)
def test_a_task_may_state_its_tolerance(output, expected, verdict) -> None:
    assert right(Rule.EQUAL_OR_CLOSE, output, expected, tolerance=1e-4) is verdict


@pytest.mark.parametrize(
    ("rule", "output", "expected", "arguments", "verdict"),
    [
        (Rule.EQUAL_AS_SETS, [3, 1, 1], (1, 3), (), True),
        (Rule.EQUAL_AS_SETS, [1], (1, 3), (), False),
        (Rule.EQUAL_AS_SETS, 5, (1, 3), (), False),
        (Rule.EQUAL_AS_SETS, [[1]], (1,), (), False),
        (Rule.ANYTHING, None, True, (), True),
        (Rule.EQUAL_OR_ZERO, 0, 7, (), True),
        (Rule.EQUAL_OR_ZERO, 7, 7, (), True),
        (Rule.EQUAL_OR_ZERO, 6, 7, (), False),
        (Rule.EQUALLY_NONE, True, "a match", (), True),
        (Rule.EQUALLY_NONE, Opaque("re.Match"), Opaque("re.Match"), (), True),
        (Rule.EQUALLY_NONE, "found", Opaque("re.Match"), (), True),
        (Rule.EQUALLY_NONE, False, None, (), True),
        (Rule.EQUALLY_NONE, None, Opaque("re.Match"), (), False),
        (Rule.EQUALLY_NONE, False, Opaque("re.Match"), (), False),
        (Rule.EQUALLY_NONE, True, None, (), False),
        (Rule.PYRAMID_SURFACE, 35, 33, (3, 4), True),  # 9 + 6 * sqrt(2.25 + 16) = 34.6
        (Rule.PYRAMID_SURFACE, 33, 33, (3, 4), True),
        (Rule.PYRAMID_SURFACE, 34, 33, (3, 4), False),
        (Rule.DIGIT_DISTANCE, 6, 0, (23, 56), True),
        (Rule.DIGIT_DISTANCE, 7, 0, (1, 26), True),  # 01 and 26: 2 + 5
        (Rule.DIGIT_DISTANCE, 8, 0, (1, 26), False),
        (Rule.EQUAL_LISTS, (1, 2), [1, 2], (), True),
        (Rule.EQUAL_LISTS, [(1, 2)], [[1, 2]], (), False),
        (Rule.EQUAL_LISTS, [1, 2.0000001], [1, 2.0], (), False),
    ],
)
def test_special_rules(rule, output, expected, arguments, verdict) -> None:
    assert right(rule, output, expected, arguments) is verdict


@given(st.floats(-50, 50), st.floats(0.1, 10), st.floats(-1, 1))
def test_roots_of_polynomials_are_found_by_value(root, slope, error) -> None:
    coefficients = [-root * slope, slope]
    assert right(Rule.POLYNOMIAL_ROOT, root, None, [coefficients], 1e-4)
    off = root + math.copysign(0.01 + abs(error), error)
    assert not right(Rule.POLYNOMIAL_ROOT, off, None, [coefficients], 1e-4)


@pytest.mark.parametrize("output", [None, "0", [], math.nan, math.inf, 1e300, Opaque("a.B"), True])
def test_what_is_no_root_is_none(output) -> None:
    assert not right(Rule.POLYNOMIAL_ROOT, output, None, [[-1.0, 0.0, 0.0, 2.0]], 1e-4)


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("output", [Opaque("a.B"), [[[]]], {1: {2}}, 10**400, "text", b"", math.nan, None, 1j])
def test_no_output_breaks_a_rule(rule, output) -> None:
    for expected in (3, 0.5, [1.0], "a\nb", None, {"a": 1}):
        assert right(rule, output, expected, ([1.0, 2.0], 3), 1e-4) in (True, False)


@pytest.mark.parametrize(
    ("printed", "expected", "verdict"),
    [
        ("3\n", "3", True),
        ("  3  \n\n", "3\n", True),
        ("1  \n 2\n", "1\n2", True),
        ("1\n\n2", "1\n2", False),
        ("1 2", "1  2", True),
        ("1.50", "1.5", True),
        ("1e2", "100", True),
        ("0.1", "0.10000000000000001", False),
        ("50000000000000000", "50000000000000001", False),
        ("yes", "Yes", False),
        ("a b", "a  b", False),
        ("nan", "NaN", False),
        ("snan", "1", False),
        ("1 2", "1", False),
        ("", "", True),
        ("", "0", False),
    ],
)
def test_printed_lines(printed, expected, verdict) -> None:
    assert right(Rule.PRINTED_ALIKE, printed, expected) is verdict


@given(st.lists(st.text(alphabet=" ab1.\t", max_size=8), max_size=6).map("\n".join))
def test_what_is_printed_equals_itself_however_it_is_spaced(text) -> None:
    assert right(Rule.PRINTED_ALIKE, text, text)
    assert right(Rule.PRINTED_ALIKE, "\n " + text.replace("\n", " \n ") + "\n\n", text)


@pytest.mark.parametrize(
    ("value", "floats"),
    [(1.0, True), ([1.0, 2.0], True), ((1.0,), True), ([], False), ([1.0, 1], False), ([[1.0]], False), ("1.0", False)],
)
def test_what_counts_as_floats(value, floats) -> None:
    assert is_floats(value) is floats


def test_a_rule_that_computes_nothing_says_no(monkeypatch) -> None:
    def divides(output, expected, arguments, tolerance):
        return 1 / 0

    monkeypatch.setitem(equality.RULES, "divides", divides)
    assert matches("divides", 1, 1, [], 0.0) is False
