"""Comparing two answers: shapes by structure, values by arithmetic, and algebra only for what is left.

Everything here is pure. Algebra is passed in; without it the comparison answers ``None`` ("undecided") where only
algebra could tell, which is how the fast path and the full path share one code.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from thor_ray.grading.labels import is_function
from thor_ray.grading.normalisation import fingerprint, normalise
from thor_ray.grading.reading import read, read_list
from thor_ray.grading.real_sets import as_real_set, is_set, variable_of_set
from thor_ray.grading.structure import (
    INTERVALS,
    Approximation,
    Equation,
    Leaf,
    Membership,
    Node,
    Ordered,
    Unordered,
    describe,
)
from thor_ray.grading.units import split_unit
from thor_ray.grading.values import (
    DIFFERENT,
    EQUAL,
    NO_ALGEBRA,
    UNDECIDED,
    Algebra,
    Comparison,
    UndecidedError,
    UnreadableAnswerError,
    compare_values,
    decide,
    read_bound,
    unfinished,
)

_ELLIPSIS = re.compile(r"\\[lcvd]?dots(?![a-zA-Z])|\.\.")
_DECIMAL = re.compile(r"^-?(?:\d+\.?\d*|\.\d+)$")
_LETTER = re.compile(r"^[a-zA-Z]$")


def compare(gold: str, answer: str, algebra: Algebra = NO_ALGEBRA) -> Comparison:
    """Compares an answer with the gold answer.

    Args:
        gold: The gold answer as it stands in its file.
        answer: The content of the answer's box; both have passed the gates.
        algebra: Decides what neither text nor exact arithmetic can; called as rarely as possible.
            Without it such pairs leave the comparison undecided.

    Raises:
        UnreadableAnswerError: The answer's brackets don't match, or it divides by zero.
    """
    gold_text, answer_text = normalise(gold), normalise(answer)
    if fingerprint(gold_text) == fingerprint(answer_text):
        return Comparison(True, "same text")
    if not answer_text or not is_balanced(answer_text):
        raise UnreadableAnswerError("brackets don't match" if answer_text else "nothing but typography")
    if is_only_text(answer_text) or is_only_text(gold_text):
        return Comparison(False, "an ellipsis is only equal to the same text")
    if "." in gold_text and _DECIMAL.match(gold_text) and answer_text == gold_text.replace(".", ","):
        return Comparison(True, "decimal comma")
    gold_node, answer_node = read(gold_text), read(answer_text)
    # "1,234" is a number unless the other side shows that it is a list.
    if isinstance(gold_node, Leaf) and isinstance(answer_node, Unordered) and "," in gold_text:
        gold_node = read_list(gold_text)
    return compare_nodes(gold_node, answer_node, algebra)


def compare_nodes(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    """Compares two shapes; see the rules in the functions that it dispatches to."""
    if isinstance(gold, Approximation):
        return compare_nodes(gold.exact, answer, algebra)
    if isinstance(answer, Approximation):
        return _compare_approximation(gold, answer, algebra)
    comparison = _compare_shapes(gold, answer, algebra)
    if comparison.equal is False and is_set(gold) and is_set(answer):
        return _compare_as_sets(gold, answer, algebra) or comparison
    return comparison


def _compare_shapes(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    if isinstance(gold, Equation) or isinstance(answer, Equation):
        return _compare_equations(gold, answer, algebra)
    if isinstance(gold, Membership) or isinstance(answer, Membership):
        return _compare_memberships(gold, answer, algebra)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        return compare_values(gold.text, answer.text, algebra)
    if isinstance(gold, Leaf):
        return _compare_with_ratio(gold, answer, algebra) or _unlike(gold, answer)
    if isinstance(answer, Leaf):
        return _compare_with_ratio(answer, gold, algebra) or _compare_matrix_expression(gold, answer, algebra)
    if isinstance(gold, Unordered) and isinstance(answer, Unordered):
        return _compare_unordered(gold, answer, algebra)
    if isinstance(gold, Ordered) and isinstance(answer, Ordered):
        if gold.delimiters != answer.delimiters or len(gold.items) != len(answer.items):
            return _unlike(gold, answer)
        return _compare_pairs(zip(gold.items, answer.items, strict=True), algebra)
    # A point written without its brackets keeps its order; the reverse would let a point stand for a set.
    if (
        isinstance(gold, Ordered)
        and gold.delimiters == "()"
        and isinstance(answer, Unordered)
        and answer.kind == "list"
    ):
        return _compare_tuple_with_list(gold, answer, algebra)
    if _is_labelled(gold) and isinstance(gold, Unordered) and isinstance(answer, Ordered) and answer.delimiters == "()":
        return _compare_tuple_with_list(answer, gold, algebra)
    return _unlike(gold, answer)


def _unlike(gold: Node, answer: Node) -> Comparison:
    """The verdict on two shapes that cannot be equal, with what is most plainly different about them."""
    if isinstance(gold, Ordered | Unordered) and isinstance(answer, Ordered | Unordered):
        is_same_kind = describe(gold).split(" ")[:2] == describe(answer).split(" ")[:2]
        if is_same_kind and len(gold.items) != len(answer.items):
            return Comparison(False, f"{len(gold.items)} elements expected, got {len(answer.items)}")
    return Comparison(False, f"{describe(gold)} expected, got {describe(answer)}")


def _compare_pairs(pairs: Iterable[tuple[Node, Node]], algebra: Algebra) -> Comparison:
    """All pairs must be equal; a difference that is plain to see wins over pairs that need algebra."""
    undecided = []
    for gold, answer in pairs:
        comparison = compare_nodes(gold, answer, NO_ALGEBRA)
        if comparison.equal is False:
            return comparison
        if comparison.equal is None:
            undecided.append((gold, answer))
    for gold, answer in undecided:
        comparison = compare_nodes(gold, answer, algebra)
        if not comparison.equal:
            return comparison
    return EQUAL


def _compare_unordered(gold: Unordered, answer: Unordered, algebra: Algebra) -> Comparison:
    if len(gold.items) != len(answer.items):
        return Comparison(False, f"{len(gold.items)} elements expected, got {len(answer.items)}")
    if "union" in (gold.kind, answer.kind) and gold.kind != answer.kind:
        return _unlike(gold, answer)
    if _labels_fix_the_order(gold, answer) or _is_ranking(gold):
        return _compare_pairs(zip(gold.items, answer.items, strict=True), algebra)
    return _compare_in_any_order(gold.items, answer.items, algebra)


def _compare_in_any_order(gold: tuple[Node, ...], answer: tuple[Node, ...], algebra: Algebra) -> Comparison:
    """One to one. Equality is an equivalence, so taking the first equal partner never spoils a matching."""
    candidates = list(answer)
    unmatched = [element for element in gold if not _take_equal(element, candidates, NO_ALGEBRA)]
    if not unmatched:
        return EQUAL
    for element in unmatched:
        if all(compare_nodes(element, candidate, NO_ALGEBRA).equal is False for candidate in candidates):
            return Comparison(False, "an element is missing")
    if algebra is NO_ALGEBRA:
        return UNDECIDED
    is_matched = all(_take_equal(element, candidates, algebra) for element in unmatched)
    return EQUAL if is_matched else Comparison(False, "an element is missing")


def _take_equal(element: Node, candidates: list[Node], algebra: Algebra) -> bool:
    """Removes the first candidate that is known to equal the element; whether there is one."""
    for index, candidate in enumerate(candidates):
        if compare_nodes(element, candidate, algebra).equal:
            del candidates[index]
            return True
    return False


def _is_labelled(node: Node) -> bool:
    """Whether a node is a list of results with a name each, all different: ``x = 1, y = 2``."""
    if not isinstance(node, Unordered):
        return False
    names = [item.name for item in node.items if isinstance(item, Equation) and item.name is not None]
    return len(set(names)) == len(node.items) > 1


def _labels_fix_the_order(gold: Unordered, answer: Unordered) -> bool:
    """``x=1, y=2`` against ``1, 2``: without the names only the order says which is which."""
    return _is_labelled(gold) and not any(isinstance(item, Equation) for item in answer.items)


def _is_ranking(node: Unordered) -> bool:
    """Letters that are not in alphabetical order, as in ``E, D, A, C, B``: their order is the answer."""
    letters = [item.text for item in node.items if isinstance(item, Leaf) and _LETTER.match(item.text)]
    return node.kind == "list" and len(letters) == len(node.items) > 2 and letters != sorted(letters)


def _compare_tuple_with_list(point: Ordered, listed: Unordered, algebra: Algebra) -> Comparison:
    """``(1, 2)`` against ``1, 2`` or ``x=1, y=2``; names put a list in alphabetical order."""
    items = list(listed.items)
    if len(items) != len(point.items):
        return Comparison(False, f"{len(point.items)} elements expected, got {len(items)}")
    if _is_labelled(listed):
        items.sort(key=lambda item: (item.name or "").lstrip("\\") if isinstance(item, Equation) else "")
    return _compare_pairs(zip(point.items, items, strict=True), algebra)


def _compare_with_ratio(value: Leaf, other: Node, algebra: Algebra) -> Comparison | None:
    """``1:2`` and one half are the same ratio; ``None`` if the other node is no ratio of two values."""
    match other:
        case Ordered(delimiters="ratio", items=(Leaf(text=first), Leaf(text=second))) if (
            "\\frac" in value.text or "/" in value.text
        ):
            return compare_values(value.text, f"\\frac{{{first}}}{{{second}}}", algebra)
        case _:
            return None


def _compare_matrix_expression(gold: Node, answer: Leaf, algebra: Algebra) -> Comparison:
    r"""A matrix against ``\frac{1}{3}\begin{pmatrix}...``; nothing else of several elements can be one value."""
    is_matrix = isinstance(gold, Ordered) and gold.delimiters.startswith("matrix")
    if not isinstance(gold, Ordered) or not is_matrix or "matrix}" not in answer.text:
        return Comparison(False, f"{describe(gold)} expected, got one value")
    if (operation := unfinished(gold.text, answer.text)) is not None:
        return Comparison(False, f"not worked out: {operation}")
    return decide(gold.text, answer.text, algebra)


def _compare_equations(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    """All sides of a chain must equal the gold value; a name on its left may be missing on either side."""
    if isinstance(gold, Equation) and isinstance(answer, Equation):
        if gold.name is not None and answer.name is not None and _name_the_same(gold, answer):
            return _compare_pairs(((gold.sides[-1], side) for side in answer.sides), algebra)
        if gold.text.count("=") != 1 or answer.text.count("=") != 1:
            return Comparison(False, "different chains of equations")
        if gold.name is not None and not _has_letters(gold.sides[-1]):
            return Comparison(False, f"a value of {gold.name} expected, got another equation")
        return compare_values(gold.text, answer.text, algebra)
    if isinstance(answer, Equation):
        return _compare_pairs(((gold, side) for side in answer.sides), algebra)
    if isinstance(gold, Equation) and gold.name is not None:
        return compare_nodes(gold.sides[-1], answer, algebra)
    return Comparison(False, f"an equation expected, got {describe(answer)}")


def _name_the_same(gold: Equation, answer: Equation) -> bool:
    """Equal names; ``y`` and ``f(x)`` both name a function where the right side depends on something."""
    names = {str(gold.name), str(answer.name)}
    return len(names) == 1 or ("y" in names and any(map(is_function, names)) and _has_letters(gold.sides[-1]))


def _has_letters(node: Node) -> bool:
    return (
        any(character.isalpha() for character in re.sub(r"\\[a-zA-Z]+", "", str(node.text)))
        if isinstance(node, Leaf)
        else False
    )


def _compare_memberships(gold: Node, answer: Node, algebra: Algebra) -> Comparison:
    if isinstance(gold, Membership) and isinstance(answer, Membership) and gold.variable != answer.variable:
        return Comparison(False, f"a range of {gold.variable} expected, got one of {answer.variable}")
    gold_domain = gold.domain if isinstance(gold, Membership) else gold
    answer_domain = answer.domain if isinstance(answer, Membership) else answer
    if isinstance(gold_domain, Leaf) and not isinstance(gold, Membership):
        return _unlike(gold, answer)
    return compare_nodes(gold_domain, answer_domain, algebra)


def _compare_as_sets(gold: Node, answer: Node, algebra: Algebra) -> Comparison | None:
    """Two sets of real numbers, however they are given; ``None`` if they cannot be read as such."""
    variables = {variable_of_set(gold), variable_of_set(answer)} - {None}
    domains = [node.domain if isinstance(node, Membership) else node for node in (gold, answer)]
    have_same_shape = all(isinstance(domain, Ordered) and domain.delimiters in INTERVALS for domain in domains)
    if len(variables) > 1 or have_same_shape:
        return None
    try:
        sets = [as_real_set(node, lambda text: read_bound(text, algebra)) for node in (gold, answer)]
    except UndecidedError:
        return UNDECIDED
    if not all(sets):  # unreadable, or empty, which is no reason to call two points equal
        return None
    return EQUAL if sets[0] == sets[1] else DIFFERENT


def _compare_approximation(gold: Node, answer: Approximation, algebra: Algebra) -> Comparison:
    r"""``\sqrt{2} \approx 1.41``: one side must be the gold answer, and the other must be what it rounds to."""
    try:
        if not all(_rounds_to(answer.exact, decimal, algebra) for decimal in answer.decimals):
            return Comparison(False, "an approximation that is not one")
    except UndecidedError:
        return UNDECIDED
    comparison = compare_nodes(gold, answer.exact, algebra)
    is_decimal = isinstance(gold, Leaf) and "." in gold.text and _DECIMAL.match(gold.text)
    if comparison.equal is False and is_decimal and isinstance(gold, Leaf):
        return compare_values(gold.text, answer.decimals[-1], algebra)
    return comparison


def _rounds_to(exact: Node, decimal: str, algebra: Algebra) -> bool:
    """Whether a decimal is the value of a node, rounded or cut off."""
    side = exact.sides[-1] if isinstance(exact, Equation) else exact
    digits = split_unit(decimal).body
    if not isinstance(side, Leaf) or not _DECIMAL.match(digits):
        return False
    value = read_bound(split_unit(side.text).body, algebra)
    if not isinstance(value, Fraction):
        return False
    last_place = Fraction(10) ** int(Decimal(digits).as_tuple().exponent)
    rounded = Fraction(digits)
    is_cut_off = rounded * value >= 0 and 0 <= abs(value) - abs(rounded) < last_place
    return is_cut_off or abs(value - rounded) <= last_place / 2


def is_only_text(text: str) -> bool:
    """Whether a normalised text leaves something to be guessed, so that it equals nothing but itself."""
    return bool(_ELLIPSIS.search(text))


def is_balanced(text: str) -> bool:
    """Whether every bracket closes; round and square ones may close each other, as in half-open intervals."""
    stack: list[str] = []
    for character in text:
        if character in "([{":
            stack.append("{" if character == "{" else "(")
        elif character in ")]}" and (not stack or stack.pop() != ("{" if character == "}" else "(")):
            return False
    return not stack
