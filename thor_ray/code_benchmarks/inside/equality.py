"""When an output is right: the rules of EvalPlus and LiveCodeBench, on plain values.

EvalPlus (github.com/evalplus/evalplus, evalplus/eval/__init__.py and _special_oracle.py) compares with ``==``; floats, and
everything in a few tasks, within a tolerance; and in some tasks asks for less, since their text allows more than one
output. LiveCodeBench (github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation/testing_util.py) compares what
functions return with ``==`` and what scripts print line by line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

FLOAT_TOLERANCE = 1e-6
"""Absolute, for floats in tasks that state none."""
RELATIVE_TOLERANCE = 1e-7
"""Beside every absolute one, as ``numpy.allclose`` is called."""

_NUMBERS = (int, float, complex)

Arguments = list[Any]
Rule = Callable[[Any, Any, Arguments, float], bool]
"""From output, expected output, arguments of the call and absolute tolerance to whether the output is right."""


def matches(rule: str, output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Whether an output is right. An output for which the rule fails to compute is not.

    Args:
        rule: One of ``RULES``.
        output: The candidate's.
        expected: The reference's.
        arguments: Of the call; rules that need none get an empty list.
        tolerance: Absolute, 0 for none.

    Raises:
        KeyError: there is no such rule.
    """
    judged = RULES[rule]
    try:
        return judged(output, expected, arguments, tolerance)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return False


def equal_or_close(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Equal; or, for floats and where the task states a tolerance, of the same type and close."""
    return bool(output == expected) or _close_alike(output, expected, tolerance)


def equal_as_sets(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """The same elements, in any order and number."""
    return set(output) == set(expected) or _close_alike(output, expected, tolerance)


def anything(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Any output (Mbpp/164, whose reference is disputed)."""
    return True


def equal_or_zero(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Equal, or 0 (Mbpp/295)."""
    return bool(output == 0) or equal_or_close(output, expected, arguments, tolerance)


def equally_none(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Whether there is anything: ``None`` or not, or a truth value that says so (tasks that may return matches)."""
    something = expected is not None
    return something == (output if isinstance(output, bool) else output is not None)


def pyramid_surface(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Equal, or right if the second argument is the pyramid's own height (Mbpp/581)."""
    edge, height = arguments
    surface = round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))
    return bool(abs(output - surface) <= tolerance) or equal_or_close(output, expected, arguments, tolerance)


def digit_distance(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Equal, or right if the shorter number is filled up with zeros (Mbpp/558)."""
    first, second = map(str, arguments)
    width = max(len(first), len(second))
    pairs = zip(first.zfill(width), second.zfill(width), strict=True)
    distance = sum(abs(int(one) - int(other)) for one, other in pairs)
    return bool(output == distance) or equal_or_close(output, expected, arguments, tolerance)


def polynomial_root(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Near enough to a root of the polynomial whose coefficients are the argument, lowest first (HumanEval/32)."""
    (coefficients,) = arguments
    value = sum(each * math.pow(output, power) for power, each in enumerate(coefficients))
    return bool(abs(value) <= tolerance)


def equal_lists(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """Equal, where a tuple counts as a list (LiveCodeBench's functions)."""
    return bool((list(output) if isinstance(output, tuple) else output) == expected)


def printed_alike(output: Any, expected: Any, arguments: Arguments, tolerance: float) -> bool:
    """The same lines, apart from space around them; lines of numbers may write the same numbers in another way."""
    lines, expected_lines = (text.strip().split("\n") for text in (output, expected))
    return len(lines) == len(expected_lines) and all(map(_line_alike, lines, expected_lines))


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        equal_or_close,
        equal_as_sets,
        anything,
        equal_or_zero,
        equally_none,
        pyramid_surface,
        digit_distance,
        polynomial_root,
        equal_lists,
        printed_alike,
    )
}


def is_floats(value: Any) -> bool:
    """Whether a value is a float or a sequence of nothing but floats."""
    if isinstance(value, list | tuple) and value:
        return all(isinstance(each, float) for each in value)
    return isinstance(value, float)


def _close_alike(output: Any, expected: Any, tolerance: float) -> bool:
    tolerance = FLOAT_TOLERANCE if tolerance == 0 and is_floats(expected) else tolerance
    return tolerance != 0 and type(output) is type(expected) and close(output, expected, tolerance)


def close(output: Any, expected: Any, tolerance: float) -> bool:
    """``numpy.allclose`` on numbers and nested sequences of them, without stretching one to the other's shape.

    Raises:
        TypeError: something else is among them.
        OverflowError: an integer is larger than any float.
    """
    if isinstance(expected, list | tuple):
        if not isinstance(output, list | tuple) or len(output) != len(expected):
            return False
        return all(close(one, other, tolerance) for one, other in zip(output, expected, strict=True))
    if not (isinstance(output, _NUMBERS) and isinstance(expected, _NUMBERS)):
        raise TypeError("numbers expected")
    if output == expected:
        return True  # infinities, whose difference is no number
    bound = tolerance + RELATIVE_TOLERANCE * abs(expected)
    return math.isfinite(bound) and bool(abs(output - expected) <= bound)


def _line_alike(line: str, expected: str) -> bool:
    line, expected = line.strip(), expected.strip()
    if line == expected:
        return True
    words, expected_words = line.split(), expected.split()
    if len(words) != len(expected_words):
        return False
    try:
        return all(Decimal(one) == Decimal(other) for one, other in zip(words, expected_words, strict=True))
    except InvalidOperation:
        return False
