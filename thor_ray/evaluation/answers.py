"""Which answers are the same answer, for votes."""

from collections.abc import Callable, Sequence
from itertools import combinations

from thor_ray.grading import Grade, GradeStatus

Equivalent = Callable[[str, str], bool]
"""Whether two answers mean the same."""


def same_text(first: str, second: str) -> bool:
    """Equality up to white space: for answers that no grader can read, such as words."""
    return "".join(first.split()) == "".join(second.split())


def graded_equal(grade_answer: Callable[[str, str], Grade]) -> Equivalent:
    """Equality as a grader sees it.

    Args:
        grade_answer: Grades an answer against a gold answer, e.g. ``GraderPool.grade_answer``.
    """

    def equivalent(first: str, second: str) -> bool:
        return same_text(first, second) or grade_answer(second, first).status is GradeStatus.CORRECT

    return equivalent


def answer_classes(answers: Sequence[str | None], equivalent: Equivalent) -> list[int | None]:
    """Partitions answers into classes of the same answer.

    The partition does not depend on the order of the answers: each pair of different texts is asked for once, the
    lesser text first, and what is connected by equalities is one class (a grader's equality need not be transitive).

    Args:
        answers: ``None`` where a sample has no answer.
        equivalent: Whether two texts mean the same; assumed to hold for a text and itself.

    Returns:
        The class of each answer, numbered by first appearance; ``None`` where there is no answer.
    """
    texts = sorted({answer for answer in answers if answer is not None})
    parent = {text: text for text in texts}

    def root(text: str) -> str:
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    for first, second in combinations(texts, 2):
        if root(first) != root(second) and equivalent(first, second):
            parent[root(second)] = root(first)
    numbers: dict[str, int] = {}
    return [None if answer is None else numbers.setdefault(root(answer), len(numbers)) for answer in answers]
