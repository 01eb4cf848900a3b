"""The second chance that a data set's policy may give to a number that is nearly right."""

from fractions import Fraction

from thor_ray.grading.comparison import compare
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.policy import GradingPolicy
from thor_ray.grading.reading import read
from thor_ray.grading.structure import Equation, Leaf, Node
from thor_ray.grading.units import split_unit, units_agree
from thor_ray.grading.values import NO_ALGEBRA, UNDECIDED, Algebra, Comparison, UndecidedError, read_bound

WITHIN_TOLERANCE = "within the tolerance"


def compare_under(policy: GradingPolicy, gold: str, answer: str, algebra: Algebra = NO_ALGEBRA) -> Comparison:
    """Like ``compare``, with the policy's tolerance for single numbers that are not equal.

    Raises:
        UnreadableAnswerError: As ``compare``.
    """
    comparison = compare(gold, answer, algebra)
    if policy.relative_tolerance is None or comparison.equal is not False:
        return comparison
    try:
        gold_number, answer_number = (_number(read(normalise(text)), algebra) for text in (gold, answer))
    except UndecidedError:
        return UNDECIDED
    if gold_number is None or answer_number is None or not units_agree(gold_number[1], answer_number[1]):
        return comparison
    is_near = abs(answer_number[0] - gold_number[0]) <= policy.relative_tolerance * abs(gold_number[0])
    return Comparison(True, WITHIN_TOLERANCE) if is_near else comparison


def _number(node: Node, algebra: Algebra) -> tuple[Fraction, str] | None:
    """Value and unit of a single real number, named or not."""
    leaf = node.sides[0] if isinstance(node, Equation) and node.name and len(node.sides) == 1 else node
    if not isinstance(leaf, Leaf):
        return None
    measured = split_unit(leaf.text)
    value = read_bound(leaf.text if measured.scale != 1 else measured.body, algebra)
    if not isinstance(value, Fraction):
        return None
    return (value / 100, "") if measured.unit == "%" else (value, measured.unit)
