"""Claims that are no arithmetic expression: counts and sums over ranges, recurrences, linear systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from thor_ray.refine.operations import Operation, OperationKind
from thor_ray.refine.tokens import DOTS, Token, TokenKind

_NUMBER: Final = "#"
_RANGE: Final = {"step": "{0}", "low": "{1}", "high": "{2}"}
_NUMBERS: Final = {"numbers": "{0}, {1}"}
_RANGE_PHRASES: Final[Sequence[tuple[str, OperationKind, Mapping[str, str]]]] = (
    ("count of multiples of # from # to #", OperationKind.MULTIPLE_COUNT, _RANGE),
    ("number of multiples of # from # to #", OperationKind.MULTIPLE_COUNT, _RANGE),
    ("sum of multiples of # from # to #", OperationKind.MULTIPLE_SUM, _RANGE),
    ("sum of the multiples of # from # to #", OperationKind.MULTIPLE_SUM, _RANGE),
    ("number of integers from # to #", OperationKind.MULTIPLE_COUNT, {"step": "1", "low": "{0}", "high": "{1}"}),
    ("sum of the integers from # to #", OperationKind.MULTIPLE_SUM, {"step": "1", "low": "{0}", "high": "{1}"}),
    ("sum of the first # positive integers", OperationKind.MULTIPLE_SUM, {"step": "1", "low": "1", "high": "{0}"}),
    ("count of primes from # to #", OperationKind.PRIME_COUNT, {"low": "{0}", "high": "{1}"}),
    ("number of primes from # to #", OperationKind.PRIME_COUNT, {"low": "{0}", "high": "{1}"}),
    ("greatest common divisor of # and #", OperationKind.GCD, _NUMBERS),
    ("greatest common factor of # and #", OperationKind.GCD, _NUMBERS),
    ("gcd of # and #", OperationKind.GCD, _NUMBERS),
    ("least common multiple of # and #", OperationKind.LCM, _NUMBERS),
    ("lcm of # and #", OperationKind.LCM, _NUMBERS),
    ("number of positive divisors of #", OperationKind.DIVISOR_COUNT, {"number": "{0}"}),
    ("number of divisors of #", OperationKind.DIVISOR_COUNT, {"number": "{0}"}),
    ("sum of the positive divisors of #", OperationKind.DIVISOR_SUM, {"number": "{0}"}),
    ("sum of the divisors of #", OperationKind.DIVISOR_SUM, {"number": "{0}"}),
    ("sum of the digits of #", OperationKind.DIGIT_SUM, {"number": "{0}"}),
    ("remainder when # is divided by #", OperationKind.INTEGER_ARITHMETIC, {"expression": "{0} % {1}"}),
)
"""Words with numbers in the places of ``#``, and the fields of the operation that they name."""
_FIRST_WORDS: Final = {phrase.split()[0] for phrase, _, _ in _RANGE_PHRASES}


class PhraseSyntaxError(ValueError):
    """The tokens do not continue as this kind of phrase."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum of coefficient * name + constant``; coefficients by name, in the order in which the names came."""

    coefficients: Mapping[str, int]
    constant: int


class Cursor:
    """A position in a list of tokens that only moves forward over what was asked for."""

    def __init__(self, tokens: Sequence[Token], position: int) -> None:
        self.tokens = tokens
        self.position = position

    def peek(self, ahead: int = 0) -> Token | None:
        position = self.position + ahead
        return self.tokens[position] if position < len(self.tokens) else None

    def take(self, *texts: str) -> bool:
        """Moves past the token if it is one of ``texts``."""
        token = self.peek()
        if token is None or token.text not in texts:
            return False
        self.position += 1
        return True

    def expect(self, *texts: str) -> None:
        """Moves past one of ``texts``.

        Raises:
            PhraseSyntaxError: another token stands here.
        """
        if not self.take(*texts):
            raise PhraseSyntaxError(f"{' or '.join(texts)} is missing")

    def integer(self) -> int:
        """Moves past a signed integer of ordinary length.

        Raises:
            PhraseSyntaxError: no such integer stands here.
        """
        sign = -1 if self.take("-") else 1
        token = self.peek()
        if token is None or token.kind is not TokenKind.NUMBER or "." in token.text or len(token.text) > MOST_DIGITS:
            raise PhraseSyntaxError("an integer is missing")
        self.position += 1
        return sign * int(token.text)

    def word(self) -> str:
        """Moves past a word of ASCII letters.

        Raises:
            PhraseSyntaxError: no such word stands here.
        """
        token = self.peek()
        if token is None or token.kind is not TokenKind.WORD or not token.text.isalpha():
            raise PhraseSyntaxError("a name is missing")
        self.position += 1
        return token.text


MOST_TERMS: Final = 5
"""Terms of a progression before its dots."""

MOST_DIGITS: Final = 100
"""Longest integer inside a phrase; Python itself refuses to read absurdly long ones."""


def parse_phrase(tokens: Sequence[Token], position: int) -> tuple[Operation, int]:
    """Parses one phrase, without the relation and result that follow it.

    Returns:
        The operation, and the position after the phrase.

    Raises:
        PhraseSyntaxError: no phrase starts here, or one starts and breaks off.
    """
    cursor = Cursor(tokens, position)
    token, following = cursor.peek(), cursor.peek(1)
    if token is None:
        raise PhraseSyntaxError("the text ends here")
    if token.kind is TokenKind.NUMBER and following is not None and following.text == "+":
        try:
            return _progression_sum(cursor), cursor.position
        except PhraseSyntaxError:
            cursor = Cursor(tokens, position)
    # The first two tokens tell the kinds apart, which keeps long texts quick to read.
    if token.text in _FIRST_WORDS:
        return _range_phrase(cursor), cursor.position
    if token.kind is TokenKind.WORD and following is not None and following.text == "(":
        return _recurrence(cursor), cursor.position
    if token.kind is not TokenKind.SYMBOL or token.text == "-":
        return _linear_system(cursor), cursor.position
    raise PhraseSyntaxError(f"no phrase starts with {token.text!r}")


def _range_phrase(cursor: Cursor) -> Operation:
    start = cursor.position
    for phrase, kind, fields in _RANGE_PHRASES:
        cursor.position = start
        try:
            numbers = _numbers_in(cursor, phrase)
        except PhraseSyntaxError:
            continue
        return Operation(kind, {name: template.format(*numbers) for name, template in fields.items()})
    raise PhraseSyntaxError("no range phrase starts here")


def _numbers_in(cursor: Cursor, phrase: str) -> list[int]:
    numbers = []
    for word in phrase.split():
        if word == _NUMBER:
            numbers.append(cursor.integer())
        else:
            cursor.expect(word)
    return numbers


def _progression_sum(cursor: Cursor) -> Operation:
    """``2 + 4 + ... + 20``: an arithmetic progression of positive steps, its first two or three terms and its last."""
    terms = [cursor.integer()]
    while True:
        cursor.expect("+")
        if cursor.take(DOTS):
            break
        if len(terms) == MOST_TERMS:
            raise PhraseSyntaxError("an ordinary sum")
        terms.append(cursor.integer())
    cursor.expect("+")
    last = cursor.integer()
    if len(terms) < 2:
        raise PhraseSyntaxError("one term does not tell the step")
    first, step = terms[0], terms[1] - terms[0]
    if step < 1 or last < terms[-1] or (last - first) % step or terms != [first + step * i for i in range(len(terms))]:
        raise PhraseSyntaxError("no arithmetic progression")
    fields = {"first": str(first), "step": str(step), "last": str(last)}
    return Operation(OperationKind.PROGRESSION_SUM, fields)


def _recurrence(cursor: Cursor) -> Operation:
    """``a(0) = 3, a(n) = 2*a(n-1) + 5: a(6)`` with any number of starts, the first of them ``a(0)`` or ``a(1)``."""
    name = cursor.word()
    starts: list[str] = []
    cursor.expect("(")
    first = cursor.integer()
    if first not in (0, 1):
        raise PhraseSyntaxError("the first start is neither the term 0 nor the term 1")
    starts += ["None"] * first
    while True:
        cursor.expect(")")
        cursor.expect("=")
        starts.append(str(cursor.integer()))
        cursor.expect(",", ";")
        cursor.expect(name)
        cursor.expect("(")
        token = cursor.peek()
        if token is not None and token.kind is TokenKind.WORD:
            break
        if cursor.integer() != len(starts):
            raise PhraseSyntaxError("the starts are not consecutive")
    variable = cursor.word()
    cursor.expect(")")
    cursor.expect("=")
    rule = _recurrence_rule(cursor, name, variable, len(starts) - first)
    cursor.expect(":")
    cursor.expect(name)
    cursor.expect("(")
    index = cursor.integer()
    cursor.expect(")")
    if index < first:
        raise PhraseSyntaxError("there is no such term")
    return Operation(
        OperationKind.RECURRENCE,
        {
            "starts": ", ".join(starts),
            "known": str(len(starts)),
            "index": str(index),
            "rule_of_list": rule.replace("<", "a[n - ").replace(">", "]"),
            "rule_of_function": rule.replace("<", "a(n - ").replace(">", ")"),
        },
    )


def _recurrence_rule(cursor: Cursor, name: str, variable: str, starts: int) -> str:
    """Terms as ``2 * <1> + 5``, where ``<k>`` is the term k places back."""
    rule = ""
    while True:
        sign = "-" if cursor.take("-") else "+"
        if rule and sign == "+":
            cursor.expect("+")
        rule += f" {sign} {_recurrence_term(cursor, name, variable, starts)}"
        following = cursor.peek()
        if following is None or following.text not in ("+", "-"):
            return _without_leading_plus(rule)


def _recurrence_term(cursor: Cursor, name: str, variable: str, starts: int) -> str:
    token = cursor.peek()
    factor = str(cursor.integer()) if token is not None and token.kind is TokenKind.NUMBER else None
    following = cursor.peek()
    multiplies = cursor.take("*") or (following is not None and following.text == name)
    if factor is not None and not multiplies:
        return factor
    cursor.expect(name)
    cursor.expect("(")
    cursor.expect(variable)
    cursor.expect("-")
    back = cursor.integer()
    cursor.expect(")")
    if not 1 <= back <= starts:
        raise PhraseSyntaxError("the rule reaches back to a term that is not given")
    return f"<{back}>" if factor is None else f"{factor} * <{back}>"


def _linear_system(cursor: Cursor) -> Operation:
    """``2x + 3y = 12, 4x - y = 10: x``: two equations, two unknowns, and which one is sought."""
    first = _linear_equation(cursor)
    cursor.expect(",", ";", "and")
    second = _linear_equation(cursor)
    cursor.expect(":")
    unknown = cursor.word()
    names = list(dict.fromkeys([*first.coefficients, *second.coefficients]))
    if len(names) != 2 or unknown not in names:
        raise PhraseSyntaxError("not two equations in two unknowns")
    # The unknown that is sought comes first wherever an order is needed.
    other = names[1 - names.index(unknown)]
    fields = {"x": names[0], "y": names[1], "unknown": unknown, "position": str(names.index(unknown))}
    for prefix, equation in (("first", first), ("second", second)):
        fields[f"{prefix}_equation"] = _python_equation(equation)
        fields[f"{prefix}_coefficients"] = ", ".join(str(equation.coefficients.get(name, 0)) for name in names)
        fields[f"{prefix}_sought"] = str(equation.coefficients.get(unknown, 0))
        fields[f"{prefix}_other"] = str(equation.coefficients.get(other, 0))
        fields[f"{prefix}_right"] = str(equation.constant)
    return Operation(OperationKind.LINEAR_SYSTEM, fields)


def _linear_equation(cursor: Cursor) -> Linear:
    coefficients: dict[str, int] = {}
    while True:
        sign = -1 if cursor.take("-") else 1
        if coefficients and sign == 1:
            cursor.expect("+")
        token = cursor.peek()
        factor = 1
        if token is not None and token.kind is TokenKind.NUMBER:
            factor = cursor.integer()
            cursor.take("*")
        name = cursor.word()
        if len(name) != 1:
            raise PhraseSyntaxError("unknowns are single letters")
        coefficients[name] = coefficients.get(name, 0) + sign * factor
        if cursor.take("="):
            return Linear(coefficients, cursor.integer())


def _python_equation(equation: Linear) -> str:
    """``2*x - y - 10``, which is zero where the equation holds."""
    text = "".join(
        f" {'-' if factor < 0 else '+'} {'' if abs(factor) == 1 else f'{abs(factor)}*'}{name}"
        for name, factor in equation.coefficients.items()
    )
    return f"{_without_leading_plus(text)} {'+' if equation.constant < 0 else '-'} {abs(equation.constant)}"


def _without_leading_plus(terms: str) -> str:
    """`` + 2 - 3`` as ``2 - 3``, `` - 2 + 3`` as ``-2 + 3``."""
    sign, first = terms[1], terms[3:]
    return first if sign == "+" else f"-{first}"
