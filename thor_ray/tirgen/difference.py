"""What two lists of rules make of the same demonstrations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from thor_ray.demonstrations import Demonstration, Rule, Sieve

EXAMPLES: Final = 3

UNEXPLAINED: Final = "drawn among what the rules before had left"


@dataclass(frozen=True, slots=True)
class OneSided:
    """Demonstrations that one list keeps and the other one rejects.

    Attributes:
        ids: Of the trajectories, in order.
        reasons: Every objection of the list that rejects, ``rule: reason``, with the number of demonstrations that meet it:
            each rule judges all of them, so that the first one does not hide the others.
        examples: Ids with the objection, a few of each.
    """

    ids: tuple[str, ...]
    reasons: Counter[str]
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two lists of rules on the same demonstrations.

    Attributes:
        total: How many demonstrations there were.
        both: How many both lists keep.
        neither: How many both reject.
        only_first: What the first keeps and the second rejects.
        only_second: The other way round.
    """

    total: int
    both: int
    neither: int
    only_first: OneSided
    only_second: OneSided

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        sides = {"only_first": self.only_first, "only_second": self.only_second}
        return {
            "total": self.total,
            "both": self.both,
            "neither": self.neither,
            **{
                name: {
                    "count": len(side.ids),
                    "rejected_by_the_other": dict(side.reasons.most_common()),
                    "examples": [{"trajectory": identity, "reason": reason} for identity, reason in side.examples],
                }
                for name, side in sides.items()
            },
        }


def filter_difference(
    demonstrations: Sequence[Demonstration], first: Sequence[Rule[Demonstration]], second: Sequence[Rule[Demonstration]]
) -> Difference:
    """Applies both lists to all of ``demonstrations``."""
    ids = [each.trajectory.id for each in demonstrations]
    by_first, by_second = (_objections(demonstrations, rules) for rules in (first, second))
    kept_by_first, kept_by_second = (_kept(demonstrations, rules) for rules in (first, second))
    return Difference(
        total=len(ids),
        both=len(kept_by_first & kept_by_second),
        neither=len(set(ids) - kept_by_first - kept_by_second),
        only_first=_one_sided([each for each in ids if each in kept_by_first - kept_by_second], by_second),
        only_second=_one_sided([each for each in ids if each in kept_by_second - kept_by_first], by_first),
    )


def _kept(demonstrations: Sequence[Demonstration], rules: Sequence[Rule[Demonstration]]) -> set[str]:
    return {each.trajectory.id for each in Sieve(rules).sift(demonstrations)}


def _objections(demonstrations: Sequence[Demonstration], rules: Sequence[Rule[Demonstration]]) -> dict[str, list[str]]:
    """Every ``rule: reason`` by trajectory id, in the order of the rules, each rule asked about all demonstrations."""
    found: dict[str, list[str]] = {each.trajectory.id: [] for each in demonstrations}
    for rule in rules:
        for each, reason in zip(demonstrations, rule.judge(demonstrations), strict=True):
            if reason is not None:
                found[each.trajectory.id].append(f"{rule.name}: {reason}")
    return found


def _one_sided(ids: Sequence[str], objections: Mapping[str, Sequence[str]]) -> OneSided:
    reasons: Counter[str] = Counter()
    examples = []
    for identity in ids:
        # A rule about sets may have judged otherwise on what the rules before it had left.
        for reason in objections[identity] or [UNEXPLAINED]:
            reasons[reason] += 1
            if reasons[reason] <= EXAMPLES:
                examples.append((identity, reason))
    return OneSided(tuple(ids), reasons, tuple(examples))
