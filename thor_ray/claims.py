"""What a smoke run must show, as data: each claim has a value, a limit, and holds or does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

RL_GAIN: Final = 0.10
FAILING_SHARE_KEPT: Final = 0.5
CORRECTED_PASS_RATE: Final = 0.97
LOGPROB_GAP: Final = 1e-3


class Relation(StrEnum):
    """How a value has to stand to its limit."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        name: What is claimed.
        value: What was measured; ``None`` where it is undefined, and then the claim does not hold.
        relation: How ``value`` has to stand to ``threshold``.
        threshold: The limit; ``None`` where the figure that it follows from is undefined.
    """

    name: str
    value: float | None
    relation: Relation
    threshold: float | None

    @property
    def holds(self) -> bool:
        if self.value is None or self.threshold is None:
            return False
        if self.relation is Relation.AT_LEAST:
            return self.value >= self.threshold
        return self.value <= self.threshold

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "relation": str(self.relation),
            "threshold": self.threshold,
            "holds": self.holds,
        }


def learning_claims(stages: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    """What a full smoke run must show of learning.

    Args:
        stages: The report's ``stages``; a stage that is missing makes its claims fail.
    """
    none: Mapping[str, Any] = {}
    cold, trained = stages.get("cold_start", none), stages.get("rl", none)
    corrected = stages.get("rl_self_correction", none)
    before, after = cold.get("pass_at_1"), trained.get("pass_at_1")
    return [
        Claim(
            "RL lifts pass@1 over the cold start by",
            None if before is None or after is None else after - before,
            Relation.AT_LEAST,
            RL_GAIN,
        ),
        Claim(
            "share of failing code blocks after RL, against half of the cold start's",
            _failing_share(trained),
            Relation.AT_MOST,
            None if (failing := _failing_share(cold)) is None else FAILING_SHARE_KEPT * failing,
        ),
        Claim(
            "code pass rate with self-correction",
            corrected.get("code_pass_rate"),
            Relation.AT_LEAST,
            CORRECTED_PASS_RATE,
        ),
    ]


def weight_claims(weights: Mapping[str, Any]) -> list[Claim]:
    """What every run that publishes weights must show (architecture, invariant 8).

    Args:
        weights: The report's ``weights``.
    """
    published, verified = weights["published"], weights["verified"]
    return [
        Claim(
            "share of published weights that the engine was shown to serve",
            verified / published if published else None,
            Relation.AT_LEAST,
            1.0,
        ),
        Claim(
            "largest gap between engine and learner log-probs",
            weights["max_logprob_gap"],
            Relation.AT_MOST,
            LOGPROB_GAP,
        ),
    ]


def _failing_share(stage: Mapping[str, Any]) -> float | None:
    rate = stage.get("code_pass_rate")
    return None if rate is None else 1 - rate
