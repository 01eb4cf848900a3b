"""Exact arithmetic: the value of every expression that is plainly a rational number.

Most competition answers are. They need neither floats nor another process, only ``fractions.Fraction`` and bounds on
size, so that no input is expensive.
"""

import math
import re
from fractions import Fraction

from thor_ray.grading.expressions import Call, Expression, Number
from thor_ray.grading.numerals import MAX_BITS, NUMBER, TooLargeError, read_number
from thor_ray.grading.parsing import parse
from thor_ray.grading.tokens import ExpressionError

_MAX_FACTORIAL = 1_000
_PLAIN = re.compile(rf"^([+-]?)({NUMBER})$")


def evaluate(text: str) -> Fraction | None:
    r"""Returns the exact value of a normalised LaTeX expression, or ``None`` if it is not plainly rational.

    Computes integers, decimals, recurring decimals (``0.\overline{3}``), scientific notation (``4.5e33``), fractions,
    mixed numbers, percentages, binomials, factorials, integer powers, absolute values and the four operations.

    Args:
        text: An expression as ``normalise`` returns it.

    Raises:
        TooLargeError: The value would have more than ``MAX_BITS`` bits.
        ZeroDivisionError: The expression is rational but divides by zero.
    """
    if plain := _PLAIN.match(text):
        value = read_number(plain.group(2))
        return -value if plain.group(1) == "-" else value
    try:
        return exact_value(parse(text))
    except ExpressionError:
        return None


def exact_value(expression: Expression) -> Fraction | None:
    """Returns the exact value of a tree, or ``None`` if it holds anything that is not plainly rational.

    Raises:
        TooLargeError: As in ``evaluate``.
        ZeroDivisionError: As in ``evaluate``.
    """
    if isinstance(expression, Number):
        return expression.value
    if not isinstance(expression, Call):
        return None
    values = [exact_value(argument) for argument in expression.arguments]
    if any(value is None for value in values):
        return None
    value = _apply(expression.name, [value for value in values if value is not None])
    return None if value is None else _bounded(value)


def _apply(name: str, values: list[Fraction]) -> Fraction | None:
    """One operation on exact values; ``None`` if its result is not plainly rational."""
    match name, values:
        case "+", terms:
            return _total(terms)
        case "*", factors:
            return _product(factors)
        case "reciprocal", [value]:
            return 1 / value
        case "^", [base, exponent]:
            return _power(base, exponent)
        case "abs", [value]:
            return abs(value)
        case "floor", [value]:
            return Fraction(math.floor(value))
        case "ceiling", [value]:
            return Fraction(math.ceil(value))
        case "factorial", [value] if value.denominator == 1 and value >= 0:
            if value > _MAX_FACTORIAL:
                raise TooLargeError
            return Fraction(math.factorial(int(value)))
        case "binomial", [upper, lower] if upper.denominator == lower.denominator == 1 and upper >= 0 and lower >= 0:
            if upper > _MAX_FACTORIAL:
                raise TooLargeError
            return Fraction(math.comb(int(upper), int(lower)))
        case _:
            return None


def _total(terms: list[Fraction]) -> Fraction:
    total = Fraction(0)
    for term in terms:
        total = _bounded(total + term)
    return total


def _product(factors: list[Fraction]) -> Fraction:
    product = Fraction(1)
    for factor in factors:
        product = _bounded(product * factor)
    return product


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise TooLargeError
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator == 2 and base >= 0:
        root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
        return _power(root, 2 * exponent) if root * root == base else None
    if exponent.denominator != 1:
        return None
    if base == 0:
        return None if exponent <= 0 else base
    if abs(base) == 1:
        return base if exponent % 2 else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS:
        raise TooLargeError
    return base ** int(exponent)
