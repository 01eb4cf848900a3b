"""Families about expressions, linear systems and recurrences."""

import math
from collections.abc import Mapping
from fractions import Fraction
from random import Random

from thor_ray.problems.families.base import Family, Operands, Worked, exact, unchanged

# --- Arithmetic: the first operand selects the shape of the expression -------------------------

_PRODUCT_PLUS, _SUM_TIMES_MINUS, _FRACTION_SUM = range(3)


def _draw_expression(rng: Random, level: int) -> Operands:
    if level == 1:
        return _PRODUCT_PLUS, rng.randint(12, 99), rng.randint(12, 99), rng.randint(10, 999)
    if level == 2:
        return _SUM_TIMES_MINUS, rng.randint(10, 99), rng.randint(10, 99), rng.randint(12, 99), rng.randint(10, 999)
    fractions = _draw_lowest_terms(rng), _draw_lowest_terms(rng)
    return _FRACTION_SUM, *fractions[0], *fractions[1]


def _draw_lowest_terms(rng: Random) -> tuple[int, int]:
    """Numerator and denominator without a common factor."""
    while True:
        numerator, denominator = rng.randint(1, 40), rng.randint(3, 30)
        if math.gcd(numerator, denominator) == 1:
            return numerator, denominator


def _expression_key(operands: Operands) -> Operands:
    """Factors and summands commute."""
    match operands:
        case (0, first, second, added):
            return 0, *sorted((first, second)), added
        case (1, first, second, factor, subtracted):
            return 1, *sorted((first, second)), factor, subtracted
        case (_, first, first_below, second, second_below):
            (left, left_below), (right, right_below) = sorted(((first, first_below), (second, second_below)))
            return 2, left, left_below, right, right_below
    raise ValueError(f"not the operands of an expression: {operands}")


def _expression_text(operands: Operands) -> str:
    shape, *rest = operands
    if shape == _PRODUCT_PLUS:
        return "{} * {} + {}".format(*rest)
    if shape == _SUM_TIMES_MINUS:
        return "({} + {}) * {} - {}".format(*rest)
    return "{}/{} + {}/{}".format(*rest)


def _arithmetic(operands: Operands) -> Worked:
    shape, *rest = operands
    value: int | Fraction
    if shape == _PRODUCT_PLUS:
        value = rest[0] * rest[1] + rest[2]
    elif shape == _SUM_TIMES_MINUS:
        value = (rest[0] + rest[1]) * rest[2] - rest[3]
    else:
        value = Fraction(rest[0], rest[1]) + Fraction(rest[2], rest[3])
    return Worked((f"{_expression_text(operands)} = {exact(value)}",), exact(value))


# --- Linear systems: (a, b, e, c, d, f, unknown) for ax + by = e, cx + dy = f ------------------


def _draw_system(rng: Random, level: int) -> Operands:
    """A system with one solution: positive coefficients, then signs, then fractional solutions."""
    coefficients = [number for number in range(-9 if level > 1 else 1, 10) if number]
    largest = 9 if level == 1 else 20
    while True:
        a, c = rng.randint(1, 9), rng.randint(1, 9)
        b, d = rng.choice(coefficients), rng.choice(coefficients)
        if a * d == b * c:
            continue
        if level == 3:
            e, f = rng.randint(-50, 50), rng.randint(-50, 50)
        else:
            x, y = rng.randint(1, largest), rng.randint(1, largest)
            e, f = a * x + b * y, c * x + d * y
        return a, b, e, c, d, f, rng.randint(0, 1)


def _system_key(operands: Operands) -> Operands:
    """The order of the equations does not matter."""
    *_, unknown = operands
    return *(number for equation in sorted((operands[:3], operands[3:6])) for number in equation), unknown


def _equation(x_coefficient: int, y_coefficient: int, right: int) -> str:
    def times(coefficient: int, name: str) -> str:
        return name if coefficient == 1 else f"{coefficient}{name}"

    sign = "-" if y_coefficient < 0 else "+"
    return f"{times(x_coefficient, 'x')} {sign} {times(abs(y_coefficient), 'y')} = {right}"


def _system_fields(operands: Operands) -> Mapping[str, str]:
    return {
        "first": _equation(*operands[:3]),
        "second": _equation(*operands[3:6]),
        "unknown": "xy"[operands[6]],
    }


def _linear_system(operands: Operands) -> Worked:
    a, b, e, c, d, f, unknown = operands
    determinant = a * d - b * c
    value = Fraction(e * d - b * f, determinant) if unknown == 0 else Fraction(a * f - e * c, determinant)
    fields = _system_fields(operands)
    claim = f"{fields['first']}, {fields['second']}: {fields['unknown']} = {exact(value)}"
    return Worked((claim,), exact(value))


# --- Recurrences: (index, constant, start, factor), or two starts and two factors at level 3 ---


def _draw_recurrence(rng: Random, level: int) -> Operands:
    if level == 3:
        starts = rng.randint(1, 9), rng.randint(1, 9)
        return rng.randint(6, 12), *starts, rng.randint(2, 5), rng.randint(2, 5)
    index = rng.randint(*{1: (4, 8), 2: (8, 12)}[level])
    return index, rng.randint(1, 30), rng.randint(1, 30), rng.randint(2, 5)


def _recurrence_fields(operands: Operands) -> Mapping[str, str]:
    if len(operands) == 4:
        index, constant, start, factor = operands
        starts, rule = f"a(0) = {start}", f"a(n) = {factor}*a(n-1) + {constant}"
    else:
        index, first, second, near, far = operands
        starts, rule = f"a(0) = {first}, a(1) = {second}", f"a(n) = {near}*a(n-1) + {far}*a(n-2)"
    return {"index": str(index), "starts": starts, "rule": rule}


def _recurrence(operands: Operands) -> Worked:
    index = operands[0]
    if len(operands) == 4:
        _, constant, value, factor = operands
        for _step in range(index):
            value = factor * value + constant
    else:
        _, value, following, near, far = operands
        for _step in range(index):
            value, following = following, near * following + far * value
    fields = _recurrence_fields(operands)
    return Worked((f"{fields['starts']}, {fields['rule']}: a({index}) = {value}",), str(value))


ARITHMETIC = Family(
    name="arithmetic",
    draw=_draw_expression,
    canonical=_expression_key,
    fields=lambda operands: {"expression": _expression_text(operands)},
    nouns=(
        "{expression}",
        "the value of {expression}",
        "the result of {expression}",
    ),
    restatements=(
        "The expression is {expression}, and we want its value.",
        "Given {expression}, we need the result.",
    ),
    work=_arithmetic,
)

LINEAR_SYSTEM = Family(
    name="linear_system",
    draw=_draw_system,
    canonical=_system_key,
    fields=_system_fields,
    nouns=(
        "{unknown} if {first} and {second}",
        "the value of {unknown} such that {first} and {second}",
        "the number {unknown} in the system {first}, {second}",
    ),
    restatements=(
        "The equations are {first} and {second}, and we want {unknown}.",
        "Given {first} and {second}, we need {unknown}.",
    ),
    work=_linear_system,
)

RECURRENCE = Family(
    name="recurrence",
    draw=_draw_recurrence,
    canonical=unchanged,
    fields=_recurrence_fields,
    nouns=(
        "a({index}) if {starts} and {rule}",
        "the term a({index}) of the sequence with {starts} and {rule}",
        "the value of a({index}), where {starts} and {rule}",
    ),
    restatements=(
        "The sequence has {starts} and {rule}, and we want a({index}).",
        "Given {starts} and {rule}, we need a({index}).",
    ),
    work=_recurrence,
)
