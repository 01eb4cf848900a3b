"""Looking at gold answers before anybody is graded by them: which are readable, and which can never be met.

A gold answer that no response can equal gives reward 0 to everything, silently. Such answers are found here when a data
set is loaded; they are listed, and training does without them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from thor_ray.grading import gates
from thor_ray.grading.comparison import is_balanced, is_only_text
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.pool import GraderPool
from thor_ray.grading.reading import read
from thor_ray.grading.structure import Approximation, Difference, Equation, Leaf, Membership, Node, Ordered, Unordered
from thor_ray.grading.values import UnreadableAnswerError, fault_of_value
from thor_ray.grading.verdict import GradeStatus


class GoldStatus(StrEnum):
    """What a gold answer is good for."""

    READABLE = "readable"
    """Its value is compared, however an answer is written."""
    TEXT_ONLY = "text_only"
    """Not readable as mathematics: only the same text, up to typography, equals it."""
    UNUSABLE = "unusable"
    """No response can equal it, or it does not even equal itself."""


@dataclass(frozen=True, slots=True)
class GoldFinding:
    """What the audit says of one gold answer.

    Attributes:
        id: Of its problem.
        gold: The answer as it stands in its file.
        status: What it is good for.
        reason: Why it is not readable; empty if it is.
    """

    id: str
    gold: str
    status: GoldStatus
    reason: str


def audit_golds(golds: Iterable[tuple[str, str]], pool: GraderPool) -> Iterator[GoldFinding]:
    """Examines (id, gold answer) pairs one after the other, in their order.

    Args:
        golds: The pairs.
        pool: Grades each gold answer against itself, which is what shows that a grader can cope with it.
    """
    for identity, gold in golds:
        status, reason = examine(gold)
        if status is not GoldStatus.UNUSABLE:
            grade = pool.grade_answer(gold, gold)
            if grade.status is not GradeStatus.CORRECT:
                status, reason = GoldStatus.UNUSABLE, f"does not equal itself: {grade.reason}"
        yield GoldFinding(identity, gold, status, reason)


def examine(gold: str) -> tuple[GoldStatus, str]:
    """What a gold answer is good for, and why it is not readable; looks at its form only."""
    if refusal := gates.refusal(gold):
        return GoldStatus.UNUSABLE, refusal
    text = normalise(gold)
    if not text:
        return GoldStatus.UNUSABLE, "empty"
    if not is_balanced(gold):
        return GoldStatus.UNUSABLE, "brackets don't match"
    if is_only_text(text):
        return GoldStatus.TEXT_ONLY, "an ellipsis is only equal to the same text"
    try:
        faults = [fault for leaf in _leaves(read(text)) if (fault := fault_of_value(leaf))]
    except UnreadableAnswerError as error:
        return GoldStatus.UNUSABLE, str(error)
    return (GoldStatus.TEXT_ONLY, faults[0]) if faults else (GoldStatus.READABLE, "")


def _leaves(node: Node) -> Iterator[str]:
    """The texts that are compared as values."""
    match node:
        case Leaf(text=text):
            yield text
        case Unordered(items=items) | Ordered(items=items):
            for item in items:
                yield from _leaves(item)
        case Equation(name=None, text=text):
            yield text
        case Equation(sides=sides):
            yield from _leaves(sides[-1])
        case Membership(domain=inner) | Approximation(exact=inner):
            yield from _leaves(inner)
        case Difference(minuend=minuend, subtrahend=subtrahend):
            yield from _leaves(minuend)
            yield from _leaves(subtrahend)
