"""A recursive-descent parser for plain and LaTeX arithmetic.

It reads tokens and builds trees; nothing is ever evaluated or executed here. Grammar, loosest first::

    modulo    = sum [ "mod" sum ]
    sum       = product { ("+" | "-") product }
    product   = signed { ("*" | "x" | "times" | "/" | "divided by" | "%" | "of" | nothing) signed }
    signed    = "-" signed | power
    power     = postfix [ "^" signed ]
    postfix   = primary { "!" | "%" } [ unit ]
    primary   = number | "(" modulo ")" | function "(" modulo { "," modulo } ")" | "half" | variable
              | "\\frac" group group | "\\binom" group group | "\\sqrt" group | group

``of`` multiplies after a fraction or a percentage only ("3/4 of 20"), and ``%`` is the remainder only where another
operand follows, a percentage elsewhere. Nothing at all multiplies where a bracket follows without white space. A unit is
skipped where an operator or a relation comes after it ("6 gallons + 3 gallons"). Variables are read on request only.
"""

from collections.abc import Sequence
from typing import Final

from thor_ray.refine.expressions import Binary, Call, Expression, Function, Number, Unary, Variable
from thor_ray.refine.tokens import Token, TokenKind

MAX_DEPTH: Final = 12
"""Nested operands beyond this are refused, so that no text exhausts the interpreter's stack or takes long to refuse."""

FUNCTIONS: Final[dict[str, tuple[Function, int, int | None]]] = {
    "gcd": ("gcd", 2, None),
    "\\gcd": ("gcd", 2, None),
    "lcm": ("lcm", 2, None),
    "\\lcm": ("lcm", 2, None),
    "C": ("binomial", 2, 2),
    "binomial": ("binomial", 2, 2),
    "tau": ("tau", 1, 1),
    "\\tau": ("tau", 1, 1),
    "sigma": ("sigma", 1, 1),
    "\\sigma": ("sigma", 1, 1),
    "prime": ("prime", 1, 1),
    "digit_sum": ("digit_sum", 1, 1),
    "factorial": ("factorial", 1, 1),
    "sqrt": ("sqrt", 1, 1),
}
"""Spelling to function, fewest and most arguments."""

_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
_FRACTIONS: Final = ("\\frac", "\\dfrac", "\\tfrac", "\\cfrac")
_OPENS_OPERAND: Final = {*_BRACKETS, *FUNCTIONS, *_FRACTIONS, "\\binom", "\\dbinom", "\\sqrt"}
_AFTER_UNIT: Final = {"+", "-", "*", "/", "x", "=", "\\approx", "is", "equals", "divided", "times", ")"}
_NEVER_UNITS: Final = {
    *_AFTER_UNIT,
    "mod",
    "of",
    "and",
    "or",
    "by",
    "to",
    "from",
    "if",
    "so",
    "then",
    "than",
    "more",
    "as",
}

_ADJACENT_UNITS: Final = frozenset("kg km cm mm ml mg lb lbs oz ft mph hr hrs min mins sec".split())
"""Units that may stand right behind a number, where other letters are unknowns."""

MAX_UNIT_WORDS: Final = 3
"""Longest unit that is skipped, as in ``20 miles/hour``."""


class ExpressionSyntaxError(ValueError):
    """The tokens do not continue as an expression here."""


def parse_expression(tokens: Sequence[Token], position: int, *, variables: bool = False) -> tuple[Expression, int]:
    """Parses the longest expression that starts at ``position``.

    Args:
        tokens: Of a text.
        position: Where to begin.
        variables: Read single letters as unknowns, too.

    Returns:
        The tree, and the position after its last token.

    Raises:
        ExpressionSyntaxError: no expression starts here, or one starts and breaks off.
    """
    parser = _Parser(tokens, position, variables)
    return parser.modulo(), parser.position


class _Parser:
    def __init__(self, tokens: Sequence[Token], position: int, variables: bool) -> None:
        self.position = position
        self._tokens = tokens
        self._variables = variables
        self._depth = 0
        self._separators_allowed = True

    def modulo(self) -> Expression:
        left = self._sum()
        return Binary("mod", left, self._sum()) if self._take("mod") else left

    def _sum(self) -> Expression:
        left = self._product()
        while True:
            if self._take("+"):
                left = Binary("+", left, self._product())
            elif self._take("-"):
                left = Binary("-", left, self._product())
            else:
                return left

    def _product(self) -> Expression:
        left = self._signed()
        while True:
            if self._multiplies(left):
                left = Binary("*", left, self._signed())
            elif self._take("/") or self._divided_by():
                left = Binary("/", left, self._signed())
            elif self._take("%"):
                left = Binary("mod", left, self._signed())
            else:
                return left

    def _multiplies(self, left: Expression) -> bool:
        """Moves past a sign of multiplication, which may be none at all; whether there was one."""
        if self._take("*") or (_is_share(left) and self._take("of")):
            return True
        if self._peek() in ("x", "X", "times") and not self._variables and self._starts_operand(1):
            self.position += 1
            return True
        return self._adjacent() and self._tokens[self.position - 1].text not in _OPENS_OPERAND and self._joins()

    def _joins(self) -> bool:
        """Whether the next token, right behind an operand, is a factor: ``2(3 + 4)``, ``(3)(4)``, ``2\\sqrt{9}``, ``2x``."""
        if self._peek() in ("(", "\\sqrt"):
            return self._peek(1) != "mod"
        before = self._tokens[self.position - 1]
        return self._variables and self._is_variable() and (before.kind is TokenKind.NUMBER or before.text in ")}")

    def _divided_by(self) -> bool:
        if self._peek() != "divided" or self._peek(1) != "by":
            return False
        self.position += 2
        return True

    def _signed(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionSyntaxError("nested too deeply")
        negated = self._take("-")
        expression = Unary("-", self._signed()) if negated else self._power()
        self._depth -= 1
        return expression

    def _power(self) -> Expression:
        base = self._postfix()
        return Binary("^", base, self._signed()) if self._take("^") else base

    def _postfix(self) -> Expression:
        expression = self._primary()
        while True:
            if self._peek() == "!" and self._adjacent():
                self.position += 1
                expression = Unary("!", expression)
            elif self._peek() == "%" and not self._starts_operand(1):
                self.position += 1
                expression = Unary("%", expression)
            else:
                self.position += 0 if self._variables else self._unit_length()
                return expression

    def _unit_length(self) -> int:
        """How many tokens of a unit come next: words, or ``/`` and a word, with an operator or a relation after them."""
        length = words = 0
        while words < MAX_UNIT_WORDS:
            step = 2 if self._peek(length) == "/" and self._is_unit_word(length + 1) else 1
            if step == 1 and not self._is_unit_word(length):
                break
            if step == 1 and length == 0 and self._adjacent() and self._peek() not in _ADJACENT_UNITS:
                break
            length, words = length + step, words + 1
        return length if length and self._peek(length) in _AFTER_UNIT else 0

    def _is_unit_word(self, ahead: int) -> bool:
        position = self.position + ahead
        if position >= len(self._tokens):
            return False
        token = self._tokens[position]
        return (
            token.kind is TokenKind.WORD
            and token.text.isalpha()
            and len(token.text) > 1
            and not (token.text in _NEVER_UNITS or token.text in FUNCTIONS)
        )

    def _primary(self) -> Expression:
        if self.position >= len(self._tokens):
            raise ExpressionSyntaxError("the text ends where an operand is missing")
        token = self._tokens[self.position]
        if token.kind is TokenKind.NUMBER:
            return self._number()
        if token.text in _FRACTIONS:
            self.position += 1
            return self._fraction()
        if token.text == "\\sqrt":
            self.position += 1
            return Call("sqrt", (self._bracketed("{") if self._peek() == "{" else self._digit(),))
        if token.text == "half" and self._peek(1) == "of":
            self.position += 1
            return Binary("/", Number("1"), Number("2"))
        if self._variables and self._is_variable():
            self.position += 1
            return Variable(token.text)
        if token.text in ("\\binom", "\\dbinom"):
            self.position += 1
            return Call("binomial", (self._bracketed("{"), self._bracketed("{")))
        if token.text in FUNCTIONS:
            self.position += 1
            return self._call(*FUNCTIONS[token.text])
        if token.text in _BRACKETS:
            return self._bracketed(token.text)
        raise ExpressionSyntaxError(f"{token.text!r} starts no operand")

    def _fraction(self) -> Expression:
        """What follows ``\\frac``: groups, or single digits as in ``\\frac12``."""
        token = self._tokens[self.position] if self.position < len(self._tokens) else None
        if token is not None and token.kind is TokenKind.NUMBER and len(token.text) == 2 and token.text.isdigit():
            self.position += 1
            return Binary("/", Number(token.text[0]), Number(token.text[1]))
        numerator = self._bracketed("{") if self._peek() == "{" else self._digit()
        return Binary("/", numerator, self._bracketed("{") if self._peek() == "{" else self._digit())

    def _digit(self) -> Number:
        """A lone digit, which is all that a LaTeX command takes where there are no braces."""
        text = self._peek()
        if text is None or len(text) != 1 or not text.isdigit():
            raise ExpressionSyntaxError("a group or a digit is missing")
        self.position += 1
        return Number(text)

    def _is_variable(self) -> bool:
        if self.position >= len(self._tokens):
            return False
        token = self._tokens[self.position]
        return token.kind is TokenKind.WORD and len(token.text) == 1 and token.text.isalpha()

    def _number(self) -> Expression:
        digits = self._tokens[self.position].text
        self.position += 1
        while self._separators_allowed and self._thousands_follow(digits):
            digits += self._tokens[self.position + 1].text
            self.position += 2
        whole, point, decimals = digits.partition(".")
        return Number((whole.lstrip("0") or "0") + point + decimals)

    def _thousands_follow(self, digits: str) -> bool:
        """Whether ``,ddd`` follows without white space, as in ``12,500``."""
        before, following = self._tokens[self.position - 1], self._tokens[self.position : self.position + 2]
        if len(following) < 2 or following[0].text != "," or "." in digits or len(before.text) > 3:
            return False
        adjacent = before.end == following[0].start and following[0].end == following[1].start
        return adjacent and following[1].kind is TokenKind.NUMBER and len(following[1].text.split(".")[0]) == 3

    def _call(self, function: Function, fewest: int, most: int | None) -> Expression:
        # Between arguments a comma separates, whatever stands around it.
        allowed, self._separators_allowed = self._separators_allowed, False
        self._expect("(")
        arguments = [self.modulo()]
        while self._take(","):
            arguments.append(self.modulo())
        self._expect(")")
        self._separators_allowed = allowed
        if len(arguments) < fewest or (most is not None and len(arguments) > most):
            raise ExpressionSyntaxError(f"{function} does not take {len(arguments)} arguments")
        return Call(function, tuple(arguments))

    def _bracketed(self, opening: str) -> Expression:
        self._expect(opening)
        expression = self.modulo()
        self._expect(_BRACKETS[opening])
        return expression

    def _peek(self, ahead: int = 0) -> str | None:
        position = self.position + ahead
        return self._tokens[position].text if position < len(self._tokens) else None

    def _adjacent(self) -> bool:
        """Whether no white space precedes the next token: ``5!=120`` is a factorial, ``5 != 3`` is none."""
        if not 0 < self.position < len(self._tokens):
            return False
        return self._tokens[self.position - 1].end == self._tokens[self.position].start

    def _starts_operand(self, ahead: int) -> bool:
        position = self.position + ahead
        if position >= len(self._tokens):
            return False
        token = self._tokens[position]
        return token.kind is TokenKind.NUMBER or token.text in _OPENS_OPERAND

    def _take(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self.position += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ExpressionSyntaxError(f"{text!r} is missing")


def _is_share(expression: Expression) -> bool:
    match expression:
        case Unary("%", _) | Binary("/", _, _):
            return True
        case _:
            return False
