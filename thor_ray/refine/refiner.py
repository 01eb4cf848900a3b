"""The refiner: which part of a step can a program do, and what is that program? (paper algorithm 1, spec B.1, B.3).

A refiner sees one isolated step, never the problem, the steps before or the answer, so that it cannot solve the
problem itself; what it returns keeps the step's reasoning and drops the results which the step worked out by hand.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, Protocol

from thor_ray.refine.claims import Claim, find_claims, numeral, without_annotations
from thor_ray.refine.operations import Operation
from thor_ray.refine.styles import STYLES, Style

FIRST_PLAN: Final = "We use {tool}.\n"
NEXT_PLAN: Final = "That failed. We use {tool}.\n"

MAX_STEP_CHARACTERS: Final = 20_000
"""Longer steps are kept as they are: 512 tokens, a step's length, are far shorter."""


class Verdict(StrEnum):
    """What a refiner made of a step."""

    CODABLE = "codable"
    NO_CLAIM = "no_claim"
    """Nothing in the step is a computation with a result."""
    NO_STYLE = "no_style"
    """There is one, but no program of ours would end in good time."""
    TOO_LONG = "too_long"


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
class Refinement:
    """A step taken apart.

    Attributes:
        verdict: Whether there is anything for a program to do, or why not.
        reasoning: The reasoning up to the first claim, without its hand-made result; the whole step if there is none.
        drafts: Programs in the order in which they are to be tried; one is only run if all before it failed.
        claim: What the programs compute, and the hand-made result that their output replaces.
        rest: The remainder of the step, which holds any further claims.
    """

    verdict: Verdict
    reasoning: str
    drafts: tuple[Draft, ...] = ()
    claim: Claim | None = None
    rest: str = ""


class Refiner(Protocol):
    """Turns the computable part of a step into programs."""

    async def refine(self, step: str, seed: int) -> Refinement:
        """Takes one step apart; the same step and seed give the same refinement."""


@dataclass(frozen=True, slots=True)
class SymbolicRefiner:
    """Finds computations with a parser and programs them in seeded styles; no language model.

    It can imitate base models, whose first program often fails in today's Python. The last draft is always a right one.

    Attributes:
        flawed_first: Share of first drafts in a style that fails, between 0 and 1. 0 writes right ones only.
        flawed_again: Share of second drafts, after a flawed first, that fail as well.
    """

    flawed_first: float = 0.0
    flawed_again: float = 0.0

    def __post_init__(self) -> None:
        for name, share in (("flawed_first", self.flawed_first), ("flawed_again", self.flawed_again)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}, must be a share between 0 and 1")

    async def refine(self, step: str, seed: int) -> Refinement:
        """Takes the first claim of a step apart; see ``Refiner``."""
        if len(step) > MAX_STEP_CHARACTERS:
            return Refinement(Verdict.TOO_LONG, step)
        text = without_annotations(step)
        claims = find_claims(text)
        if not claims:
            return Refinement(Verdict.NO_CLAIM, step)
        claim, border = claims[0], _clause_end(text, claims)
        styles = self._choose_styles(claim.operation, Random(f"refine:{seed}:{step}"))
        if not styles:
            return Refinement(Verdict.NO_STYLE, step)
        drafts = tuple(
            Draft((NEXT_PLAN if index else FIRST_PLAN).format(tool=style.tool), style.program(claim.operation))
            for index, style in enumerate(styles)
        )
        return Refinement(Verdict.CODABLE, _reasoning(text[:border], claim), drafts, claim, text[border:].strip())

    def _choose_styles(self, operation: Operation, rng: Random) -> list[Style]:
        pool = [style for style in STYLES[operation.kind] if style.fits(operation)]
        right, flawed = ([style for style in pool if style.flawed is kind] for kind in (False, True))
        if not right:
            return []
        failures = 0
        if rng.random() < self.flawed_first:
            failures = 2 if rng.random() < self.flawed_again else 1
        return [*rng.sample(flawed, failures), rng.choice(right)]


_CLAUSE_BORDER = re.compile(r"[,;:.](?=\s)|\n")


def _clause_end(text: str, claims: list[Claim]) -> int:
    """Where the clause of the first claim ends: before the next claim's clause, or at the end of the step.

    It ends with the claim itself where what follows states the result once more ("= 12, so there are 12 of them"),
    which nobody may know before the program has run.
    """
    claim = claims[0]
    end = len(text)
    if len(claims) > 1:
        borders = [match.end() for match in _CLAUSE_BORDER.finditer(text, claim.end, claims[1].start)]
        end = borders[-1] if borders else claim.end
    return claim.end if numeral(claim.result).search(text, claim.end, end) else end


def _reasoning(clause: str, claim: Claim) -> str:
    """The clause without the claim's hand-made result; empty where the claim is all there is."""
    if not any(character.isalnum() for character in clause[: claim.start] + clause[claim.end :]):
        return ""
    return (clause[: claim.result_start] + clause[claim.result_end :]).strip()
