"""Tests of significance, exact where that is possible. No library: each is a few lines."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContingencyTable:
    """Two yes-or-no questions about the same samples (paper table 4: does the code pass, is the answer right).

    Attributes:
        right_passed: The answer is right and the code passes.
        right_failed: The answer is right, the code fails.
        wrong_passed: The answer is wrong, the code passes.
        wrong_failed: The answer is wrong and the code fails.
    """

    right_passed: int
    right_failed: int
    wrong_passed: int
    wrong_failed: int

    @property
    def total(self) -> int:
        return self.right_passed + self.right_failed + self.wrong_passed + self.wrong_failed

    @property
    def passed(self) -> int:
        return self.right_passed + self.wrong_passed

    @property
    def failed(self) -> int:
        return self.right_failed + self.wrong_failed

    @property
    def right(self) -> int:
        return self.right_passed + self.right_failed

    @property
    def wrong(self) -> int:
        return self.wrong_passed + self.wrong_failed


def sign_test(better: int, worse: int) -> float:
    """Exact two-sided sign test: the chance of a split at least as uneven if either side were equally likely.

    Pairs that are equal say nothing and are left out. With one yes-or-no outcome per pair this is McNemar's exact test.

    Args:
        better: Pairs in which the second is better.
        worse: Pairs in which the first is better.
    """
    if better < 0 or worse < 0:
        raise ValueError(f"counts must not be negative: {better}, {worse}")
    pairs = better + worse
    tail = sum(math.comb(pairs, count) for count in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / (1 << pairs))


def chi_squared(table: ContingencyTable) -> tuple[float, float] | None:
    """Pearson's test of independence without continuity correction, as in the paper (spec G.7).

    Samples are taken for independent, which those of one problem are not: `stratified_chi_squared` is the sober figure.

    Returns:
        The statistic, with one degree of freedom, and its p-value; ``None`` where a row or column is empty.
    """
    margins = table.passed * table.failed * table.right * table.wrong
    if not margins:
        return None
    determinant = table.right_passed * table.wrong_failed - table.right_failed * table.wrong_passed
    statistic = table.total * determinant**2 / margins
    return statistic, chi_squared_tail(statistic)


def stratified_chi_squared(tables: Iterable[ContingencyTable]) -> tuple[float, float] | None:
    """Cochran–Mantel–Haenszel test: are the two questions related *within* problems?

    Hard problems have both wrong answers and failing code, which alone makes the two related over all samples. Choosing
    among the samples of one problem by their code (spec F.5) only helps as far as they are related within it.

    Args:
        tables: One for each problem.

    Returns:
        The statistic, with one degree of freedom and no continuity correction, and its p-value; ``None`` where no
        problem has both passing and failing code and both right and wrong answers.
    """
    excess = variance = 0.0
    for table in tables:
        if table.total > 1:
            excess += table.right_passed - table.right * table.passed / table.total
            margins = table.passed * table.failed * table.right * table.wrong
            variance += margins / (table.total**2 * (table.total - 1))
    if variance == 0:
        return None
    statistic = excess**2 / variance
    return statistic, chi_squared_tail(statistic)


def chi_squared_tail(statistic: float) -> float:
    """Chance that χ² with one degree of freedom exceeds ``statistic``."""
    return math.erfc(math.sqrt(statistic / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests so that the chance of any false alarm stays at the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
