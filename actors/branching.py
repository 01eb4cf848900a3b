"""How many failed steps are resampled where nobody waits for a round to be complete (spec sections E.1, E.7)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Branching:
    """Which failed steps of a family are resampled, and how.

    Attributes:
        per_family: Step groups for each problem, in the long run; need not be whole.
        at_most: Step groups that may be saved up while nothing fails.
        suffix_tokens: L_suf, tokens cut from the failed thought.
        group_size: G of step groups.
    """

    per_family: float
    at_most: int
    suffix_tokens: int
    group_size: int


class BranchBudget:
    """Step groups that may still be begun.

    Every problem brings its share, whoever fails first spends it. So there are never more step groups than the recipe
    asks for, and what problems without a failure leave is not lost.
    """

    def __init__(self) -> None:
        self._saved = 0.0

    def grant(self, share: float, at_most: int) -> None:
        """Another problem is begun.

        Args:
            share: What it brings.
            at_most: To how much savings may grow; ``share`` alone, where that is more.
        """
        self._saved = min(self._saved + share, max(share, float(at_most)))

    def spend(self) -> bool:
        """Whether one more step group may be begun; it counts as begun then."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
