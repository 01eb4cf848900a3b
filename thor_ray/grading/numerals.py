r"""Numbers as they are written: digits, decimals, recurring decimals, powers of ten, mixed numbers."""

from fractions import Fraction

MAX_BITS = 20_000
"""Numerators and denominators beyond this size are not computed."""
MAX_DIGITS = 4_000
"""Digits and powers of ten beyond this are not read; Python itself refuses more than 4,300 digits."""

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?"
"""Pattern of a plain number; never of a sign."""
RECURRING = r"\d*\.\d*\\overline\{\d+\}"
"""Pattern of a recurring decimal."""


class TooLargeError(ArithmeticError):
    """The value is rational but has more than ``MAX_BITS`` bits."""


class AmbiguousNumberError(ValueError):
    r"""``2\frac{5}{3}``: a product or a mixed number, nobody can tell."""


def is_number(token: str) -> bool:
    """Whether a token is a number, given that it begins like one."""
    return token[:1].isdigit() or token[:1] == "."


def read_number(token: str) -> Fraction:
    r"""The value of ``12.5``, ``.5``, ``4.5e33`` or ``0.1\overline{6}``.

    Raises:
        TooLargeError: The number has more than ``MAX_DIGITS`` digits.
    """
    if "\\overline" in token:
        return _recurring_decimal(token)
    _, _, exponent = token.lower().partition("e")
    if len(token) > MAX_DIGITS or (exponent and (len(exponent) > 5 or abs(int(exponent)) > MAX_DIGITS)):
        raise TooLargeError
    return Fraction(token)


def mixed_part(whole: str, following: list[str]) -> tuple[Fraction, int]:
    r"""The fraction that makes a whole number mixed (``1\frac{4}{5}``, ``137 1/2``), and how many tokens it takes.

    Args:
        whole: The number's token; only plain digits can be mixed.
        following: The next seven tokens, or as many as there are.

    Returns:
        Zero and 0 if no fraction of plain integers follows.

    Raises:
        AmbiguousNumberError: The fraction that follows is improper.
    """
    numerator, denominator, width = "", "", 0
    if not whole.isdigit():
        return Fraction(0), 0
    if len(following) == 7 and following[:2] == ["\\frac", "{"] and following[3:5] + following[6:] == ["}", "{", "}"]:
        numerator, denominator, width = following[2], following[5], 7
    elif len(following) >= 3 and following[1] == "/":
        numerator, denominator, width = following[0], following[2], 3
    if not (numerator.isdigit() and denominator.isdigit()):
        return Fraction(0), 0
    if int(numerator) >= int(denominator):
        raise AmbiguousNumberError(f"{whole} followed by {numerator}/{denominator}")
    return Fraction(int(numerator), int(denominator)), width


def _recurring_decimal(token: str) -> Fraction:
    r"""``0.1\overline{6}`` is (16 - 1) / 90."""
    fixed, _, period = token.rstrip("}").partition("\\overline{")
    whole, _, decimals = fixed.partition(".")
    if len(token) > MAX_DIGITS:
        raise TooLargeError
    scale = 10 ** len(decimals)
    prefix = int((whole + decimals) or "0")
    cycle = 10 ** len(period) - 1
    return Fraction(prefix * cycle + int(period), scale * cycle)
