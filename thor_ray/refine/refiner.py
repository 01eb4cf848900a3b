"""The symbolic refiner: computations are found by a parser and programmed in styles; there is no language model in it."""

import re
from dataclasses import dataclass
from random import Random
from typing import Final, TypedDict

from thor_ray.refine.claims import Claim, find_claims, mention, without_annotations
from thor_ray.refine.formulas import split_formula
from thor_ray.refine.operations import Operation
from thor_ray.refine.refinement import Draft, Refinement, Verdict
from thor_ray.refine.styles import STYLES, Style

FIRST_PLAN: Final = "We use {tool}.\n"
NEXT_PLAN: Final = "That failed. We use {tool}.\n"

MAX_STEP_CHARACTERS: Final = 20_000
"""Longer steps are kept as they are: 512 tokens, a step's length, are far shorter."""


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
        """Takes the first claim of a step that a program can settle apart; see ``Refiner``."""
        if len(step) > MAX_STEP_CHARACTERS:
            return Refinement(Verdict.TOO_LONG, step)
        text = without_annotations(step)
        claims = find_claims(text)
        if not claims:
            return Refinement(Verdict.NO_CLAIM, step)
        verdict = Verdict.NO_CLAIM
        for index, claim in enumerate(claims):
            if _is_stated_before(text, claim):
                verdict = Verdict.STATED_BEFORE
                continue
            styles = self._choose_styles(claim.operation, Random(f"refine:{seed}:{step}"))
            if not styles:
                verdict = Verdict.NO_STYLE
                continue
            drafts = tuple(
                Draft((NEXT_PLAN if later else FIRST_PLAN).format(tool=style.tool), style.program(claim.operation))
                for later, style in enumerate(styles)
            )
            following = claims[index + 1] if index + 1 < len(claims) else None
            return Refinement(Verdict.CODABLE, drafts=drafts, claim=claim, **_parts(text, claim, following))
        return Refinement(verdict, step)

    def _choose_styles(self, operation: Operation, rng: Random) -> list[Style]:
        pool = [style for style in STYLES[operation.kind] if style.fits(operation)]
        right, flawed = ([style for style in pool if style.flawed is kind] for kind in (False, True))
        if not right:
            return []
        failures = 0
        if rng.random() < self.flawed_first:
            failures = 2 if rng.random() < self.flawed_again else 1
        return [*rng.sample(flawed, failures), rng.choice(right)]


_CLAUSE_BORDERS = (re.compile(r"[.;?!](?=\s)|\n"), re.compile(r"[,:](?=\s)"))
"""Where a text may be cut in two, better places first."""


_SENTENCE_BORDER = re.compile(r"[.?!;:](?=\s)|\n")
_TAIL = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\%|%)?(?:\\?[\])]|\$)?[.,;]?")
"""What may follow a value without a word: degrees, the border of a formula, a stop."""
_DEGREES = re.compile(r"\s*(?:\^\s*\\circ|\^\s*\{\s*\\circ\s*\}|°)")


class _Parts(TypedDict):
    reasoning: str
    conclusion: str
    rest: str


def _parts(text: str, claim: Claim, following: Claim | None) -> _Parts:
    """What of a step comes before the program, right after it, and is left to refine."""
    if claim.question:
        start = max((match.end() for match in _SENTENCE_BORDER.finditer(text, 0, claim.start)), default=0)
        end = _clause_end(text, claim, following)
        return _joined(text[:start], claim.question, text[start:end], text[end:])
    if claim.stated_end:
        middle, end = _past_tail(text, claim.end), _past_tail(text, claim.stated_end)
        before, after = split_formula(text[:middle], text[middle:end])
        return _joined(before, "", *split_formula(after, text[end:]))
    border = _clause_end(text, claim, following)
    reasoning, rest = split_formula(_reasoning(text[:border], claim), text[border:])
    if claim.boxed:
        return _joined(reasoning, "", f"The answer is $\\boxed{{{claim.result}}}$.", rest)
    return _joined(reasoning, "", "", rest)


def _joined(before: str, question: str, conclusion: str, rest: str) -> _Parts:
    reasoning = " ".join(part for part in (before.strip(), question) if part)
    left = rest.strip()
    # Stops and brackets alone say nothing.
    return _Parts(
        reasoning=reasoning,
        conclusion=conclusion.strip(),
        rest=left if any(character.isalnum() for character in left) else "",
    )


def _past_tail(text: str, position: int) -> int:
    match = _TAIL.match(text, position)
    return match.end() if match else position


def _is_stated_before(text: str, claim: Claim) -> bool:
    """Whether the result is read before its computation: "He needs 40 of them because 4 * 10 = 40"."""
    return mention(claim.result).search(text, 0, claim.start) is not None


def _clause_end(text: str, claim: Claim, following: Claim | None) -> int:
    """Where the clause of a claim ends: before the next claim's clause, or at the end of the step.

    It ends with the claim itself where what follows states the result once more ("= 12, so there are 12 of them"),
    which nobody may know before the program has run. A box that does not belong to the claim waits, too.
    """
    end = _last_border(text, claim.end, len(text) if following is None else following.start, following is None)
    if mention(claim.result).search(text, claim.end, end):
        return claim.end
    box = text.find("\\boxed", claim.end, end)
    return end if box < 0 else _last_border(text, claim.end, box, False)


def _last_border(text: str, start: int, stop: int, stop_is_border: bool) -> int:
    """The last place before ``stop`` where a text may be cut, a sentence's end if there is one; else ``start``."""
    if stop_is_border:
        return stop
    ends = ([match.end() for match in border.finditer(text, start, stop)] for border in _CLAUSE_BORDERS)
    return next((found[-1] for found in ends if found), start)


def _reasoning(clause: str, claim: Claim) -> str:
    """The clause without the claim's hand-made result; empty where the claim is all there is."""
    degrees = _DEGREES.match(clause, claim.result_end)
    after = clause[degrees.end() if degrees else claim.result_end :]
    if not any(character.isalnum() for character in clause[: claim.start] + after):
        return ""
    return (clause[: claim.result_start] + after).strip()
