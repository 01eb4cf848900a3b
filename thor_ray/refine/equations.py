"""Linear equations in one unknown, with the solution that a step goes on to state: ``3x + 36 = 180, so x = 48``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from thor_ray.refine.expressions import (
    Binary,
    Expression,
    Number,
    Unary,
    Variable,
    parts_of,
    to_python,
)
from thor_ray.refine.operations import Operation, OperationKind
from thor_ray.refine.parser import ExpressionSyntaxError, parse_expression
from thor_ray.refine.tokens import Token, TokenKind

MOST_DIGITS: Final = 40
"""Longest number in an equation."""

MOST_TOKENS_AHEAD: Final = 120
"""How far behind its equation a solution is looked for."""

_STARTS: Final = {"-", "(", "{", "\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}
_JOINED: Final = {"+", "-", "*", "/", "^", "=", "\\approx", "<", ">", "!", "mod", "...", ","}


@dataclass(frozen=True, slots=True)
class Solved:
    """An equation and what a text says its unknown is.

    Attributes:
        operation: Solves it.
        start: Position of its first token.
        end: Position after its last token.
        value: Position of the first token of the stated solution, behind ``x =``.
    """

    operation: Operation
    start: int
    end: int
    value: int


def equation_at(tokens: Sequence[Token], position: int) -> Solved | None:
    """The equation that starts at a token, if a solution of it is stated further on."""
    token = tokens[position]
    before = tokens[position - 1] if position else None
    opens = token.kind is TokenKind.NUMBER or token.text in _STARTS or _is_unknown(token)
    if not opens or (before is not None and (before.text in _JOINED or before.text in ("(", "{", "_", "}", ")"))):
        return None
    if before is not None and (before.end == token.start or before.text.startswith("\\")) and before.text != "\\boxed":
        return None
    try:
        left, middle = parse_expression(tokens, position, variables=True)
        if middle >= len(tokens) or tokens[middle].text != "=":
            return None
        right, end = parse_expression(tokens, middle + 1, variables=True)
    except ExpressionSyntaxError:
        return None
    if end < len(tokens) and _continues(tokens, end):
        return None
    names = {part.name for side in (left, right) for part in parts_of(side) if isinstance(part, Variable)}
    if len(names) != 1 or isinstance(left, Variable) or isinstance(right, Variable):
        return None
    first, second = _linear(left), _linear(right)
    if first is None or second is None or first.slope == second.slope:
        return None
    (name,) = names
    value = next(_stated_values(tokens, end, name), None)
    if value is None:
        return None
    fields = {
        "unknown": name,
        "left": to_python(left, "sympy.Rational"),
        "right": to_python(right, "sympy.Rational"),
    }
    return Solved(Operation(OperationKind.LINEAR_EQUATION, fields), position, end, value)


def _continues(tokens: Sequence[Token], position: int) -> bool:
    """Whether an expression that ends here goes on with something that could not be read."""
    following = tokens[position]
    adjacent = following.start == tokens[position - 1].end
    in_formula = following.text.startswith("\\") or (adjacent and following.kind is not TokenKind.SYMBOL)
    return in_formula or following.text in _JOINED - {","} or (adjacent and following.text in ("(", "_", "|"))


def _stated_values(tokens: Sequence[Token], position: int, name: str) -> Iterator[int]:
    """Positions of what follows ``name =``, as long as the text is still about the same equation."""
    for index in range(position, min(len(tokens) - 2, position + MOST_TOKENS_AHEAD)):
        if tokens[index].text == name and tokens[index + 1].text == "=":
            before = tokens[index - 1]
            if before.text not in _JOINED - {","} and (before.kind is not TokenKind.NUMBER):
                yield index + 2


def _is_unknown(token: Token) -> bool:
    return token.kind is TokenKind.WORD and len(token.text) == 1 and token.text.isalpha()


@dataclass(frozen=True, slots=True)
class _Linear:
    """``slope * unknown + constant``."""

    slope: Fraction
    constant: Fraction


def _linear(expression: Expression) -> _Linear | None:
    """The expression as a linear one in its unknown; ``None`` if it is none, or too large."""
    match expression:
        case Variable():
            return _Linear(Fraction(1), Fraction(0))
        case Number(text) if len(text) <= MOST_DIGITS:
            return _Linear(Fraction(0), Fraction(text))
        case Unary("-", operand):
            return _scaled(_linear(operand), Fraction(-1))
        case Binary("+", left, right):
            return _sum(_linear(left), _linear(right))
        case Binary("-", left, right):
            return _sum(_linear(left), _scaled(_linear(right), Fraction(-1)))
        case Binary("*", left, right):
            first, second = _linear(left), _linear(right)
            if first is not None and first.slope == 0:
                return _scaled(second, first.constant)
            return _scaled(first, second.constant) if second is not None and second.slope == 0 else None
        case Binary("/", left, right):
            divisor = _linear(right)
            if divisor is None or divisor.slope or not divisor.constant:
                return None
            return _scaled(_linear(left), 1 / divisor.constant)
        case _:
            return None


def _scaled(linear: _Linear | None, factor: Fraction) -> _Linear | None:
    return None if linear is None else _Linear(linear.slope * factor, linear.constant * factor)


def _sum(first: _Linear | None, second: _Linear | None) -> _Linear | None:
    if first is None or second is None:
        return None
    return _Linear(first.slope + second.slope, first.constant + second.constant)
