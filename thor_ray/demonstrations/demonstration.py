"""A candidate for the cold start: a solution rewritten with programs, and how it came about."""

from dataclasses import dataclass
from enum import StrEnum

from thor_ray.refine.agreement import Agreement, agreement
from thor_ray.refine.refinement import NOTHING_USED
from thor_ray.trajectory import ExecutionStatus, Trajectory
from thor_ray.usage import Usage


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
    def agreement(self) -> Agreement:
        return agreement(self.claimed, self.observed)

    @property
    def agrees(self) -> bool:
        return self.agreement.agrees


@dataclass(frozen=True, slots=True)
class Block:
    """A program that ran."""

    code: str
    status: ExecutionStatus
    output: str


@dataclass(frozen=True, slots=True)
class RefinedStep:
    """What became of one step.

    Attributes:
        index: Of the solution's step; what remains of a step after its first program comes again under the same index.
        text: What the refiner saw.
        verdict: The refiner's, a ``thor_ray.refine.Verdict``.
        reasoning: What was kept before the programs.
        blocks: The programs in the order in which they ran.
        claim: What they were to settle; ``None`` where the step has nothing for a program.
        kind: Of the computation, a ``thor_ray.refine.OperationKind``; empty without a claim.
        conclusion: What was kept behind them.
        reason: The verdict in words, where there is more to say.
        origin: The refiner and the version of its prompt, if it is a language model.
        usage: What the refiner consumed.
    """

    index: int
    text: str
    verdict: str
    reasoning: str
    blocks: tuple[Block, ...] = ()
    claim: CheckedClaim | None = None
    kind: str = ""
    conclusion: str = ""
    reason: str = ""
    origin: str = ""
    usage: Usage = NOTHING_USED


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A graded candidate.

    Attributes:
        trajectory: Tokens, spans, executed blocks and the grade.
        source: Who wrote the reasoning.
        prose: Thoughts and answer without programs and observations.
        claims: Every claim that programs were written for, in order.
        steps: How each step was taken apart, in order.
        response: All of the text, programs and observations included, without the token that ends it.
    """

    trajectory: Trajectory
    source: Source
    prose: str
    claims: tuple[CheckedClaim, ...]
    steps: tuple[RefinedStep, ...] = ()
    response: str = ""

    @property
    def id(self) -> str:
        return self.trajectory.id

    @property
    def problem_id(self) -> str:
        return self.trajectory.problem_id

    @property
    def calls(self) -> int:
        """Its programs."""
        return self.trajectory.calls

    @property
    def usage(self) -> Usage:
        """What the refiner consumed."""
        return sum((step.usage for step in self.steps), NOTHING_USED)
