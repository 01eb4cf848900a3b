r"""Reading one normalised LaTeX expression as a tree.

The grammar is ours and strict: every character is accounted for or the text is refused. General LaTeX parsers guess
(they drop primes and transposes, read ``2(3)`` as 5 and ``\gcd(a,b)`` as 1), and a dropped token is a wrong reward.
"""

import re
from fractions import Fraction
from functools import lru_cache

from thor_ray.grading.expressions import Call, Constant, Expression, Matrix, Number, Relation, Symbol
from thor_ray.grading.normalisation import fingerprint
from thor_ray.grading.numerals import (
    AmbiguousNumberError,
    TooLargeError,
    is_number,
    mixed_part,
    read_number,
)
from thor_ray.grading.structure import split_pattern
from thor_ray.grading.tokens import (
    ACCENTS,
    FUNCTION_LETTERS,
    FUNCTION_NAMES,
    GREEK,
    INVERSES,
    SYNONYMS,
    ExpressionError,
    tokens_of,
)

MAX_DEPTH = 60


_OPERATOR = re.compile(r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|\\ne(?![a-zA-Z])|[<>=]")
_DERIVATIVE_ABOVE = re.compile(r"^(?:d|\\partial)(?:\^\{?\d\}?)?(?:\\?[a-zA-Z].*)?$")
_DERIVATIVE_BELOW = re.compile(r"^(?:(?:d|\\partial)\\?[a-zA-Z]+(?:\^\{?\d\}?)?)+$")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_STOPS = frozenset({"", "+", "-", ")", "]", "}", ",", "&", "\\\\", "\\end", "\\rfloor", "\\rceil"})
_MAX_POSTFIXES = 4


def parse(text: str, *, product_before_slash: bool = False) -> Expression:
    r"""Reads one expression.

    Args:
        text: An expression as ``normalise`` returns it.
        product_before_slash: Whether ``1/2x`` is ``1/(2x)`` rather than ``(1/2)x``; authors mean either.

    Raises:
        ExpressionError: The text is not an expression, or is nested deeper than ``MAX_DEPTH``.
        TooLargeError: A number has too many digits.
    """
    try:
        return _Parser(text, product_before_slash).result()
    except AmbiguousNumberError as error:
        raise ExpressionError(str(error)) from error


@lru_cache(maxsize=4096)
def readings(text: str) -> tuple[Expression | Relation, ...]:
    """All trees of an expression, an equation or an inequality: one, or two where a slash is ambiguous.

    Raises:
        ExpressionError: The text is none of these, or a number in it has too many digits.
    """
    sides, operators = split_pattern(text, _OPERATOR), tuple(_OPERATOR.findall(text))
    found: list[Expression | Relation] = []
    try:
        for product_before_slash in (False, True) if "/" in text else (False,):
            trees = tuple(parse(side, product_before_slash=product_before_slash) for side in sides)
            found.append(trees[0] if len(trees) == 1 else Relation(trees, operators))
    except TooLargeError as error:
        raise ExpressionError("number too large") from error
    return tuple(dict.fromkeys(found))


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, product_before_slash: bool) -> None:
        self._tokens = tokens_of(text)
        self._position = 0
        self._depth = 0
        self._bars = 0
        self._product_before_slash = product_before_slash

    def result(self) -> Expression:
        value = self._sum()
        if self._position != len(self._tokens):
            raise ExpressionError(f"unexpected {self._peek()}")
        return value

    def _peek(self, ahead: int = 0) -> str:
        position = self._position + ahead
        return self._tokens[position] if position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise ExpressionError("unexpected end")
        self._position += 1
        return token

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise ExpressionError(f"{token} expected")

    def _sum(self) -> Expression:
        terms = [self._product()]
        while self._peek() in ("+", "-"):
            terms.append(self._product())  # the sign is the product's own
        return terms[0] if len(terms) == 1 else Call("+", tuple(terms))

    def _product(self) -> Expression:
        factors = [self._signed()]
        while (token := self._peek()) not in _STOPS and not (token == "|" and self._bars):
            if token in ("\\cdot", "\\ast"):
                self._take()
                factors.append(self._signed())
            elif token in ("/", "\\div"):
                self._take()
                factors.append(Call("reciprocal", (self._divisor(),)))
            elif token in ("\\bmod", "\\mod"):
                self._take()
                factors = [Call("mod", (_product_of(factors), self._signed()))]
            else:
                factors.append(self._next_factor())
        return _product_of(factors)

    def _next_factor(self) -> Expression:
        """One more factor of an implicit product; of two numbers side by side nobody can tell what they mean."""
        if is_number(self._peek(-1)) and is_number(self._peek()):
            raise ExpressionError("two numbers side by side")
        return self._power()

    def _divisor(self) -> Expression:
        factors = [self._signed()]
        while self._product_before_slash and self._starts_factor():
            factors.append(self._next_factor())
        return _product_of(factors)

    def _starts_factor(self) -> bool:
        token = self._peek()
        if token in _STOPS or token in ("/", "\\div", "\\cdot", "\\bmod", "\\mod", "^", "!", "%", "'"):
            return False
        return token != "|" or not self._bars

    def _signed(self) -> Expression:
        sign = 1
        while self._peek() in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return self._power() if sign == 1 else _negative(self._power())

    def _power(self) -> Expression:
        value = self._atom()
        postfixes = 0
        while (token := self._peek()) in ("^", "!", "%", "'"):
            self._take()
            postfixes += 1
            if postfixes > _MAX_POSTFIXES or token == "'":
                raise ExpressionError(f"unexpected {token}")
            if token == "!":
                if self._peek() == "!":
                    raise ExpressionError("double factorial")
                value = Call("factorial", (value,))
            elif token == "%":
                value = Call("*", (value, Number(Fraction(1, 100))))
            elif self._peek() == "\\circ":
                self._take()
                value = Call("*", (value, Constant("pi"), Number(Fraction(1, 180))))
            else:
                value = Call("^", (value, self._exponent()))
                if self._peek() == "^":
                    raise ExpressionError("power of a power without brackets")
        return value

    def _exponent(self) -> Expression:
        if self._peek() in ("{", "("):
            return self._group()
        if self._peek() in ("\\cdot", "\\dagger"):  # an asterisk, as in the adjoint A^*
            return Symbol(self._take())
        sign = -1 if self._peek() == "-" and self._take() else 1
        value = Number(read_number(self._take())) if is_number(self._peek()) else self._atom()
        return value if sign == 1 else _negative(value)

    def _group(self) -> Expression:
        opening = self._take()
        if opening not in _CLOSING:
            raise ExpressionError("bracket expected")
        bars, self._bars = self._bars, 0
        value = self._sum()
        self._bars = bars
        self._expect(_CLOSING[opening])
        return value

    def _atom(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}")
        value = self._bare_atom(self._take())
        self._depth -= 1
        return value

    def _bare_atom(self, token: str) -> Expression:
        if is_number(token):
            fraction, width = mixed_part(token, self._tokens[self._position : self._position + 7])
            self._position += width
            return Number(read_number(token) + fraction)
        if token in _CLOSING:
            self._position -= 1
            return self._group()
        if token == "|":
            self._bars += 1
            inner = self._sum()
            self._bars -= 1
            self._expect("|")
            return Call("abs", (inner,))
        if token.startswith("\\"):
            return self._command(token)
        if token.isalpha():
            return self._symbol(token)
        raise ExpressionError(f"unexpected {token}")

    def _command(self, token: str) -> Expression:
        name = SYNONYMS.get(token[1:], token[1:])
        if token == "\\pi":
            return Constant("pi")
        if token == "\\frac":
            return self._fraction()
        if token == "\\sqrt":
            return self._root()
        if token == "\\binom":
            return Call("binomial", (self._group(), self._group()))
        if token in ("\\lfloor", "\\lceil"):
            inner = self._sum()
            self._expect("\\rfloor" if token == "\\lfloor" else "\\rceil")
            return Call("floor" if token == "\\lfloor" else "ceiling", (inner,))
        if token == "\\begin":
            return self._matrix()
        if name in FUNCTION_NAMES and (name not in GREEK or self._peek() in ("(", "{")):
            return self._function(name)
        if token.startswith("\\text"):
            return self._word(_words_of(token))
        if name in GREEK or any(token.startswith("\\" + accent) for accent in ACCENTS):
            return self._symbol(token)
        raise ExpressionError(f"unknown command {token}")

    def _fraction(self) -> Expression:
        start = self._position
        if self._peek() != "{":
            raise ExpressionError("\\frac without braces")
        upper = self._skip_group()
        lower = self._skip_group()
        if _DERIVATIVE_ABOVE.match(upper) and _DERIVATIVE_BELOW.match(lower):
            return Symbol(f"derivative {upper} by {lower}")
        self._position = start
        return Call("*", (self._group(), Call("reciprocal", (self._group(),))))

    def _skip_group(self) -> str:
        """Takes a group in braces as it stands and returns its tokens as one text."""
        self._expect("{")
        start, depth = self._position, 1
        while depth:
            token = self._take()
            depth += (token == "{") - (token == "}")
        return "".join(self._tokens[start : self._position - 1])

    def _root(self) -> Expression:
        index = self._group() if self._peek() == "[" else Number(Fraction(2))
        return Call("^", (self._atom(), Call("reciprocal", (index,))))

    def _matrix(self) -> Matrix:
        name = self._skip_group()
        if not name.endswith("matrix") or name.lower() == "vmatrix":
            raise ExpressionError(f"environment {name}")
        rows: list[tuple[Expression, ...]] = []
        row: list[Expression] = []
        while True:
            row.append(self._sum())
            token = self._take()
            if token == "&":
                continue
            rows.append(tuple(row))
            row = []
            if token == "\\\\" and self._peek() == "\\end":
                token = self._take()
            if token == "\\end":
                break
            if token != "\\\\":
                raise ExpressionError(f"unexpected {token} in a matrix")
        if self._skip_group() != name or len({len(row) for row in rows}) != 1:
            raise ExpressionError("malformed matrix")
        return Matrix(tuple(rows))

    def _word(self, word: str) -> Expression:
        r"""``\text{...}``: a function if it is one, or brackets follow; else a symbol, whatever its case."""
        if word in FUNCTION_NAMES or word in SYNONYMS:
            return self._function(SYNONYMS.get(word, word))
        if not word:
            raise ExpressionError("empty text")
        if self._peek() == "(":
            return Call(f"text {word.casefold()}", self._arguments())
        return Symbol(f"text {word.casefold()}")

    def _function(self, name: str) -> Expression:
        base: Expression | None = None
        exponent: Expression | None = None
        while self._peek() in ("_", "^"):
            if self._take() == "_":
                base = self._exponent()
            else:
                exponent = self._exponent()
        if base is not None and name != "log":
            raise ExpressionError(f"index of {name}")
        if exponent == Number(Fraction(-1)) and name in INVERSES:
            name, exponent = INVERSES[name], None
        arguments = self._arguments() if self._peek() in ("(", "{", "[") else (self._bare_argument(),)
        value: Expression = Call(name, arguments if base is None else (*arguments, base))
        return value if exponent is None else Call("^", (value, exponent))

    def _arguments(self) -> tuple[Expression, ...]:
        """What stands in brackets, separated by commas."""
        opening = self._take()
        bars, self._bars = self._bars, 0
        arguments = [self._sum()]
        while self._peek() == ",":
            self._take()
            arguments.append(self._sum())
        self._bars = bars
        self._expect(_CLOSING[opening])
        return tuple(arguments)

    def _bare_argument(self) -> Expression:
        r"""The argument of a function without brackets: ``\sin 2x\cos x`` is ``sin(2x) cos(x)``."""
        factors = [self._signed()]
        while self._starts_factor() and not self._starts_function():
            if self._peek() in _CLOSING and not isinstance(factors[-1], Number):
                break
            factors.append(self._next_factor())
        if self._product_before_slash and self._peek() == "/":
            self._take()
            factors.append(Call("reciprocal", (self._divisor(),)))
        return _product_of(factors)

    def _starts_function(self) -> bool:
        token = self._peek()
        return token.startswith("\\") and (SYNONYMS.get(token[1:], token[1:]) in FUNCTION_NAMES - GREEK)

    def _symbol(self, token: str) -> Expression:
        """A letter with its index, primes and, where it is a function, its arguments."""
        name, index, primes = fingerprint(token).replace(" ", ""), "", ""
        while self._peek() in ("_", "'"):
            if self._take() == "'":
                primes += "'"
            else:
                index += "_" + _index_name(self._skip_group() if self._peek() == "{" else self._take())
        full_name = name + index + primes
        if not primes and full_name in ("e", "i"):
            return Constant(full_name)
        inverse = self._tokens[self._position : self._position + 5] == ["^", "{", "-", "1", "}"]
        if name in FUNCTION_LETTERS and inverse and self._peek(5) == "(":
            self._position += 5
            return Call(f"{full_name}^{{-1}}", self._arguments())
        if self._peek() == "(" and (name in FUNCTION_LETTERS or self._has_atomic_arguments()):
            return Call(full_name, self._arguments())
        return Symbol(full_name)

    def _has_atomic_arguments(self) -> bool:
        """Whether the bracket that follows holds nothing but single symbols or numbers, as in ``x(t)`` and ``F(0,1)``."""
        position = self._position + 1
        while True:
            token = self._tokens[position] if position < len(self._tokens) else ""
            is_symbol = token.isalpha() or token[1:] in GREEK or token[:1].isdigit()
            following = self._tokens[position + 1] if position + 1 < len(self._tokens) else ""
            if not is_symbol or following not in (",", ")"):
                return False
            if following == ")":
                return True
            position += 2


def _negative(value: Expression) -> Expression:
    return Number(-value.value) if isinstance(value, Number) else Call("*", (Number(Fraction(-1)), value))


def _product_of(factors: list[Expression]) -> Expression:
    return factors[0] if len(factors) == 1 else Call("*", tuple(factors))


def _index_name(text: str) -> str:
    r"""``\text{max}``, ``\max`` and ``max`` name the same index."""
    return re.sub(r"\\text|[\\{}\s]", "", text)


def _words_of(token: str) -> str:
    return token.removeprefix("\\text").strip().removeprefix("{").removesuffix("}").strip()
