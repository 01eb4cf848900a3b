"""Comparing two answers: shapes by structure, values by arithmetic, and algebra only for what is left.

Everything here is pure. Algebra is a function that the caller passes in; without it the comparison answers
``None`` ("undecided") where only algebra could tell, which is how the fast path and the full path share one code.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from thor_ray.grading import gates
from thor_ray.grading.normalisation import fingerprint, normalise
from thor_ray.grading.rational import TooLargeError, evaluate
from thor_ray.grading.structure import Equation, Leaf, Membership, Node, Ordered, Unordered, read, read_list
from thor_ray.grading.units import split_unit, units_agree

Algebra = Callable[[str, str], bool | None]
"""Whether two normalised expressions (gold, answer) are equal; ``None`` if that is not decided now."""


class UnreadableAnswerError(ValueError):
    """The answer is not mathematics: unbalanced brackets, or the algebra's parser refuses it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of a comparison; ``equal`` is ``None`` while only algebra could decide."""

    equal: bool | None
    reason: str


_EQUAL = Comparison(True, "equal")
_DIFFERENT = Comparison(False, "different value")
_UNDECIDED = Comparison(None, "needs algebra")

_BASED = re.compile(r"^\(?([0-9A-Z]+)\)?_(?:\{?\(?(\d+)\)?\}?|\{?\\text\{ *(?:base )?([a-z]+) *\}\}?)$")
_BASE_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEXT_WRAPPER = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"^[a-zA-Z][a-zA-Z' \-]*$")
_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)
_COMMAND = re.compile(r"\\([a-zA-Z]+)|\\.")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ELLIPSIS = re.compile(r"\\[lcvd]?dots|\.\.")
_RELATION = re.compile(r"<|>|=|\\(?:le|ge|ne|in|approx|sim|equiv|to)(?![a-zA-Z])")
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
    words: str | None
    has_variables: bool
    is_too_large: bool


def _no_algebra(_gold: str, _answer: str) -> None:
    """Leaves undecided what only algebra could decide."""
    return


def compare(gold: str, answer: str, algebra: Algebra = _no_algebra) -> Comparison:
    """Compares an answer with the gold answer.

    Args:
        gold: The gold answer as it stands in its file.
        answer: The content of the answer's box; both have passed the gates.
        algebra: Decides pairs of expressions that neither text nor exact arithmetic can; called as rarely as possible.
            Without it such pairs leave the comparison undecided.

    Raises:
        UnreadableAnswerError: The answer's brackets don't match.
    """
    gold_text, answer_text = normalise(gold), normalise(answer)
    if fingerprint(gold_text) == fingerprint(answer_text):
        return Comparison(True, "same text")
    if not answer_text or not _is_balanced(answer_text):
        raise UnreadableAnswerError("brackets don't match" if answer_text else "nothing but typography")
    if _ELLIPSIS.search(answer_text) or _ELLIPSIS.search(gold_text):
        return Comparison(False, "an ellipsis is only equal to the same text")
    gold_node, answer_node = read(gold_text), read(answer_text)
    # "1,234" is a number unless the other side shows that it is a list.
    if isinstance(gold_node, Leaf) and isinstance(answer_node, Unordered) and "," in gold_text:
        gold_node = read_list(gold_text)
    return compare_nodes(gold_node, answer_node, algebra)


def compare_nodes(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    """Compares two shapes; see the rules in the functions that it dispatches to."""
    if isinstance(gold, Equation) or isinstance(answer, Equation):
        return _compare_equations(gold, answer, algebra)
    if isinstance(gold, Membership) or isinstance(answer, Membership):
        return _compare_memberships(gold, answer, algebra)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        return _compare_values(gold.text, answer.text, algebra)
    if isinstance(gold, Leaf):
        return Comparison(False, f"one value expected, got {_describe(answer)}")
    if isinstance(answer, Leaf):
        return Comparison(False, f"{_describe(gold)} expected, got one value")
    if len(gold.items) != len(answer.items):
        return Comparison(False, f"{len(gold.items)} elements expected, got {len(answer.items)}")
    if isinstance(gold, Unordered) and isinstance(answer, Unordered):
        if "union" in (gold.kind, answer.kind) and gold.kind != answer.kind:
            return Comparison(False, f"{_describe(gold)} expected, got {_describe(answer)}")
        if _labels_fix_the_order(gold, answer):
            return _compare_pairs(zip(gold.items, answer.items, strict=True), algebra)
        return _compare_in_any_order(gold.items, answer.items, algebra)
    if isinstance(gold, Ordered) and isinstance(answer, Ordered) and gold.delimiters == answer.delimiters:
        return _compare_pairs(zip(gold.items, answer.items, strict=True), algebra)
    # A point written without its brackets keeps its order; the reverse would let a point stand for a set.
    is_bare_tuple = isinstance(gold, Ordered) and gold.delimiters == "()" and isinstance(answer, Unordered)
    if is_bare_tuple and isinstance(answer, Unordered) and answer.kind == "list":
        return _compare_pairs(zip(gold.items, answer.items, strict=True), algebra)
    return Comparison(False, f"{_describe(gold)} expected, got {_describe(answer)}")


def _describe(node: Node) -> str:
    match node:
        case Leaf():
            return "one value"
        case Unordered(kind=kind):
            return f"a {kind}"
        case Ordered(delimiters=delimiters):
            return f"a {delimiters}" if delimiters.startswith("matrix") else f"a tuple or interval {delimiters}"
        case Equation():
            return "an equation"
        case Membership():
            return "a range"


def _compare_pairs(pairs: Iterable[tuple[Node, Node]], algebra: Algebra) -> Comparison:
    """All pairs must be equal; a difference that is plain to see wins over pairs that need algebra."""
    undecided = []
    for gold, answer in pairs:
        comparison = compare_nodes(gold, answer, _no_algebra)
        if comparison.equal is False:
            return comparison
        if comparison.equal is None:
            undecided.append((gold, answer))
    for gold, answer in undecided:
        comparison = compare_nodes(gold, answer, algebra)
        if not comparison.equal:
            return comparison
    return _EQUAL


def _compare_in_any_order(gold: tuple[Node, ...], answer: tuple[Node, ...], algebra: Algebra) -> Comparison:
    """One to one. Equality is an equivalence, so taking the first equal partner never spoils a matching."""
    remaining = list(answer)
    is_decided = True
    for element in gold:
        comparisons = []
        for candidate in remaining:
            comparisons.append(compare_nodes(element, candidate, algebra).equal)
            if comparisons[-1]:
                break
        if comparisons[-1]:
            del remaining[len(comparisons) - 1]
        elif None in comparisons:
            is_decided = False
        else:
            return Comparison(False, "an element is missing")
    return _EQUAL if is_decided else _UNDECIDED


def _labels_fix_the_order(gold: Unordered, answer: Unordered) -> bool:
    """``x=1, y=2`` against ``1, 2``: without the names only the order says which is which."""
    names = {item.name for item in gold.items if isinstance(item, Equation)}
    return len(names) > 1 and not any(isinstance(item, Equation) for item in answer.items)


def _compare_equations(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    """All sides of a chain must equal the gold value; a name on its left may be missing on either side."""
    if isinstance(gold, Equation) and isinstance(answer, Equation):
        if gold.name is not None and gold.name == answer.name:
            return _compare_pairs(((gold.sides[-1], side) for side in answer.sides), algebra)
        if gold.text.count("=") != 1 or answer.text.count("=") != 1:
            return Comparison(False, "different chains of equations")
        return _compare_values(gold.text, answer.text, algebra)
    if isinstance(answer, Equation):
        return _compare_pairs(((gold, side) for side in answer.sides), algebra)
    if isinstance(gold, Equation) and gold.name is not None:
        return compare_nodes(gold.sides[-1], answer, algebra)
    return Comparison(False, f"an equation expected, got {_describe(answer)}")


def _compare_memberships(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    if isinstance(gold, Membership) and isinstance(answer, Membership):
        if gold.variable != answer.variable:
            return Comparison(False, f"a range of {gold.variable} expected, got one of {answer.variable}")
        return compare_nodes(gold.domain, answer.domain, algebra)
    gold_domain = gold.domain if isinstance(gold, Membership) else gold
    answer_domain = answer.domain if isinstance(answer, Membership) else answer
    return compare_nodes(gold_domain, answer_domain, algebra)


def _compare_values(gold_text: str, answer_text: str, algebra: Algebra) -> Comparison:
    """Compares two single values, cheapest test first."""
    gold, answer = _value(gold_text), _value(answer_text)
    if gold.fingerprint == answer.fingerprint:
        return _EQUAL
    if gold.base or answer.base:
        return _EQUAL if gold.base == answer.base else Comparison(False, "different digits or number base")
    if gold.words is not None or answer.words is not None:
        return _EQUAL if gold.words == answer.words else Comparison(False, "different words")
    if not units_agree(gold.unit, answer.unit) and "%" not in (gold.unit, answer.unit):
        return Comparison(False, f"unit {gold.unit} expected, got {answer.unit}")
    if gold.number is not None and answer.number is not None:
        return (
            _EQUAL if _numbers_agree(gold.number, answer.number, gold.unit == "%", answer.unit == "%") else _DIFFERENT
        )
    if "%" in (gold.unit, answer.unit) and gold.unit != answer.unit:
        return _DIFFERENT
    if gold.body == answer.body:
        return _EQUAL
    if (gold.number is not None and answer.has_variables) or (answer.number is not None and gold.has_variables):
        return Comparison(False, "only one side has variables")
    if "\\infty" in gold.text or "\\infty" in answer.text:
        return _EQUAL if _without_plus(gold.text) == _without_plus(answer.text) else _DIFFERENT
    if bool(_RELATION.search(gold.body)) != bool(_RELATION.search(answer.body)):
        return Comparison(False, "only one side is a relation")
    if gold.is_too_large or answer.is_too_large:
        return Comparison(False, "too large to evaluate: compared as text")
    equal = algebra(gold.body, answer.body)
    return _UNDECIDED if equal is None else _EQUAL if equal else _DIFFERENT


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
    is_too_large = False
    try:
        number = evaluate(body)
    except TooLargeError:
        number, is_too_large = None, True
    return _Value(
        text=text,
        fingerprint=fingerprint(text),
        body=body,
        unit=measured.unit,
        number=number,
        base=_based_number(text),
        words=_words(text),
        has_variables=_has_variables(body),
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


def _is_balanced(text: str) -> bool:
    """Whether every bracket closes; round and square ones may close each other, as in half-open intervals."""
    stack: list[str] = []
    for character in text:
        if character in "([{":
            stack.append("{" if character == "{" else "(")
        elif character in ")]}" and (not stack or stack.pop() != ("{" if character == "}" else "(")):
            return False
    return not stack
