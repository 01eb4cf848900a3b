"""Filters as an ordered list of named rules, and a report of what each of them took out (spec B.7 [N])."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Final, Generic, Protocol, TypeVar

from thor_ray.demonstrations.demonstration import Demonstration

EXAMPLES: Final = 3


class Countable(Protocol):
    """What rules about sets need to know of a demonstration, so that they can judge more than memory would hold."""

    @property
    def id(self) -> str:
        """Of its trajectory."""

    @property
    def problem_id(self) -> str:
        """What it answers."""

    @property
    def calls(self) -> int:
        """Its programs."""


Judged_contra = TypeVar("Judged_contra", bound=Countable, contravariant=True)
Kept = TypeVar("Kept", bound=Countable)


@dataclass(frozen=True, slots=True)
class Rule(Generic[Judged_contra]):
    """One filter.

    Attributes:
        name: What it demands, as reports show it.
        judge: Says of each demonstration why it is rejected, ``None`` where it is kept. Rules about single demonstrations
            judge each on its own; rules about sets look at all.
        parameters: What its behaviour depends on, for the report.
    """

    name: str
    judge: Callable[[Sequence[Judged_contra]], list[str | None]]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a demonstration is not kept.

    Attributes:
        position: Of the rule in its list; a list may name a rule twice, with other parameters.
        rule: The rule's name.
        reason: In words.
    """

    position: int
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}"


def objection(rules: Sequence[Rule[Demonstration]], demonstration: Demonstration) -> Rejection | None:
    """The first of rules about single demonstrations that rejects this one; ``None`` if it passes all."""
    for position, rule in enumerate(rules):
        (reason,) = rule.judge([demonstration])
        if reason is not None:
            return Rejection(position, rule.name, reason)
    return None


def each_alone(name: str, reject: Callable[[Demonstration], str | None], **parameters: Any) -> Rule[Demonstration]:
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


class Sieve(Generic[Kept]):
    """Applies rules in order and counts; a demonstration meets a rule only if it passed all before."""

    def __init__(self, rules: Sequence[Rule[Kept]]) -> None:
        self._rules = tuple(rules)
        self._rejected: list[list[tuple[str, str]]] = [[] for _ in self._rules]
        self._total = 0

    def sift(self, demonstrations: Sequence[Kept]) -> list[Kept]:
        """Those that pass every rule, in order; may be called again and again, the counts add up."""
        left = list(demonstrations)
        self._total += len(left)
        for rule, rejected in zip(self._rules, self._rejected, strict=True):
            judged = list(zip(left, rule.judge(left), strict=True))
            rejected += [(item.id, reason) for item, reason in judged if reason is not None]
            left = [item for item, reason in judged if reason is None]
        return left

    def count(self, identity: str, rejection: Rejection | None) -> None:
        """Adds a judgement to the counts that was made elsewhere by the same rules (``objection``)."""
        self._total += 1
        if rejection is not None:
            self._rejected[rejection.position].append((identity, rejection.reason))

    def rejections(self) -> dict[str, str]:
        """Of each rejected trajectory the rule and the reason, ``answer_correct: wrong``."""
        return {
            identity: f"{rule.name}: {reason}"
            for rule, rejected in zip(self._rules, self._rejected, strict=True)
            for identity, reason in rejected
        }

    def funnel(self) -> Funnel:
        """The report, independent of the order in which demonstrations came."""
        outcomes, entered = [], self._total
        for rule, rejected in zip(self._rules, self._rejected, strict=True):
            reasons = dict(sorted(Counter(reason for _, reason in rejected).items()))
            examples = tuple(nsmallest(EXAMPLES, rejected))
            outcomes.append(RuleOutcome(rule.name, rule.parameters, entered, reasons, examples))
            entered -= len(rejected)
        return Funnel(self._total, entered, tuple(outcomes))
