"""Comparing two single values: by words, units and exact arithmetic, and by algebra if nothing else can tell."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from thor_ray.grading import gates
from thor_ray.grading.normalisation import fingerprint
from thor_ray.grading.rational import TooLargeError, evaluate
from thor_ray.grading.units import split_unit, units_agree

Algebra = Callable[[str, str], bool | None]
"""Whether two normalised expressions (gold, answer) are equal; ``None`` if that is not decided now."""


class UnreadableAnswerError(ValueError):
    """The answer has no meaning: its brackets don't match, or it divides by zero."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of a comparison; ``equal`` is ``None`` while only algebra could decide."""

    equal: bool | None
    reason: str


EQUAL = Comparison(True, "equal")
DIFFERENT = Comparison(False, "different value")
UNDECIDED = Comparison(None, "needs algebra")

_BASED = re.compile(r"^\(?([0-9A-Z]+(?:\.[0-9A-Z]+)?)\)?_(?:\{?\(?(\d+)\)?\}?|\{?\\text\{ *(?:base )?([a-z]+) *\}\}?)$")
_NUMBER_SUBSCRIPT = re.compile(r"\d\)?_(?:\w|\{[^{}]*\})")
_PRIMED = re.compile(r"\w'+")
_BASE_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEXT_WRAPPER = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"^[a-zA-Z][a-zA-Z' \-]*$")
_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)
_COMMAND = re.compile(r"\\([a-zA-Z]+)|\\.")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_RELATION = re.compile(r"<|>|=|\\(?:le|ge|ne|in|approx|sim|equiv|to)(?![a-zA-Z])")
_SUBSCRIPT = re.compile(r"_\{[^{}]*\}")
_BINDER = re.compile(r"\\(?:int|sum|prod|lim)(?![a-zA-Z])")
_CONSTANT_COMMANDS = frozenset(
    """frac sqrt cdot div binom pi infty log ln lg exp sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh circ
    lfloor rfloor lceil rceil lvert rvert vert max min gcd lcm mod pmod bmod begin end text pm mp cup cap in le ge ne
    emptyset dollar left right overline approx ldots dots cdots""".split()
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
    marks: tuple[str, ...]
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
    if gold.base or answer.base:
        return EQUAL if gold.base == answer.base else Comparison(False, "different digits or number base")
    if gold.words is not None or answer.words is not None:
        return EQUAL if gold.words == answer.words else Comparison(False, "different words")
    if (reason := _mismatch(gold, answer)) is not None:
        return Comparison(False, reason)
    if gold.number is not None and answer.number is not None:
        equal = _numbers_agree(gold.number, answer.number, gold.unit == "%", answer.unit == "%")
        return EQUAL if equal else DIFFERENT
    if "%" in (gold.unit, answer.unit) and gold.unit != answer.unit:
        return DIFFERENT
    if gold.body == answer.body:
        return EQUAL
    if "\\infty" in gold.text or "\\infty" in answer.text:
        return EQUAL if _without_plus(gold.text) == _without_plus(answer.text) else DIFFERENT
    if gold.is_too_large or answer.is_too_large:
        return Comparison(False, "too large to evaluate: compared as text")
    equal_by_algebra = algebra(gold.body, answer.body)
    return UNDECIDED if equal_by_algebra is None else EQUAL if equal_by_algebra else DIFFERENT


def _mismatch(gold: _Value, answer: _Value) -> str | None:
    """What is different about two values that rules equality out, whatever the values are."""
    if gold.marks != answer.marks:
        return "different primes or subscripts of numbers"
    if "%" not in (gold.unit, answer.unit) and not units_agree(gold.unit, answer.unit):
        return f"unit {gold.unit} expected, got {answer.unit}"
    if (gold.number is not None and answer.has_variables) or (answer.number is not None and gold.has_variables):
        return "only one side has variables"
    if _is_relation(gold.body) != _is_relation(answer.body):
        return "only one side is a relation"
    return None


def _is_relation(text: str) -> bool:
    r"""Whether the text relates two values; the index of a sum (``\sum_{k=1}``) does not count."""
    return bool(_RELATION.search(_SUBSCRIPT.sub("", text)))


def _without_plus(text: str) -> str:
    return fingerprint(text).removeprefix("+")


def _numbers_agree(gold: Fraction, answer: Fraction, is_gold_percent: bool, is_answer_percent: bool) -> bool:
    """Exact equality; a percentage may also be given as its bare figure, as the question asks for a percentage.

    ``12%`` is 0.12, and equals a gold of 12 as well. A bare gold of 1 or less is not read as a percentage, or an
    answer of ``0.5%`` would pass for one half.
    """
    if is_gold_percent == is_answer_percent:
        return gold == answer
    if gold == answer:
        return is_gold_percent or abs(gold) > 1
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
    return _Value(
        text=text,
        fingerprint=fingerprint(text),
        body=body,
        unit=measured.unit,
        number=number,
        base=_based_number(text),
        marks=tuple(sorted(_NUMBER_SUBSCRIPT.findall(text) + _PRIMED.findall(text))),
        words=_words(text),
        has_variables=_has_variables(body),
        is_undefined=is_undefined,
        is_too_large=is_too_large or gates.is_too_large_to_evaluate(body),
    )


def _based_number(text: str) -> tuple[str, str] | None:
    """Digits and base of ``52_8``; bases are part of the answer, so ``52`` and ``42`` don't equal it."""
    match = _BASED.match(text)
    if not match or not any(character.isdigit() for character in match.group(1)):
        return None
    digits, base, word = match.groups()
    if word:
        if word not in _BASE_WORDS:
            return None
        base = str(_BASE_WORDS.index(word) + 2)
    return digits.lstrip("0") or "0", base


def _words(text: str) -> str | None:
    r"""The phrase, if the answer is one: ``\text{Evelyn}`` or a bare word too long to be a product of variables."""
    plain = _TEXT_WRAPPER.sub(r"\1", text).strip()
    is_phrase = bool(_WORDS.match(plain)) and ("\\text" in text or max(map(len, plain.split())) >= 4)
    if not is_phrase:
        return None
    return re.sub(r"\s+", " ", _ARTICLE.sub("", plain)).casefold()


def _has_variables(text: str) -> bool:
    """Whether letters occur that are neither constants, names of functions, nor bound by a sum or an integral."""
    if _BINDER.search(text):
        return False
    if any(name and name not in _CONSTANT_COMMANDS for name in _COMMAND.findall(text)):
        return True
    rest = _COMMAND.sub(" ", text)
    return any(character.isalpha() and character not in "ei" for character in rest)
