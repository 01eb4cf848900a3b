"""Statistics over seeds: a seed is one independent repetition of everything, data and initial policy's luck included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import mpmath


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A mean over seeds.

    Attributes:
        values: By seed.
        mean: Of them.
        low: Lower 95 % limit by Student's t; ``None`` for one seed.
        high: Upper limit.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """A mean difference between two rows, paired by seed.

    Attributes:
        difference: Second minus first.
        p_value: Two-sided, by the paired t-test; ``None`` for one seed.
    """

    difference: OverSeeds
    p_value: float | None


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean and Student's interval.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("a mean needs values")
    mean = fmean(values)
    if len(values) == 1:
        return OverSeeds(tuple(values), mean, None, None)
    reach = t_quantile(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return OverSeeds(tuple(values), mean, mean - reach, mean + reach)


def change(first: Sequence[float], second: Sequence[float]) -> Change:
    """How much the second row is above the first, the seeds of both in the same order.

    Raises:
        ValueError: they have different numbers of seeds, or none.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    found = over_seeds(differences)
    if len(differences) == 1:
        return Change(found, None)
    spread = stdev(differences)
    if spread == 0:
        return Change(found, 1.0 if found.mean == 0 else 0.0)
    statistic = abs(found.mean) / (spread / math.sqrt(len(differences)))
    return Change(found, 2 * t_tail(statistic, len(differences) - 1))


def t_tail(statistic: float, degrees: int) -> float:
    """Chance that Student's t exceeds ``statistic``, which must not be negative.

    Half the regularised incomplete beta function at ``degrees / (degrees + t²)`` (Abramowitz and Stegun 26.5.27).
    """
    return float(mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + statistic**2), regularized=True)) / 2


def t_quantile(level: float, degrees: int) -> float:
    """The value that Student's t stays below with probability ``level``, at least one half."""
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > 1 - level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, degrees) > 1 - level else (low, middle)
    return high
