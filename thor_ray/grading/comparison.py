"""Comparing two answers: shapes by structure, values by arithmetic, and algebra only for what is left.

Everything here is pure. Algebra is a function that the caller passes in; without it the comparison answers
``None`` ("undecided") where only algebra could tell, which is how the fast path and the full path share one code.
"""

import re
from collections.abc import Iterable

from thor_ray.grading.normalisation import fingerprint, normalise
from thor_ray.grading.structure import Equation, Leaf, Membership, Node, Ordered, Unordered, read, read_list
from thor_ray.grading.values import EQUAL, UNDECIDED, Algebra, Comparison, UnreadableAnswerError, compare_values

_ELLIPSIS = re.compile(r"\\[lcvd]?dots|\.\.")


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
        UnreadableAnswerError: The answer's brackets don't match, or it divides by zero.
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
        return compare_values(gold.text, answer.text, algebra)
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
            return f"a tuple or interval {delimiters}" if delimiters[0] in "([" else f"a {delimiters}"
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
    return EQUAL


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
    return EQUAL if is_decided else UNDECIDED


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
        return compare_values(gold.text, answer.text, algebra)
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


def _is_balanced(text: str) -> bool:
    """Whether every bracket closes; round and square ones may close each other, as in half-open intervals."""
    stack: list[str] = []
    for character in text:
        if character in "([{":
            stack.append("{" if character == "{" else "(")
        elif character in ")]}" and (not stack or stack.pop() != ("{" if character == "}" else "(")):
            return False
    return not stack
