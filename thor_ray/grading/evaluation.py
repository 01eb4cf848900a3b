r"""Numerical values of expressions, to as many digits as they need.

Runs in workers only: mpmath's precision is a global of the process, and hostile input may take for ever.
"""

import hashlib
import math
import random
from collections.abc import Callable
from typing import Any

import mpmath

from thor_ray.grading.expressions import Call, Constant, Expression, Matrix, Number, Symbol
from thor_ray.grading.numerals import TooLargeError
from thor_ray.grading.rational import exact_value

LEAST_DIGITS = 40
GUARD_DIGITS = 10
"""The last digits of a value that rounding errors may have spoilt."""
MOST_DIGITS = 6_000
"""Expressions that need more to tell a small difference are not evaluated."""
_DIGITS_PER_BIT = 0.30103
_USUAL_MAGNITUDE = 5
_MOST_EXPONENT = 10**7
_MOST_LOGARITHM = 1_000
_MOST_ARGUMENT = 10**7
_INTEGERS = frozenset("j k l m n p q N M K".split())
_SIZES = (1, 1, 1, 1, 8, 60)
_SHARE_OF_NEGATIVES = 0.6
_SIGNED = frozenset("x y z t u v w \\theta \\alpha".split())

Value = Any
"""An ``mpf``, ``mpc`` or ``mpmath.matrix``; mpmath has no types."""


class UndefinedError(ArithmeticError):
    """The expression has no value here: a pole, the logarithm of zero, matrices that don't fit."""


class Evaluator:
    """Evaluates trees at one point.

    Args:
        trial: Number of the point. Each symbol has a value that only depends on its name and this number: positive in
            the trials 0 and 1, of any sign in later ones if its name is usual for a real number; an integer if its name
            is usual for one. The size of the values changes as well.
        log_base: What ``\\log`` without a base means; ``None`` for e.

    Attributes:
        digits_at_stake: How many more digits than ``LEAST_DIGITS`` the values evaluated so far call for: small and
            large intermediate values may hide differences behind so many digits.
        scale: Greatest magnitude of any term of any sum so far: what rounding errors are relative to.
        has_rounded_to_zero: Whether some value was so small, beside what it was computed from, that it counts as zero; it
            may be something else at a higher precision.
    """

    def __init__(self, trial: int = 0, log_base: int | None = None) -> None:
        self._trial = trial
        self._log_base = log_base
        self.digits_at_stake = 0.0
        self.scale = mpmath.mpf(0)
        self.has_rounded_to_zero = False

    def value(self, expression: Expression) -> Value:
        """The value of a tree at the precision that mpmath is set to.

        Raises:
            UndefinedError: It has none.
            TooLargeError: Computing it would take too long.
        """
        match expression:
            case Number(value=number):
                value = mpmath.mpf(number.numerator) / number.denominator
            case Constant(name=name):
                value = {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1)}[name] * 1
            case Symbol(name=name):
                value = self._symbol(name)
            case Matrix(rows=rows):
                return mpmath.matrix([[self.value(cell) for cell in row] for row in rows])
            case _:
                value = self._call(expression)
        if not isinstance(value, mpmath.matrix):
            if not mpmath.isfinite(value):
                raise UndefinedError("infinite")
            self._note_magnitude(value)
        return value

    def value_or_none(self, expression: Expression) -> Value | None:
        """Like ``value``, but ``None`` where the tree is undefined."""
        try:
            return self.value(expression)
        except UndefinedError:
            return None

    def _call(self, call: Call) -> Value:
        if call.name == "^":
            return self._power(*call.arguments)
        arguments = [self.value(argument) for argument in call.arguments]
        try:
            if call.name == "+":
                return self._total(arguments)
            if call.name == "*":
                return _product(arguments)
            if call.name == "log" and len(arguments) == 1:
                return mpmath.log(arguments[0]) if self._log_base is None else mpmath.log(arguments[0], self._log_base)
            if call.name in FUNCTIONS:
                self._check_arguments(call.name, arguments)
                value = FUNCTIONS[call.name](*arguments)
                is_accurate = call.name in _GROWING or call.name == "reciprocal"
                return value if is_accurate else self._rounded_to_zero(value, 1, *map(abs, arguments))
        except (ValueError, ZeroDivisionError, TypeError, AttributeError, NotImplementedError) as error:
            raise UndefinedError(f"{call.name}: {error}") from error
        except OverflowError as error:
            raise TooLargeError from error
        return _pseudorandom(f"{call.name}/{self._trial}", *(_rounded(argument) for argument in arguments))

    def _total(self, terms: list[Value]) -> Value:
        total = terms[0]
        for term in terms[1:]:
            if isinstance(total, mpmath.matrix) != isinstance(term, mpmath.matrix):
                raise UndefinedError("a matrix plus a number")
            total = total + term
        if isinstance(total, mpmath.matrix):
            return total
        self.scale = max(self.scale, *(abs(term) for term in terms))
        return self._rounded_to_zero(total, *(abs(term) for term in terms))

    def _rounded_to_zero(self, value: Value, *magnitudes: Value) -> Value:
        """Zero for what is left where all digits cancel: the sine of pi is no small number."""
        if value == 0 or abs(value) > mpmath.mpf(10) ** (GUARD_DIGITS - mpmath.mp.dps) * max(magnitudes):
            return value
        self.has_rounded_to_zero = True
        return mpmath.mpf(0)

    def _power(self, base: Expression, exponent: Expression) -> Value:
        base_value, exponent_value = self.value(base), self.value(exponent)
        exact = exact_value(exponent)
        try:
            if isinstance(base_value, mpmath.matrix):
                if exact is None or exact.denominator != 1 or abs(exact) > _MOST_LOGARITHM:
                    raise UndefinedError("power of a matrix")
                return base_value ** int(exact)
            if isinstance(exponent_value, mpmath.matrix):
                raise UndefinedError("a matrix as exponent")
            if base_value == 0 and mpmath.re(exponent_value) <= 0:
                raise UndefinedError("zero to a power that is not positive")
            if abs(exponent_value) * abs(mpmath.log(abs(base_value) or 1)) > _MOST_EXPONENT:
                raise TooLargeError
            if base == Constant("e"):
                self._stake(float(abs(exponent_value)))
            is_odd_root = exact is not None and exact.denominator % 2 == 1 and exact.denominator > 1
            if exact is not None and is_odd_root and mpmath.im(base_value) == 0 and mpmath.re(base_value) < 0:
                root = mpmath.power(-base_value, exponent_value)
                return root if exact.numerator % 2 == 0 else -root
            return mpmath.power(base_value, exponent_value)
        except (ValueError, ZeroDivisionError) as error:
            raise UndefinedError(str(error)) from error
        except OverflowError as error:
            raise TooLargeError from error

    def _check_arguments(self, name: str, arguments: list[Value]) -> None:
        """Keeps mpmath from computing thousands of digits of its own accord."""
        for argument in arguments:
            if isinstance(argument, mpmath.matrix):
                raise UndefinedError(f"{name} of a matrix")
            size = abs(argument)
            if name in _GROWING:
                if size > _MOST_ARGUMENT:
                    raise TooLargeError
                self._stake(float(size))
            elif size > mpmath.mpf(10) ** _MOST_LOGARITHM:
                raise TooLargeError

    def _symbol(self, name: str) -> Value:
        generator = random.Random(f"{name}/{self._trial}")
        if name in _INTEGERS:  # both parities must come up, and not for all symbols at the same time
            return mpmath.mpf(2 * generator.randint(3, 20) + (self._trial + ord(name)) % 2)
        size = _SIZES[self._trial % len(_SIZES)]
        value = mpmath.mpf(generator.randint(301 * size, 1999 * size)) / generator.randint(701, 997)
        is_signed = self._trial >= 2 and name.partition("_")[0] in _SIGNED
        return -value if is_signed and generator.random() < _SHARE_OF_NEGATIVES else value

    def _note_magnitude(self, value: Value) -> None:
        if value != 0:
            magnitude = abs(int(mpmath.mag(value))) * _DIGITS_PER_BIT
            if magnitude > _USUAL_MAGNITUDE:
                self._stake(4 * magnitude)

    def _stake(self, digits: float) -> None:
        self.digits_at_stake = max(self.digits_at_stake, digits)


def is_known(name: str) -> bool:
    """Whether a call of this name is an operator or function with a meaning of its own."""
    return name in ("+", "*", "^", "log") or name in FUNCTIONS


def _product(factors: list[Value]) -> Value:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def _reciprocal(value: Value) -> Value:
    if isinstance(value, mpmath.matrix):
        raise UndefinedError("division by a matrix")
    return 1 / value


def _pseudorandom(name: str, *arguments: str) -> Value:
    """A value for a function that nobody knows; the same for the same name and arguments, and for no others."""
    digest = hashlib.blake2b("/".join((name, *arguments)).encode(), digest_size=8).digest()
    return 1 + mpmath.mpf(int.from_bytes(digest)) / 2**64


def _rounded(value: Value) -> str:
    """An argument in 25 digits: equal arguments that were computed in different ways come out the same."""
    if isinstance(value, mpmath.matrix):
        raise UndefinedError("an unknown function of a matrix")
    real, imaginary = (0 if abs(part) < 1e-30 else part for part in (mpmath.re(value), mpmath.im(value)))
    return f"{mpmath.nstr(real, 25)},{mpmath.nstr(imaginary, 25)}"


def _integers(function: Callable[..., int]) -> Callable[..., Value]:
    def applied(*values: Value) -> Value:
        if any(mpmath.im(value) != 0 or value != mpmath.floor(value) for value in values):
            raise UndefinedError("not integers")
        return mpmath.mpf(function(*(int(value) for value in values)))

    return applied


def _real(value: Value) -> Value:
    """A real number as it is; rounding up a complex one means nothing.

    An integer that was computed comes out a little beside itself; it is taken for what it is.
    """
    if mpmath.im(value) != 0:
        raise UndefinedError("not a real number")
    value = mpmath.re(value)
    nearest = mpmath.nint(value)
    return nearest if abs(value - nearest) < mpmath.mpf(10) ** (10 - mpmath.mp.dps) * max(1, abs(value)) else value


def _log(value: Value, base: Value) -> Value:
    return mpmath.log(value) / mpmath.log(base)


def _extremum(function: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *values: function(*map(_real, values))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "reciprocal": _reciprocal, "abs": abs, "log": _log, "ln": mpmath.log, "lg": lambda x: mpmath.log(x, 10), "exp": mpmath.exp,
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan, "arccot": mpmath.acot,
    "arcsec": mpmath.asec, "arccsc": mpmath.acsc, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh,
    "coth": mpmath.coth, "sech": mpmath.sech, "csch": mpmath.csch, "arcsinh": mpmath.asinh, "arccosh": mpmath.acosh,
    "arctanh": mpmath.atanh, "factorial": mpmath.factorial, "binomial": mpmath.binomial, "Gamma": mpmath.gamma,
    "zeta": mpmath.zeta, "erf": mpmath.erf, "sgn": mpmath.sign, "Re": mpmath.re, "Im": mpmath.im, "arg": mpmath.arg,
    "floor": lambda x: mpmath.floor(_real(x)), "ceiling": lambda x: mpmath.ceil(_real(x)),
    "gcd": _integers(math.gcd), "lcm": _integers(math.lcm),
    "mod": lambda a, b: a - b * mpmath.floor(_real(a / b)), "min": _extremum(min), "max": _extremum(max),
}  # fmt: skip
_GROWING = frozenset("exp sinh cosh tanh coth sech csch factorial binomial Gamma zeta erf".split())
