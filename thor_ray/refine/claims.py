"""Finds computations with a hand-made result in a step's text, such as ``gcd(96, 60) = 12``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thor_ray.refine.expressions import Binary, Expression, Number, Unary
from thor_ray.refine.operations import Operation, operation_of
from thor_ray.refine.parser import ExpressionSyntaxError, parse_expression
from thor_ray.refine.phrases import PhraseSyntaxError, parse_phrase
from thor_ray.refine.tokens import Token, TokenKind, tokenize

_RELATIONS = ("=", "is", "equals")
_OPERATORS = {"+", "-", "*", "/", "^", "%", "mod", "!"}
_CALCULATOR_ANNOTATION = re.compile(r"<<[^<>\n]*>>")

MAX_CHAIN: Final = 8
"""Longest chain ``a = b = ... = result`` that is read; longer ones would make reading a text quadratic."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A computation and what the step says it comes to.

    Attributes:
        operation: What is computed.
        expression: The computation as the step writes it.
        result: The claimed value, ``12``, ``-7/3`` or ``0.5``.
        start: Where the claim begins in the step.
        result_start: Where the hand-made part begins, the relation sign included.
        result_end: Where the hand-made part ends.
        end: Where the claim ends; after ``result_end`` only where a modulus follows the result.
    """

    operation: Operation
    expression: str
    result: str
    start: int
    result_start: int
    result_end: int
    end: int


def without_annotations(text: str) -> str:
    """The text without calculator annotations such as ``<<3*4=12>>``, which state a result once more."""
    return _CALCULATOR_ANNOTATION.sub("", text)


def numeral(value: str) -> re.Pattern[str]:
    """Matches ``value`` where it stands as a number of its own, not inside ``112``, ``12.5`` or ``x12``."""
    return re.compile(rf"(?<![\w./])(?<!\d,){re.escape(value)}(?!\w|[.,/]\d)")


def find_claims(text: str) -> list[Claim]:
    """All claims of a text, from left to right, none overlapping another.

    Text that cannot be read as a whole computation is left alone: ``2x + 3 * 4 = 20`` claims nothing about ``3 * 4``.
    """
    tokens = tokenize(text)
    claims = []
    position = 0
    while position < len(tokens):
        found = _claim_at(text, tokens, position) if _may_start(tokens, position) else None
        if found is None:
            position += 1
        else:
            claim, position = found
            claims.append(claim)
    return claims


def _may_start(tokens: Sequence[Token], position: int) -> bool:
    """Whether a computation that starts here would not be the rest of a larger one."""
    if position == 0:
        return True
    before, token = tokens[position - 1], tokens[position]
    if before.text in _OPERATORS or before.text == "\\equiv":
        return False
    adjacent = before.end == token.start
    if token.text == "-":
        return not adjacent and before.kind is not TokenKind.NUMBER and before.text not in (")", "]", "}")
    return not (adjacent and (before.kind is not TokenKind.SYMBOL or before.text in (".", ")", "]", "}", "_", "#")))


def _claim_at(text: str, tokens: Sequence[Token], position: int) -> tuple[Claim, int] | None:
    """The claim that starts at a token, and the position after it."""
    try:
        operation, end = parse_phrase(tokens, position)
    except PhraseSyntaxError:
        try:
            expression, end = parse_expression(tokens, position)
        except ExpressionSyntaxError:
            return None
        if end < len(tokens) and tokens[end].text == "\\equiv":
            return _congruence(text, tokens, position, end, expression)
        computed = operation_of(expression)
        if computed is None:
            return None
        operation = computed
    result = _result(tokens, end)
    if result is None:
        return None
    value, after = result
    start, result_start, result_end = tokens[position].start, tokens[end - 1].end, tokens[after - 1].end
    claim = Claim(operation, text[start:result_start], value, start, result_start, result_end, result_end)
    return claim, after


def _result(tokens: Sequence[Token], position: int) -> tuple[str, int] | None:
    """The number at the end of ``= ... = number`` and the position after it."""
    value = None
    for _ in range(MAX_CHAIN):
        if position >= len(tokens) or tokens[position].text not in _RELATIONS:
            break
        try:
            expression, position = parse_expression(tokens, position + 1)
        except ExpressionSyntaxError:
            return None
        value = _literal(expression)
    if value is None or not _is_complete(tokens, position):
        return None
    return value, position


def _is_complete(tokens: Sequence[Token], position: int) -> bool:
    """Whether the number that ends before ``position`` is not a part of something larger, such as ``12x``."""
    if position >= len(tokens):
        return True
    following = tokens[position]
    if following.text == "=":
        return False
    adjacent = following.start == tokens[position - 1].end
    return following.text not in _OPERATORS and not (adjacent and following.kind is not TokenKind.SYMBOL)


def _congruence(
    text: str, tokens: Sequence[Token], position: int, end: int, expression: Expression
) -> tuple[Claim, int] | None:
    """``7^13 = 2 (mod 11)`` with the sign of congruence; ``end`` is the position of that sign."""
    try:
        residue, after = parse_expression(tokens, end + 1)
        opening = [token.text for token in tokens[after : after + 2]]
        skipped = 2 if opening in (["(", "mod"], ["\\pmod", "{"]) else 0
        if not skipped:
            return None
        modulus, closing = parse_expression(tokens, after + skipped)
    except ExpressionSyntaxError:
        return None
    value, operation = _literal(residue), operation_of(Binary("mod", expression, modulus))
    if value is None or operation is None or closing >= len(tokens) or tokens[closing].text not in (")", "}"):
        return None
    start, result_start, result_end = tokens[position].start, tokens[end - 1].end, tokens[after - 1].end
    stated = text[start:result_start] + text[result_end : tokens[closing].end]
    return Claim(operation, stated, value, start, result_start, result_end, tokens[closing].end), closing + 1


def _literal(expression: Expression) -> str | None:
    """A number as it would be printed; ``None`` if the expression is more than a number."""
    match expression:
        case Number(text):
            return text
        case Unary("-", operand):
            value = _literal(operand)
            return None if value is None or value.startswith("-") else f"-{value}"
        case Binary("/", left, Number(denominator)) if "." not in denominator:
            value = _literal(left)
            return None if value is None or "/" in value or "." in value else f"{value}/{denominator}"
        case _:
            return None
