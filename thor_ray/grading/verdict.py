"""What a grading says: one status out of six, never a bare boolean.

A wrong answer, an answer that nobody could read and a grader that broke are different facts. They are
kept apart here so that a rate of each can be charted and so that a broken grader cannot train a policy.
"""

from dataclasses import dataclass
from enum import StrEnum


class GradeStatus(StrEnum):
    """Outcome of one grading."""

    CORRECT = "correct"
    """The answer equals the gold answer."""
    WRONG = "wrong"
    """The answer was read and differs from the gold answer."""
    NO_BOX = "no_box"
    """The response holds no complete, non-empty ``\\boxed{...}`` outside code and tool output."""
    UNPARSABLE = "unparsable"
    """The answer (or, see the reason, the gold answer) is not readable mathematics."""
    TIMEOUT = "timeout"
    """The symbolic comparison passed its deadline and its process was killed."""
    ERROR = "error"
    """The grader itself failed; this says nothing about the answer."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one answer.

    Attributes:
        status: The outcome.
        reason: Why, in a few words that can be counted ("one value expected, got a list").
        path: How it was decided: ``extraction``, ``gate``, ``text``, ``exact``, ``symbolic``, ``tolerance``, ``judge``.
        extracted: The answer that was graded, as the policy wrote it; ``None`` if there was none.
        milliseconds: Wall time of this grading, time in the queue for a worker included; 0 for an answer that was
            graded before.
    """

    status: GradeStatus
    reason: str
    path: str
    extracted: str | None
    milliseconds: float

    @property
    def reward(self) -> float | None:
        """1.0 for correct, 0.0 for wrong, absent or unreadable, ``None`` where there is no verdict.

        ``None`` (timeout, error) must be handled by the caller, who drops the sample and counts it:
        treating it as 0 would punish answers for the grader's failures.
        """
        if self.status in (GradeStatus.TIMEOUT, GradeStatus.ERROR):
            return None
        return 1.0 if self.status is GradeStatus.CORRECT else 0.0
