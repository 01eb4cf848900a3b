"""What a data set allows its graders."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class GradingPolicy:
    """How strictly numbers are compared.

    Attributes:
        relative_tolerance: Greatest |answer - gold| / |gold| at which two numbers that differ still count as equal;
            ``None`` compares exactly. For data sets whose golds are measurements (Minerva Math: 1/100), never for RL.
            What only this lets pass has the path ``tolerance`` in its verdict, so that it can be reported separately.
    """

    relative_tolerance: Fraction | None = None

    def __post_init__(self) -> None:
        if self.relative_tolerance is not None and not 0 < self.relative_tolerance < 1:
            raise ValueError(f"relative_tolerance must lie between 0 and 1, got {self.relative_tolerance}")


EXACT = GradingPolicy()
