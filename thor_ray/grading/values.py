"""Comparing two single values: by words, units and exact arithmetic, and by algebra if nothing else can tell."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

from thor_ray.grading import gates
from thor_ray.grading.expressions import Expression, Matrix, Symbol, subtrees
from thor_ray.grading.normalisation import fingerprint
from thor_ray.grading.numerals import TooLargeError
from thor_ray.grading.parsing import parse, readings
from thor_ray.grading.rational import evaluate
from thor_ray.grading.tokens import ExpressionError
from thor_ray.grading.units import split_unit, units_agree


class Algebra(Protocol):
    """Decides what neither text nor exact arithmetic can; asked as rarely as possible.

    Both methods take normalised expressions. They raise `UndecidedError` where there is no algebra at hand, and
    `TooLargeError` where it would take too long.
    """

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether two expressions, equations or inequalities are the same; ``None`` if nothing shows it."""

    def number(self, text: str) -> Fraction | None:
        """The value of a real constant to 45 digits; ``None`` if the text is not one."""


class UndecidedError(Exception):
    """Only algebra can decide, and there is none at hand."""


class NoAlgebra:
    """Leaves undecided what only algebra could decide."""

    def equal(self, gold: str, answer: str) -> bool | None:
        """See `Algebra`."""
        raise UndecidedError

    def number(self, text: str) -> Fraction | None:
        """See `Algebra`."""
        raise UndecidedError


NO_ALGEBRA = NoAlgebra()


class UnreadableAnswerError(ValueError):
    """The answer (or, as the message then says, the gold answer) has no meaning that can be compared."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of a comparison; ``equal`` is ``None`` while only algebra could decide."""

    equal: bool | None
    reason: str


EQUAL = Comparison(True, "equal")
DIFFERENT = Comparison(False, "different value")
UNDECIDED = Comparison(None, "needs algebra")
TOO_LARGE = Comparison(False, "too large to evaluate: compared as text")

_BASE_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_BASED = re.compile(r"^(-?[0-9A-Z]+(?:\.[0-9A-Z]+)?)(?:_base|_|inbase|base)(\d{1,2}|[a-z]+)$")
_TEXT_WRAPPER = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"^[a-zA-Z][a-zA-Z' \-]*$")
_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*"
_DATE = re.compile(rf"^(?:{_MONTH} \d+|\d+ {_MONTH})(?:,? \d+)?$", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)
_CHOICE = re.compile(r"^(?:(?:option|choice|answer) ?)?\(?([a-zA-Z])\)?$", re.IGNORECASE)
_CLEAR_CHOICE = re.compile(r"^(?:\(?[A-J]\)|\([a-j]\)|\\text\{\s*\(?[A-J]\)?\s*\})$")
_COMMAND = re.compile(r"\\([a-zA-Z]+)|\\.")
_FIGURE = re.compile(r"^-?\d+(?:\.\d+)?$")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_RELATION = re.compile(r"<|>|=|\\(?:le|ge|ne|in|approx|sim|equiv|to)(?![a-zA-Z])")
_SUBSCRIPT = re.compile(r"_\{[^{}]*\}")
_UNFINISHED = re.compile(
    r"\\(int|iint|iiint|oint|sum|prod|lim|limsup|liminf|gcd|lcm|bmod|mod|pmod|det|sup|inf|max|min)(?![a-zA-Z])|\\begin\{([vV]matrix)\}"
    r"|\\text\{(gcd|lcm|det|lim|max|min)\}"
)
_INFINITIES = ("\\infty", "-\\infty")
_SYMBOLIC = (*_INFINITIES, "\\emptyset", "\\mathbb{Z}", "\\mathbb{Q}", "\\mathbb{N}", "\\mathbb{C}")
_CONSTANT_COMMANDS = frozenset(
    """frac sqrt cdot div binom pi infty log ln lg exp sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh circ
    lfloor rfloor lceil rceil max min gcd lcm mod pmod bmod begin end text pm mp cup cap in le ge ne emptyset dollar
    overline approx ldots dots cdots int sum prod lim""".split()
)


@dataclass(frozen=True, slots=True)
class _Value:
    """A leaf taken apart; see ``_value``."""

    text: str
    fingerprint: str
    body: str
    unit: str
    number: Fraction | None
    base: tuple[str, str] | None
    words: str | None
    has_variables: bool
    is_undefined: bool
    is_too_large: bool


def compare_values(gold_text: str, answer_text: str, algebra: Algebra) -> Comparison:
    """Compares two single values, cheapest test first.

    Args:
        gold_text: The gold value, normalised.
        answer_text: The answer's value, normalised.
        algebra: Asked only if nothing else can tell.

    Raises:
        UnreadableAnswerError: The answer divides by zero.
    """
    gold, answer = _value(gold_text), _value(answer_text)
    if gold.fingerprint == answer.fingerprint:
        return EQUAL
    if answer.is_undefined:
        raise UnreadableAnswerError("division by zero")
    if (comparison := _compare_names(gold, answer)) is not None:
        return comparison
    if (reason := _mismatch(gold, answer)) is not None:
        return Comparison(False, reason)
    if gold.number is not None and answer.number is not None:
        is_figure = _FIGURE.match(gold.body) is not None
        equal = _numbers_agree(gold.number, answer.number, gold.unit == "%", answer.unit == "%", is_figure)
        return EQUAL if equal else DIFFERENT
    if "%" in (gold.unit, answer.unit) and gold.unit != answer.unit:
        return DIFFERENT
    if gold.body == answer.body:
        return EQUAL
    if "\\infty" in gold.text or "\\infty" in answer.text:
        return EQUAL if _without_plus(gold.text) == _without_plus(answer.text) else DIFFERENT
    if gold.is_too_large or answer.is_too_large:
        return TOO_LARGE
    return _compare_by_algebra(gold, answer, algebra)


def unfinished(gold_text: str, answer_text: str) -> str | None:
    r"""The operation that an answer leaves to the reader though the gold answer does not, or ``None``.

    A box with ``\int_0^1 x^2 dx`` repeats the question; it is not the answer 1/3, though it equals it.
    """
    operations = {next(filter(None, match)) for match in _UNFINISHED.findall(answer_text)}
    return next(
        iter(sorted(operations - {next(filter(None, match)) for match in _UNFINISHED.findall(gold_text)})), None
    )


def fault_of_value(text: str) -> str | None:
    """Why a normalised value can only be compared as text; ``None`` if it has a meaning.

    Raises:
        UnreadableAnswerError: It divides by zero.
    """
    value = _value(text)
    if value.is_undefined:
        raise UnreadableAnswerError("division by zero")
    if value.is_too_large:
        return TOO_LARGE.reason
    if value.number is not None or value.words is not None or value.base or _without_plus(text) in _SYMBOLIC:
        return None
    try:
        readings(value.body)
    except ExpressionError as error:
        return str(error)
    return None


def read_bound(text: str, algebra: Algebra) -> Fraction | float | None:
    """The value of a real constant, exact where it is rational, with infinity as a float; ``None`` if it is none.

    Raises:
        UndecidedError: Only algebra could tell, and there is none.
    """
    if (plain := _without_plus(text)) in _INFINITIES:
        return float(plain.replace("\\infty", "inf"))
    value = _value(text)
    if value.number is not None or value.has_variables or value.is_too_large or value.is_undefined:
        return value.number
    try:
        return algebra.number(value.body)
    except TooLargeError:
        return None


def decide(gold: str, answer: str, algebra: Algebra) -> Comparison:
    """Leaves two expressions to algebra.

    Raises:
        UnreadableAnswerError: One of them is none.
    """
    for text, fault in ((gold, "the gold answer is not readable"), (answer, "not readable as mathematics")):
        try:
            readings(text)
        except ExpressionError as error:
            raise UnreadableAnswerError(fault) from error
    try:
        equal = algebra.equal(gold, answer)
    except UndecidedError:
        return UNDECIDED
    except TooLargeError:
        return TOO_LARGE
    return Comparison(False, "not shown to be equal") if equal is None else EQUAL if equal else DIFFERENT


def _compare_names(gold: _Value, answer: _Value) -> Comparison | None:
    """Choices, words and numbers in other bases than ten are compared as what they are, without arithmetic."""
    if "\\emptyset" in (gold.fingerprint, answer.fingerprint):
        return Comparison(False, "only one side is the empty set")
    if gold.base or answer.base:
        return EQUAL if gold.base == answer.base else Comparison(False, "different digits or number base")
    choices = [_CHOICE.match(_without_fonts(value.text)) for value in (gold, answer)]
    if choices[0] and choices[1]:
        letters = [choice.group(1) for choice in choices if choice]
        if _CLEAR_CHOICE.match(gold.text) or _CLEAR_CHOICE.match(answer.text):
            letters = [letter.upper() for letter in letters]
        return EQUAL if letters[0] == letters[1] else Comparison(False, "different choice or letter")
    if gold.words is not None or answer.words is not None:
        plain = [value.words or _plain_words(value.text) for value in (gold, answer)]
        return EQUAL if plain[0] == plain[1] else Comparison(False, "different words")
    return None


def _mismatch(gold: _Value, answer: _Value) -> str | None:
    """What is different about two values that rules equality out, whatever the values are."""
    if "%" not in (gold.unit, answer.unit) and not units_agree(gold.unit, answer.unit):
        return f"unit {gold.unit} expected, got {answer.unit}"
    if (gold.number is not None and answer.has_variables) or (answer.number is not None and gold.has_variables):
        return "only one side has variables"
    if _is_relation(gold.body) != _is_relation(answer.body):
        return "only one side is a relation"
    if (operation := unfinished(gold.text, answer.text)) is not None:
        return f"not worked out: {operation}"
    return None


def _compare_by_algebra(gold: _Value, answer: _Value, algebra: Algebra) -> Comparison:
    gold_body, answer_body = gold.body, answer.body
    # Degrees are decoration beside a number that means degrees, but not beside one in radians.
    if gold.unit != answer.unit and "degree" in (gold.unit, answer.unit) and "\\pi" in gold_body + answer_body:
        gold_body, answer_body = (
            f"({value.body})^\\circ " if value.unit == "degree" else value.body for value in (gold, answer)
        )
    return decide(gold_body, answer_body, algebra)


def _is_relation(text: str) -> bool:
    r"""Whether the text relates two values; the index of a sum (``\sum_{k=1}``) does not count."""
    return bool(_RELATION.search(_SUBSCRIPT.sub("", text)))


def _without_plus(text: str) -> str:
    return fingerprint(text).removeprefix("+")


def _numbers_agree(
    gold: Fraction, answer: Fraction, is_gold_percent: bool, is_answer_percent: bool, is_figure: bool
) -> bool:
    """Exact equality; a percentage may also be given as its bare figure, as the question asks for a percentage.

    ``12%`` is 0.12, and equals a gold of 12 as well. A bare gold of 1 or less is not read as a percentage, or an
    answer of ``0.5%`` would pass for one half; nor is one that is no plain figure, such as a fraction.
    """
    if is_gold_percent == is_answer_percent:
        return gold == answer
    if gold == answer:
        return is_gold_percent or gold == 0 or (is_figure and abs(gold) > 1)
    return gold / 100 == answer if is_gold_percent else gold == answer / 100


@lru_cache(maxsize=8192)
def _value(text: str) -> _Value:
    measured = split_unit(text)
    body = _THOUSANDS_COMMA.sub("", measured.body)
    number, is_too_large, is_undefined = None, False, False
    try:
        number = evaluate(body)
    except TooLargeError:
        is_too_large = True
    except ZeroDivisionError:
        is_undefined = True
    if measured.scale != 1:
        number = None if number is None else number * measured.scale
        body = f"({body})\\cdot {measured.scale}"
    return _Value(
        text=text,
        fingerprint=fingerprint(text),
        body=body,
        unit=measured.unit,
        number=number,
        base=_based_number(text),
        words=_words(text),
        has_variables=number is None and _has_variables(body),
        is_undefined=is_undefined,
        is_too_large=is_too_large or gates.is_too_large_to_evaluate(body),
    )


def _based_number(text: str) -> tuple[str, str] | None:
    r"""Digits and base of ``52_8`` or ``52 \text{ (base 8)}``; both belong to the answer, which is neither 52 nor 42."""
    match = _BASED.match(re.sub(r"\\text|[{}()]", "", fingerprint(text)).replace(" ", ""))
    if not match:
        return None
    digits, base = match.groups()
    if base in _BASE_WORDS:
        base = str(_BASE_WORDS.index(base) + 2)
    if not base.isdigit() or not any(digit.isdigit() for digit in digits):
        return None
    is_valid = all(digit in "-." or int(digit, 36) < int(base) for digit in digits)
    return (re.sub(r"^(-?)0+(?=.)", r"\1", digits), base) if is_valid else None


def _words(text: str) -> str | None:
    r"""The phrase, if the answer is one: ``\text{Evelyn}``, a date, or a bare word too long to be a product of variables."""
    plain = _without_fonts(text)
    is_phrase = bool(_WORDS.match(plain)) and ("\\text" in text or max(map(len, plain.split())) >= 4)
    return _plain_words(text) if is_phrase or _DATE.match(plain) else None


def _plain_words(text: str) -> str:
    """A phrase without fonts, case and article; the parts of a date in any order."""
    plain = re.sub(r"\s+", " ", _ARTICLE.sub("", _without_fonts(text))).casefold()
    return " ".join(sorted(plain.replace(",", "").split())) if _DATE.match(plain) else plain


def _without_fonts(text: str) -> str:
    return _TEXT_WRAPPER.sub(r"\1", text).strip(" .")


def _has_variables(text: str) -> bool:
    """Whether a value depends on variables; told from the letters where the text is no expression."""
    expression: Expression
    try:
        expression = parse(text)
    except (ExpressionError, TooLargeError):
        if any(name and name not in _CONSTANT_COMMANDS for name in _COMMAND.findall(text)):
            return True
        return any(character.isalpha() and character not in "ei" for character in _COMMAND.sub(" ", text))
    return isinstance(expression, Matrix) or any(isinstance(node, Symbol) for node in subtrees(expression))
