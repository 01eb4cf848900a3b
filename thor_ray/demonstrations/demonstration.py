"""A candidate for the cold start: a solution rewritten with programs, and how it came about."""

from dataclasses import dataclass
from enum import StrEnum

from thor_ray.trajectory import Trajectory


class Source(StrEnum):
    """Who wrote the reasoning of a demonstration."""

    GENERATOR = "generator"
    """The policy that will be trained (paper section 2.2)."""
    WORKED_SOLUTION = "worked_solution"
    """The problem's own solution, where the generator's attempts were rejected."""


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A hand-made result against what the program printed.

    Attributes:
        expression: What was computed.
        claimed: The result that the reasoning stated.
        observed: What the last program printed; ``None`` if every program failed.
    """

    expression: str
    claimed: str
    observed: str | None

    @property
    def agrees(self) -> bool:
        return self.claimed == self.observed


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A graded candidate.

    Attributes:
        trajectory: Tokens, spans, executed blocks and the grade.
        source: Who wrote the reasoning.
        prose: Thoughts and answer without programs and observations.
        claims: Every claim that programs were written for, in order.
    """

    trajectory: Trajectory
    source: Source
    prose: str
    claims: tuple[CheckedClaim, ...]

    @property
    def problem_id(self) -> str:
        return self.trajectory.problem_id
