r"""Exact arithmetic on LaTeX: a small evaluator for everything whose value is a rational number.

Most competition answers are rational. Reading them needs neither sympy nor floats: one pass over the
text, ``fractions.Fraction`` for the values, and bounds on size so that no input is expensive.
"""

import math
import re
from fractions import Fraction

MAX_BITS = 20_000
"""Numerators and denominators beyond this size are not computed."""
_MAX_FACTORIAL = 1_000
_MAX_DEPTH = 60

_TOKEN = re.compile(
    r"""
    (?P<recurring>\d*\.\d*\\overline\{\d+\})
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?)
  | (?P<command>\\(?:frac|binom|cdot|div))(?![a-zA-Z])
  | (?P<symbol>[-+/^!(){}])
  | (?P<space>\s+)
    """,
    re.VERBOSE,
)


class TooLargeError(ArithmeticError):
    """The value is rational but has more than ``MAX_BITS`` bits."""


class _NotRationalError(ValueError):
    """The text is not a rational expression; used inside this module only."""


def evaluate(text: str) -> Fraction | None:
    r"""Returns the exact value of a normalised LaTeX expression, or ``None`` if it is not plainly rational.

    Reads integers, decimals, recurring decimals (``0.\overline{3}``), scientific notation (``4.5e33``), ``\frac``,
    ``\binom``, ``+ - \cdot / \div``, integer powers, factorials, brackets, implicit products and mixed numbers
    (``1\frac{4}{5}`` is 9/5). Two numbers side by side (``3 4``) are refused as ambiguous.

    Args:
        text: An expression as ``normalise`` returns it.

    Raises:
        TooLargeError: The value would have more than ``MAX_BITS`` bits.
        ZeroDivisionError: The expression is rational but divides by zero.
    """
    try:
        return _Evaluator(_tokens(text)).result()
    except _NotRationalError:
        return None


def _tokens(text: str) -> list[str]:
    tokens = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _NotRationalError(text)
        if match.lastgroup != "space":
            tokens.append(match.group())
        position = match.end()
    return tokens


class _Evaluator:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def result(self) -> Fraction:
        value = self._sum()
        if self._position != len(self._tokens):
            raise _NotRationalError
        return value

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _sum(self) -> Fraction:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _NotRationalError
        value = self._product()
        while self._peek() in ("+", "-"):
            value = _bounded(value + self._product() if self._take() == "+" else value - self._product())
        self._depth -= 1
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while token := self._peek():
            if token in ("\\cdot", "/", "\\div"):
                self._take()
                factor = self._signed()
                value = _bounded(value * factor if token == "\\cdot" else value / factor)
            elif token in ("(", "{", "\\frac", "\\binom"):
                value = _bounded(value * self._power())
            else:
                break
        return value

    def _signed(self) -> Fraction:
        sign = 1
        while self._peek() in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return sign * self._power()

    def _power(self) -> Fraction:
        base = self._factorial()
        if self._peek() != "^":
            return base
        self._take()
        if self._peek() in ("{", "("):
            exponent = self._group()
        else:
            sign = -1 if self._peek() == "-" and self._take() else 1
            exponent = sign * self._number(self._take())
        return _bounded_power(base, exponent)

    def _factorial(self) -> Fraction:
        value = self._atom()
        if self._peek() == "!":
            self._take()
            if self._peek() == "!" or value.denominator != 1 or value < 0:
                raise _NotRationalError
            if value > _MAX_FACTORIAL:
                raise TooLargeError
            value = _bounded(Fraction(math.factorial(int(value))))
        return value

    def _atom(self) -> Fraction:
        token = self._peek()
        if token in ("(", "{"):
            return self._group()
        self._take()
        if token == "\\frac":
            return self._group("{") / self._group("{")
        if token == "\\binom":
            return self._binomial()
        return self._mixed(self._number(token), token)

    def _mixed(self, whole: Fraction, token: str) -> Fraction:
        """A plain integer directly before a proper fraction of plain integers is a mixed number."""
        following = self._tokens[self._position : self._position + 7]
        if not token.isdigit():
            return whole
        if following[:2] == ["\\frac", "{"] and len(following) == 7:
            _, _, numerator, close, reopen, denominator, end = following
            is_plain = numerator.isdigit() and denominator.isdigit() and [close, reopen, end] == ["}", "{", "}"]
            width = 7
        else:  # 137 1/2
            is_plain = len(following) >= 3 and following[0].isdigit() and following[1] == "/" and following[2].isdigit()
            numerator, denominator, width = (following[0], following[2], 3) if is_plain else ("", "", 0)
        if not is_plain:
            return whole
        if int(numerator) >= int(denominator):
            raise _NotRationalError  # 2\frac{5}{3}: product or mixed number? Nobody can tell.
        self._position += width
        return whole + Fraction(int(numerator), int(denominator))

    def _binomial(self) -> Fraction:
        upper, lower = self._group("{"), self._group("{")
        if upper.denominator != 1 or lower.denominator != 1 or upper < 0 or lower < 0:
            raise _NotRationalError
        if upper > _MAX_FACTORIAL:
            raise TooLargeError
        return Fraction(math.comb(int(upper), int(lower)))

    def _group(self, opening: str = "") -> Fraction:
        token = self._take()
        if token not in ("(", "{") or (opening and token != opening):
            raise _NotRationalError
        value = self._sum()
        if self._take() != {"(": ")", "{": "}"}[token]:
            raise _NotRationalError
        return value

    @staticmethod
    def _number(token: str) -> Fraction:
        if "\\overline" in token:
            return _recurring_decimal(token)
        if not token or not (token[0].isdigit() or token[0] == ".") or token == ".":
            raise _NotRationalError
        _, _, exponent = token.lower().partition("e")
        if len(token) > MAX_BITS // 4 or (exponent and (len(exponent) > 5 or abs(int(exponent)) > MAX_BITS // 4)):
            raise TooLargeError
        return Fraction(token)


def _recurring_decimal(token: str) -> Fraction:
    r"""``0.1\overline{6}`` is (16 - 1) / 90."""
    fixed, _, period = token.rstrip("}").partition("\\overline{")
    whole, _, decimals = fixed.partition(".")
    scale = 10 ** len(decimals)
    prefix = int((whole + decimals) or "0")
    cycle = 10 ** len(period) - 1
    return Fraction(prefix * cycle + int(period), scale * cycle)


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise TooLargeError
    return value


def _bounded_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise _NotRationalError
    if base in (0, 1, -1):
        if base == 0 and exponent <= 0:
            raise _NotRationalError
        return base if base != -1 or exponent % 2 else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS:
        raise TooLargeError
    return base ** int(exponent)
