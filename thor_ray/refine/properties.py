"""What a step says about an integer without a relation sign: ``91 is divisible by 7``, ``97 is prime``, ``60 has 12 divisors``.

Such a claim has no result that could be cut out, so the program answers a question, and the sentence follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thor_ray.refine.operations import Operation, OperationKind
from thor_ray.refine.phrases import Cursor, PhraseSyntaxError
from thor_ray.refine.tokens import Token, TokenKind

_DIVISORS: Final = ("divisors", "factors")


@dataclass(frozen=True, slots=True)
class Property:
    """One statement about an integer.

    Attributes:
        operation: Decides or counts it.
        question: What the program answers.
        result: ``True``, ``False`` or the stated number.
        end: Position after the statement's last token.
    """

    operation: Operation
    question: str
    result: str
    end: int


def property_at(tokens: Sequence[Token], position: int) -> Property | None:
    """The statement that starts at a token, if it is one about a positive integer."""
    if tokens[position].kind is not TokenKind.NUMBER or not _stands_alone(tokens, position):
        return None
    for read in (_divisible, _divides, _prime, _divisor_count):
        cursor = Cursor(tokens, position)
        try:
            operation, question, result = read(cursor)
        except PhraseSyntaxError:
            continue
        return Property(operation, question, result, cursor.position)
    return None


def _stands_alone(tokens: Sequence[Token], position: int) -> bool:
    """Whether the number is not the end of an expression, such as ``x + 27`` or ``8^12``."""
    if position == 0:
        return True
    before = tokens[position - 1]
    adjacent = before.end == tokens[position].start
    return before.text not in ("+", "-", "*", "/", "^", "=", "_", "{", "}", "\\equiv") and not (
        before.kind is TokenKind.NUMBER or (adjacent and before.text in (",", "."))
    )


def _divisible(cursor: Cursor) -> tuple[Operation, str, str]:
    number = cursor.integer()
    cursor.expect("is")
    holds = not cursor.take("not")
    if cursor.take("divisible"):
        cursor.expect("by")
    else:
        cursor.expect("a")
        cursor.expect("multiple")
        cursor.expect("of")
    return _divisibility(number, _last_integer(cursor), holds)


def _divides(cursor: Cursor) -> tuple[Operation, str, str]:
    divisor = cursor.integer()
    cursor.expect("divides")
    return _divisibility(_last_integer(cursor), divisor, True)


def _divisibility(number: int, divisor: int, holds: bool) -> tuple[Operation, str, str]:
    if number < 1 or divisor < 1:
        raise PhraseSyntaxError("not about positive integers")
    fields = {"number": str(number), "divisor": str(divisor)}
    return Operation(OperationKind.DIVISIBILITY, fields), f"Is {number} divisible by {divisor}?", str(holds)


def _prime(cursor: Cursor) -> tuple[Operation, str, str]:
    number = cursor.integer()
    cursor.expect("is")
    holds = not cursor.take("not")
    cursor.take("a")
    if not cursor.take("prime"):
        cursor.expect("composite")
        holds = not holds
    following = cursor.peek()
    if number < 1 or (following is not None and following.text in ("to", "factor", "factors", "divisor", "power")):
        raise PhraseSyntaxError("another property")
    return Operation(OperationKind.PRIMALITY, {"number": str(number)}), f"Is {number} prime?", str(holds)


def _divisor_count(cursor: Cursor) -> tuple[Operation, str, str]:
    number = cursor.integer()
    cursor.expect("has")
    count = cursor.integer()
    cursor.take("positive")
    cursor.expect(*_DIVISORS)
    if number < 1:
        raise PhraseSyntaxError("not about a positive integer")
    operation = Operation(OperationKind.DIVISOR_COUNT, {"number": str(number)})
    return operation, f"How many positive divisors does {number} have?", str(count)


def _last_integer(cursor: Cursor) -> int:
    """An integer that nothing continues: ``4`` in ``divisible by 4.``, but not in ``divisible by 4x`` or ``4 and 9``."""
    number = cursor.integer()
    following = cursor.peek()
    if following is not None:
        adjacent = following.start == cursor.tokens[cursor.position - 1].end
        is_list = following.text in (",", "and", "or", "nor") and _number_follows(cursor)
        joined = is_list or following.text in ("+", "*", "/", "^")
        if joined or (adjacent and following.kind is not TokenKind.SYMBOL):
            raise PhraseSyntaxError("the number is a part of something larger")
    return number


def _number_follows(cursor: Cursor) -> bool:
    after = cursor.peek(1)
    return after is not None and after.kind is TokenKind.NUMBER
