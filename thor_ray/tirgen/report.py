"""What the rewriting of solutions came to: steps, verdicts, programs, agreement, funnel."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from thor_ray.demonstrations import Demonstration, Funnel, RefinedStep, RuleOutcome
from thor_ray.refine.agreement import Agreement
from thor_ray.trajectory import ExecutionStatus

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KindCount:
    """Claims of one kind of computation.

    Attributes:
        kind: An ``OperationKind``.
        emitted: Claims that programs were written for.
        ran: Those whose last program printed something and ended well.
        agreements: How the printed values compare to the stated ones, over all that were emitted.
    """

    kind: str
    emitted: int
    ran: int
    agreements: Counter[Agreement]

    @property
    def agreeing(self) -> int:
        return sum(count for each, count in self.agreements.items() if each.agrees)


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """Counts over rewritten solutions.

    Attributes:
        solutions: How many there were.
        steps: Steps of them, as ``split_steps`` cuts them, that were reached.
        codable: Steps with at least one claim that a program was written for.
        verdicts: The refiner's, over everything that it was shown: a step's remainder comes back to it.
        kinds: By kind of computation, the most frequent first.
        funnel: What the filters left.
    """

    solutions: int
    steps: int
    codable: int
    verdicts: Counter[str]
    kinds: tuple[KindCount, ...]
    funnel: Funnel

    @classmethod
    def of(cls, demonstrations: Sequence[Demonstration], funnel: Funnel) -> "RewriteReport":
        """Counts ``demonstrations``, kept or not; ``funnel`` tells what the filters made of them."""
        refined = [step for each in demonstrations for step in each.steps]
        return cls(
            solutions=len(demonstrations),
            steps=sum(len({step.index for step in each.steps}) for each in demonstrations),
            codable=sum(len({step.index for step in each.steps if step.blocks}) for each in demonstrations),
            verdicts=Counter(step.verdict for step in refined),
            kinds=tuple(_by_kind(refined)),
            funnel=funnel,
        )

    @property
    def emitted(self) -> int:
        """Claims that programs were written for."""
        return sum(each.emitted for each in self.kinds)

    @property
    def ran(self) -> int:
        """Those whose last program ran to its end and printed something."""
        return sum(each.ran for each in self.kinds)

    @property
    def agreements(self) -> Counter[Agreement]:
        """Over all claims."""
        return sum((each.agreements for each in self.kinds), Counter())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "solutions": self.solutions,
            "steps": self.steps,
            "steps_codable": self.codable,
            "verdicts": dict(sorted(self.verdicts.items())),
            "blocks": self.emitted,
            "blocks_ran": self.ran,
            "agreements": {str(each): count for each, count in sorted(self.agreements.items())},
            "by_kind": {
                each.kind: {
                    "blocks": each.emitted,
                    "ran": each.ran,
                    **{str(agreement): count for agreement, count in sorted(each.agreements.items())},
                }
                for each in self.kinds
            },
            "funnel": self.funnel.to_json(),
        }


def verdict_table(report: RewriteReport) -> list[Row]:
    """What, count, share: from solutions to kept demonstrations."""
    agreements = report.agreements
    agreeing = sum(count for each, count in agreements.items() if each.agrees)
    return [
        ("solutions", str(report.solutions), ""),
        ("steps", str(report.steps), ""),
        ("steps with something for a program", str(report.codable), share(report.codable, report.steps)),
        ("programs settled", str(report.emitted), ""),
        ("programs that ran", str(report.ran), share(report.ran, report.emitted)),
        ("printed what the text says", str(agreeing), share(agreeing, report.ran)),
        ("of these, rounded in the text", str(agreements[Agreement.ROUNDED]), ""),
        ("printed something else", str(agreements[Agreement.DIFFERENT]), share(report.ran - agreeing, report.ran)),
        ("kept by the filters", str(report.funnel.kept), share(report.funnel.kept, report.solutions)),
    ]


def claim_table(report: RewriteReport) -> list[Row]:
    """Kind, programs, ran, agree, rounded, differ."""
    return [
        (
            each.kind,
            str(each.emitted),
            str(each.ran),
            str(each.agreeing),
            str(each.agreements[Agreement.ROUNDED]),
            str(each.agreements[Agreement.DIFFERENT]),
        )
        for each in report.kinds
    ]


def funnel_table(funnel: Funnel) -> list[Row]:
    """Rule, entered, rejected, and a line for each reason: how often, and an example if there is one."""

    def line(outcome: RuleOutcome, reason: str, count: int) -> str:
        example = next((identity for identity, why in outcome.examples if why == reason), None)
        return f"{reason} {count}" + ("" if example is None else f", {example}")

    return [
        (
            outcome.name,
            str(outcome.entered),
            str(outcome.rejected),
            "\n".join(line(outcome, reason, count) for reason, count in outcome.reasons.items()),
        )
        for outcome in funnel.outcomes
    ]


def share(part: int, whole: int) -> str:
    """``87.5 %``; a dash where there is nothing to take a share of."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _by_kind(refined: Iterable[RefinedStep]) -> list[KindCount]:
    settled: dict[str, list[RefinedStep]] = {}
    for step in refined:
        if step.blocks:
            settled.setdefault(step.kind, []).append(step)
    return [
        KindCount(
            kind,
            len(steps),
            sum(step.blocks[-1].status is ExecutionStatus.OK for step in steps),
            Counter(step.claim.agreement for step in steps if step.claim is not None),
        )
        for kind, steps in sorted(settled.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
