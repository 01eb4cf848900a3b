"""What a claim computes, as the fields that a program needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from thor_ray.refine.expressions import (
    Binary,
    Call,
    Expression,
    Number,
    Unary,
    has_sympy_form,
    is_integer_expression,
    parts_of,
    to_python,
)


class OperationKind(StrEnum):
    """Kinds of computation, each with a pool of styles of its own."""

    GCD = "gcd"
    LCM = "lcm"
    MODULAR_POWER = "modular_power"
    MULTIPLE_COUNT = "multiple_count"
    MULTIPLE_SUM = "multiple_sum"
    BINOMIAL = "binomial"
    DIVISOR_COUNT = "divisor_count"
    DIVISOR_SUM = "divisor_sum"
    NTH_PRIME = "nth_prime"
    PRIME_COUNT = "prime_count"
    DIGIT_SUM = "digit_sum"
    RECURRENCE = "recurrence"
    LINEAR_SYSTEM = "linear_system"
    LINEAR_EQUATION = "linear_equation"
    PROGRESSION_SUM = "progression_sum"
    DIVISIBILITY = "divisibility"
    PRIMALITY = "primality"
    INTEGER_ARITHMETIC = "integer_arithmetic"
    """Integers under ``+ - * **`` and remainders."""
    RATIONAL_ARITHMETIC = "rational_arithmetic"
    """With quotients, decimals or percentages."""
    DECIMAL_ARITHMETIC = "decimal_arithmetic"
    """The same, where the result is wanted as a decimal of so many digits."""
    RADICALS = "radicals"
    """With square roots."""
    NAMED_FUNCTIONS = "named_functions"
    """Any other expression whose functions SymPy has."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One computation.

    Attributes:
        kind: Which one.
        fields: Python source of its parts, by the names that the kind's styles use. Made of parsed numerals, letters
            and operators only, never of raw text.
    """

    kind: OperationKind
    fields: Mapping[str, str]


LEAST_DECIMALS: Final = 2
"""Decimals are rounded to so many digits at least, so that a result which was rounded too far shows."""


def with_decimals(operation: Operation, decimals: int) -> Operation:
    """``operation`` with its result as a decimal, for steps that state it as one; other kinds stay as they are."""
    if operation.kind not in (OperationKind.INTEGER_ARITHMETIC, OperationKind.RATIONAL_ARITHMETIC):
        return operation
    fields = dict(operation.fields)
    if operation.kind is OperationKind.INTEGER_ARITHMETIC:
        expression = fields.pop("expression")
        fields.update(plain=expression, fraction=f"Fraction({expression})", rational=f"sympy.Integer({expression})")
    digits = str(max(LEAST_DECIMALS, decimals))
    return Operation(OperationKind.DECIMAL_ARITHMETIC, {**fields, "digits": digits})


def operation_of(expression: Expression) -> Operation | None:
    """The operation that computes ``expression``; ``None`` if there is nothing to compute or no way to."""
    match expression:
        case Number() | Unary("-", Number()):
            return None
        case Binary("mod", Binary("^", Number() as base, Number() as exponent), Number() as modulus) if all(
            number.is_integer for number in (base, exponent, modulus)
        ):
            fields = {"base": base.text, "exponent": exponent.text, "modulus": modulus.text}
            return Operation(OperationKind.MODULAR_POWER, fields)
        case Call("digit_sum", (argument,)) if is_integer_expression(argument):
            return Operation(OperationKind.DIGIT_SUM, {"number": to_python(argument)})
        case Call() if (direct := _function_of_integers(expression)) is not None:
            return direct
    if is_integer_expression(expression):
        return Operation(OperationKind.INTEGER_ARITHMETIC, {"expression": to_python(expression)})
    if not any(
        isinstance(part, Call) or (isinstance(part, Unary) and part.operator == "!") for part in parts_of(expression)
    ):
        fields = {
            "plain": to_python(expression),
            "fraction": to_python(expression, "Fraction"),
            "rational": to_python(expression, "sympy.Rational"),
        }
        return Operation(OperationKind.RATIONAL_ARITHMETIC, fields)
    if has_sympy_form(expression):
        has_root = any(isinstance(part, Call) and part.function == "sqrt" for part in parts_of(expression))
        kind = OperationKind.RADICALS if has_root else OperationKind.NAMED_FUNCTIONS
        return Operation(kind, {"expression": to_python(expression, "sympy.Rational")})
    return None


def _function_of_integers(call: Call) -> Operation | None:
    """The operation of a function whose arguments are integer literals, the case that has styles of its own."""
    numbers = [part.text for part in call.arguments if isinstance(part, Number) and part.is_integer]
    if len(numbers) < len(call.arguments):
        return None
    match call.function:
        case "gcd":
            return Operation(OperationKind.GCD, {"numbers": ", ".join(numbers)})
        case "lcm":
            return Operation(OperationKind.LCM, {"numbers": ", ".join(numbers)})
        case "binomial":
            return Operation(OperationKind.BINOMIAL, {"total": numbers[0], "chosen": numbers[1]})
        case "tau":
            return Operation(OperationKind.DIVISOR_COUNT, {"number": numbers[0]})
        case "sigma":
            return Operation(OperationKind.DIVISOR_SUM, {"number": numbers[0]})
        case "prime":
            return Operation(OperationKind.NTH_PRIME, {"index": numbers[0]})
        case _:
            return None
