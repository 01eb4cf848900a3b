"""The interface of refiners: which part of a step can a program do, and what is that program? (paper algorithm 1, spec B.1, B.3).

A refiner sees one isolated step, never the problem, the steps before or the answer, so that it cannot solve the
problem itself; what it returns keeps the step's reasoning and drops the results which the step worked out by hand.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from thor_ray.refine.claims import Claim
from thor_ray.trajectory import ExecutionResult
from thor_ray.usage import Usage


class Verdict(StrEnum):
    """What a refiner made of a step. All but ``CODABLE`` leave the step as it is."""

    CODABLE = "codable"

    # Judgements.
    NO_CLAIM = "no_claim"
    """Nothing in the step is a computation with a result."""
    NO_STYLE = "no_style"
    """There is one, but no program of ours would end in good time."""
    STATED_BEFORE = "stated_before"
    """The step states the result before the computation, where a program would come too late."""
    TOO_LONG = "too_long"
    NOT_SHOWN = "not_shown"
    """The step is of a kind that no refiner sees: too short a fragment, or behind the thinking part (spec B.4)."""
    NO_CODE = "no_code"
    """A language model was asked and wrote no program."""

    # Replies of a language model that are of no use.
    MALFORMED = "malformed"
    """Not in the form that was asked for."""
    ENDLESS = "endless"
    """Not finished within its tokens."""
    TOO_MANY_ROUNDS = "too_many_rounds"
    """It had to be asked again more often than is allowed."""

    # Revisions that are refused.
    NO_COMPUTATION = "no_computation"
    """A program only prints what it was given."""
    CODE_FAILED = "code_failed"
    """A program did not run, or printed nothing."""
    REASONING_CHANGED = "reasoning_changed"
    """Too much of the revision was not in the step, or too little of the step is left."""
    NEW_NUMBERS = "new_numbers"
    """Numbers that neither the step nor any program gives."""
    NEW_NAMES = "new_names"
    """Names that the step does not have."""

    # Failures of ours, or of a server's.
    SANDBOX_FAILED = "sandbox_failed"
    UNREACHABLE = "unreachable"
    """The server is not there, at every try."""
    TIMED_OUT = "timed_out"
    """No complete answer came in time, at every try."""
    RATE_LIMITED = "rate_limited"
    """The server was still too busy at the last try."""
    REFUSED = "refused"
    """The server answered with an error."""
    BAD_REPLY = "bad_reply"
    """The server answered, but not what its protocol says."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One program for a claim.

    Attributes:
        plan: The end of the thought before it, which names the tool: choosing other words there chooses another program.
        code: A standalone program that prints the claim's true result, or is meant to.
    """

    plan: str
    code: str


@dataclass(frozen=True, slots=True)
class Passage:
    """Reasoning and the program that ends it, which the refiner has run already.

    Attributes:
        reasoning: What stands before the program, word for word.
        code: A standalone program.
        result: What the sandbox said of it.
        predicted: The output that the refiner expected; empty if it said nothing.
    """

    reasoning: str
    code: str
    result: ExecutionResult
    predicted: str = ""


NOTHING_USED: Final = Usage()


@dataclass(frozen=True, slots=True)
class Refinement:
    """A step taken apart: into one claim with programs that are still to run, or into passages that have run.

    Attributes:
        verdict: Whether there is anything for a program to do, or why not.
        reasoning: The reasoning up to the first claim, without its hand-made result; the whole step if there is none.
        drafts: Programs in the order in which they are to be tried; one is only run if all before it failed.
        claim: What the programs compute, and the hand-made result that their output replaces.
        conclusion: What states the result in the step's own words, once the program has printed it; not refined again.
        rest: The remainder of the step, which holds any further claims.
        passages: Programs that have run, in order; ``conclusion`` follows the last of them.
        reason: The verdict in words, where there is more to say.
        origin: Who wrote it, with the version of its prompt; empty for the symbolic refiner.
        usage: What it cost.
    """

    verdict: Verdict
    reasoning: str
    drafts: tuple[Draft, ...] = ()
    claim: Claim | None = None
    conclusion: str = ""
    rest: str = ""
    passages: tuple[Passage, ...] = ()
    reason: str = ""
    origin: str = ""
    usage: Usage = NOTHING_USED


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a step. The paper's refiner sees none of it (spec B.5 has the option).

    Attributes:
        question: The problem.
        written: The response up to the step, programs and outputs included.
    """

    question: str = ""
    written: str = ""


class Refiner(Protocol):
    """Turns the computable part of a step into programs."""

    async def refine(self, step: str, seed: int) -> Refinement:
        """Takes one step apart; the same step and seed give the same refinement.

        Raises:
            EndpointError: it asks a server that has failed too often to go on.
        """
