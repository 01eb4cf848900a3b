"""What the policy is asked: one mathematics problem with an answer that a rule can check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and its gold answer.

    Attributes:
        id: Unique within the set it comes from; trajectories and checkpoints refer to it.
        question: The text shown to the policy, without any prompt template around it.
        answer: The gold answer as it would stand inside ``\\boxed{...}``, without ``$``.
        source: Where it comes from: ``families/gcd`` for generated ones, the file's stem for files.
        level: Difficulty, 1 is easiest; ``None`` where the source does not say.
        solution: A worked solution in plain text, without code, one reasoning step a line and the
            boxed answer on the last; ``None`` where the source has none. TIRGen may start from it;
            nothing that is graded ever sees it.
        subject: Field of mathematics or course, as the source names it; ``None`` where it does not say.
    """

    id: str
    question: str
    answer: str
    source: str
    level: int | None = None
    solution: str | None = None
    subject: str | None = None
