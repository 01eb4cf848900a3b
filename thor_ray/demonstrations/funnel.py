"""Filters as an ordered list of named rules, and a report of what each of them took out (spec B.7 [N])."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from thor_ray.demonstrations.demonstration import Demonstration

EXAMPLES: Final = 3

Judgement = Callable[[Sequence[Demonstration]], list[str | None]]
"""Of each demonstration why it is rejected, ``None`` where it is kept."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One filter.

    Attributes:
        name: What it demands, as reports show it.
        judge: Decides. Rules about single demonstrations judge each on its own; rules about sets look at all.
        parameters: What its behaviour depends on, for the report.
    """

    name: str
    judge: Judgement
    parameters: Mapping[str, Any]


def each_alone(name: str, reject: Callable[[Demonstration], str | None], **parameters: Any) -> Rule:
    """A rule that judges each demonstration on its own; ``reject`` gives the reason, or ``None``."""
    return Rule(name, lambda demonstrations: [reject(each) for each in demonstrations], parameters)


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule did.

    Attributes:
        name: The rule's.
        parameters: The rule's.
        entered: Demonstrations that had passed all rules before.
        reasons: Rejections by reason.
        examples: Ids of some rejected trajectories with the reason, in alphabetical order.
    """

    name: str
    parameters: Mapping[str, Any]
    entered: int
    reasons: Mapping[str, int]
    examples: tuple[tuple[str, str], ...]

    @property
    def rejected(self) -> int:
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class Funnel:
    """What all rules of a sieve did, in order."""

    entered: int
    kept: int
    outcomes: tuple[RuleOutcome, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rules = [
            {
                "name": outcome.name,
                "parameters": dict(outcome.parameters),
                "entered": outcome.entered,
                "rejected": outcome.rejected,
                "reasons": dict(outcome.reasons),
                "examples": [{"trajectory": example, "reason": reason} for example, reason in outcome.examples],
            }
            for outcome in self.outcomes
        ]
        return {"entered": self.entered, "kept": self.kept, "rules": rules}


class Sieve:
    """Applies rules in order and counts; a demonstration meets a rule only if it passed all before."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._entered = [0] * len(self._rules)
        self._rejected: list[list[tuple[str, str]]] = [[] for _ in self._rules]
        self._total = self._kept = 0

    def sift(self, demonstrations: Sequence[Demonstration]) -> list[Demonstration]:
        """Those that pass every rule, in order; may be called again and again, the counts add up."""
        left = list(demonstrations)
        self._total += len(left)
        for index, rule in enumerate(self._rules):
            self._entered[index] += len(left)
            judged = list(zip(left, rule.judge(left), strict=True))
            self._rejected[index] += [(item.trajectory.id, reason) for item, reason in judged if reason is not None]
            left = [item for item, reason in judged if reason is None]
        self._kept += len(left)
        return left

    def rejections(self) -> dict[str, str]:
        """Of each rejected trajectory the rule and the reason, ``answer_correct: wrong``."""
        return {
            identity: f"{rule.name}: {reason}"
            for rule, rejected in zip(self._rules, self._rejected, strict=True)
            for identity, reason in rejected
        }

    def funnel(self) -> Funnel:
        """The report, independent of the order in which demonstrations came."""
        outcomes = tuple(
            RuleOutcome(
                rule.name,
                rule.parameters,
                entered,
                dict(sorted(Counter(reason for _, reason in rejected).items())),
                tuple(sorted(rejected)[:EXAMPLES]),
            )
            for rule, entered, rejected in zip(self._rules, self._entered, self._rejected, strict=True)
        )
        return Funnel(self._total, self._kept, outcomes)
