"""Finds computations with a hand-made result in a step's text, such as ``gcd(96, 60) = 12``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from thor_ray.refine.equations import equation_at
from thor_ray.refine.expressions import Binary, Expression, Number, Unary
from thor_ray.refine.operations import Operation, OperationKind, operation_of, with_decimals
from thor_ray.refine.parser import MAX_UNIT_WORDS, ExpressionSyntaxError, parse_expression
from thor_ray.refine.phrases import PhraseSyntaxError, parse_phrase
from thor_ray.refine.properties import property_at
from thor_ray.refine.tokens import DOTS, Token, TokenKind, tokenize

_SIGNS = ("=", "\\approx")
_RELATIONS = (*_SIGNS, "is", "equals")
_OPERATORS = {"+", "-", "*", "/", "^", "%", "mod", "!", "x", "X"}
_BOXES = ("\\boxed", "\\fbox")
_SCALES = {"thousand", "million", "billion", "hundred", "dozen", "percent"}
"""Words that change what the number before them is worth."""
_HARMLESS_COMMANDS = {
    *_BOXES,
    *("\\Rightarrow", "\\implies", "\\Longrightarrow", "\\rightarrow", "\\to", "\\longrightarrow", "\\therefore"),
    *("\\item", "\\approx", "\\iff", "\\Leftrightarrow", "\\blacksquare", "\\qedhere", "\\pmod", "\\cap"),
}
"""LaTeX commands that are no part of the expression beside them."""
_CONNECTIVES = set("so that and then since because thus hence therefore but now as means have get gives if".split())
"""Words after which ``3 * 4 is 12`` speaks of the whole product; after "the last digit of" it does not."""
_FUNCTION_WORDS = {"log", "ln", "sin", "cos", "tan", "floor", "ceil", "abs", "max", "min", "pi", "root", "base"}
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
        boxed: The claimed value stands in a box: it is the answer.
        question: What the program answers, where the claim is a statement that has no hand-made part to cut out.
        stated_end: Where the text that states the result ends, if it comes after the claim; else 0.
    """

    operation: Operation
    expression: str
    result: str
    start: int
    result_start: int
    result_end: int
    end: int
    boxed: bool = False
    question: str = ""
    stated_end: int = 0

    @property
    def decimals(self) -> int:
        return len(self.result.partition(".")[2])


def without_annotations(text: str) -> str:
    """The text without calculator annotations such as ``<<3*4=12>>``, which state a result once more."""
    return _CALCULATOR_ANNOTATION.sub("", text)


def numeral(value: str) -> re.Pattern[str]:
    """Matches ``value`` where it stands as a number of its own, not inside ``112``, ``12.5`` or ``x12``."""
    return re.compile(rf"(?<![\w./])(?<!\d,){re.escape(value)}(?!\w|[.,/]\d)")


def mention(value: str) -> re.Pattern[str]:
    """Matches ``value`` wherever it is read as that number, as a part of a fraction, too."""
    return re.compile(rf"(?<![\w.])(?<!\d,){re.escape(value)}(?!\w|[.,]\d)")


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
    if before.text in _OPERATORS or before.text in ("\\equiv", "}", DOTS):
        return False
    if before.kind is TokenKind.WORD and (_is_command(before) or before.text in _FUNCTION_WORDS):
        return False
    # Two numbers side by side are a mixed number, a list, or something else that is not understood.
    if before.kind is TokenKind.NUMBER:
        return False
    # "P (7/2)" is a function's value.
    if token.text == "(" and before.kind is TokenKind.WORD and len(before.text) == 1 and before.text not in ("a", "I"):
        return False
    adjacent = before.end == token.start
    if token.text == "-":
        spaced = position + 1 < len(tokens) and token.end < tokens[position + 1].start
        is_difference = before.kind is TokenKind.WORD and spaced
        return not adjacent and not is_difference and before.text not in (")", "]")
    return not (adjacent and (before.kind is not TokenKind.SYMBOL or before.text in (".", ")", "]", "_", "#")))


def _is_command(token: Token) -> bool:
    """Whether a LaTeX command may apply to what stands beside it, as in ``\\sin 30 + 5`` and ``12 \\pi``."""
    return token.text.startswith("\\") and token.text not in _HARMLESS_COMMANDS


def _claim_at(text: str, tokens: Sequence[Token], position: int) -> tuple[Claim, int] | None:
    """The claim that starts at a token, and the position after it."""
    found = property_at(tokens, position)
    if found is not None:
        start, end = tokens[position].start, tokens[found.end - 1].end
        claim = Claim(
            found.operation,
            text[start:end],
            found.result,
            start,
            end,
            end,
            end,
            question=found.question,
            stated_end=end,
        )
        return claim, found.end
    return _equation(text, tokens, position) or _computation(text, tokens, position)


def _equation(text: str, tokens: Sequence[Token], position: int) -> tuple[Claim, int] | None:
    """A linear equation whose solution the text states further on."""
    solved = equation_at(tokens, position)
    value = None if solved is None else _value(tokens, solved.value)
    if solved is None or value is None or not value.value or not _is_complete(tokens, value.end, ()):
        return None
    start, end = tokens[position].start, tokens[solved.end - 1].end
    stated_end = tokens[value.end - 1].end
    claim = Claim(
        solved.operation, text[start:end], value.value, start, end, end, end, value.boxed, stated_end=stated_end
    )
    return claim, value.end


def _computation(text: str, tokens: Sequence[Token], position: int) -> tuple[Claim, int] | None:
    """A computation with its result right behind it."""
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
        if computed is None or _is_share(expression, tokens, end):
            return None
        if end < len(tokens) and tokens[end].text in ("is", "equals") and not _is_subject(tokens, position):
            return None
        operation = computed
    result = _result(tokens, end)
    if result is None:
        return None
    if "." in result.value:
        operation = with_decimals(operation, len(result.value.partition(".")[2]))
    start, result_start = tokens[position].start, tokens[end - 1].end
    result_end = _after_repeated_unit(tokens, end, result.end)
    claim = Claim(
        operation, text[start:result_start], result.value, start, result_start, result_end, result_end, result.boxed
    )
    return claim, result.end


def _is_subject(tokens: Sequence[Token], position: int) -> bool:
    """Whether what starts here begins a clause, so that a verb behind it is about all of it."""
    if position == 0:
        return True
    before = tokens[position - 1]
    is_border = before.kind is TokenKind.SYMBOL and before.text not in _SIGNS
    return is_border or before.text.lower() in _CONNECTIVES


def _is_share(expression: Expression, tokens: Sequence[Token], end: int) -> bool:
    """Whether a percentage or a proper fraction stands for a share of something: "3/8 is $375", "1% = 19"."""
    match expression:
        case Unary("%", _):
            return True
        case Binary("/", Number(numerator), Number(denominator)):
            following = tokens[end : end + 3]
            is_word = bool(following) and following[0].text not in _SIGNS
            whole = len(following) > 1 and following[1].kind is TokenKind.NUMBER and "." not in following[1].text
            divides_on = len(following) > 2 and following[2].text in ("/", "*")
            return Fraction(numerator) < Fraction(denominator) and (is_word or (whole and not divides_on))
        case _:
            return False


@dataclass(frozen=True, slots=True)
class _Result:
    """The number at the end of ``= ... = number``, and the position of the token after it."""

    value: str
    end: int
    boxed: bool


def _result(tokens: Sequence[Token], position: int) -> _Result | None:
    """What a computation that ends before ``position`` is said to come to."""
    start, result = position, None
    for _ in range(MAX_CHAIN):
        # "3 * 4 = 12 is even": a word begins something new where a sign has stated the result.
        if position >= len(tokens) or tokens[position].text not in (_RELATIONS if result is None else _SIGNS):
            break
        result = _value(tokens, position + 1 + _length_of_equal_to(tokens, position))
        if result is None:
            return None
        position = result.end
    if (
        result is None
        or not result.value
        or not _is_complete(tokens, position, tokens[max(0, start - MAX_UNIT_WORDS) : start])
    ):
        return None
    return result


def _value(tokens: Sequence[Token], position: int) -> _Result | None:
    """The expression that starts here, perhaps in a box; ``value`` is empty where it is more than a number."""
    boxed = position + 1 < len(tokens) and tokens[position].text in _BOXES and tokens[position + 1].text == "{"
    try:
        # A box is read as a group.
        expression, end = parse_expression(tokens, position + boxed)
    except ExpressionSyntaxError:
        return None
    return _Result(_literal(expression) or "", end, boxed)


def _length_of_equal_to(tokens: Sequence[Token], position: int) -> int:
    """2 where ``equal to`` stands behind the relation at ``position``."""
    following = [token.text for token in tokens[position + 1 : position + 3]]
    return 2 if tokens[position].text == "is" and following == ["equal", "to"] else 0


def _is_complete(tokens: Sequence[Token], position: int, unit: Sequence[Token]) -> bool:
    """Whether the number that ends before ``position`` is not a part of something larger, such as ``12x``."""
    if position >= len(tokens):
        return True
    following = tokens[position]
    adjacent = following.start == tokens[position - 1].end
    match following.kind:
        case TokenKind.NUMBER:
            return False
        case TokenKind.WORD:
            is_variable = len(following.text) == 1 and following.text not in ("a", "A", "I")
            rescaled = following.text in _SCALES and following.text not in {token.text for token in unit}
            return not (adjacent or is_variable or rescaled or _is_command(following) or following.text in _OPERATORS)
        case TokenKind.SYMBOL if following.text in (":", "."):
            # "2:3" is a ratio, and ``0.\\overline{7}`` is not 0.
            return not (adjacent and position + 1 < len(tokens) and tokens[position + 1].start == following.end)
        case TokenKind.SYMBOL if adjacent and following.text == "(":
            return False
    return following.text not in _OPERATORS and following.text not in ("=", "\\approx", "<", ">", DOTS)


def _after_repeated_unit(tokens: Sequence[Token], start: int, end: int) -> int:
    """Where the result ends in the text, with the unit that the computation's last operand has, too, if it is repeated.

    In "6 gallons + 3 gallons = 9 gallons of gas" what the program prints stands for "9 gallons".
    """
    for length in range(MAX_UNIT_WORDS, 0, -1):
        unit = [token.text for token in tokens[start - length : start]]
        is_word = start >= length and tokens[start - length].kind is TokenKind.WORD
        if is_word and [token.text for token in tokens[end : end + length]] == unit:
            return tokens[end + length - 1].end
    return tokens[end - 1].end


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
    is_power = operation is not None and operation.kind is OperationKind.MODULAR_POWER
    if (
        value is None
        or value.startswith("-")
        or operation is None
        or not is_power
        or closing >= len(tokens)
        or tokens[closing].text not in (")", "}")
    ):
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
