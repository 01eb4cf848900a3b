"""Confidence intervals by resampling problems (cluster bootstrap).

The problem is what is drawn: samples of one problem resemble each other, so a resample draws problems with replacement
and takes each with all its samples. Drawing samples within the drawn problems as well would count their noise twice,
since the spread between problems' means holds it already.

Plain percentile intervals are too narrow for few problems (AIME has 30). They are widened here to the levels that make
them Student's t intervals for a mean (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3,
"expanded percentile"); p-values are the inversion of these intervals, so that both always agree.
"""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from thor_ray.metrics import wilson_interval

RESAMPLES: Final = 10_000
CONFIDENCE: Final = 0.95
_CHUNK: Final = 1000
_NO_SPREAD: Final = 1e-12
"""Differences below this are rounding."""

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


class Resampler:
    """Bootstrap resamples of one set of problems; the same ones for every figure, so that figures can be compared.

    Args:
        problems: How many there are.
        seed: Any integer that is not negative.
        stream: Sets of different names have independent resamples.
        resamples: How many.

    Raises:
        ValueError: there is no problem.
    """

    def __init__(self, problems: int, seed: int, stream: str, resamples: int = RESAMPLES) -> None:
        if problems < 1:
            raise ValueError("resampling needs problems")
        self.problems = problems
        self._seed = seed
        random = np.random.default_rng([seed, *stream.encode()])
        # How often each problem is drawn, int32 [resamples, problems].
        self._draws = np.empty((resamples, problems), np.int32)
        for start in range(0, resamples, _CHUNK):
            rows = min(_CHUNK, resamples - start)
            drawn = random.integers(0, problems, (rows, problems)) + problems * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * problems)
            self._draws[start : start + rows] = counts.reshape(rows, problems)

    def part(self, problems: int, stream: str) -> "Resampler":
        """Resamples of some of the problems, as many as of all."""
        return Resampler(problems, self._seed, stream, len(self._draws))

    def ratios(self, numerators: npt.ArrayLike, denominators: npt.ArrayLike | None = None) -> Floats:
        """The figure ``Σ numerators / Σ denominators`` in each resample.

        Args:
            numerators: ``[problems]``.
            denominators: ``[problems]``; without them the figure is the mean over problems.

        Returns:
            float64 ``[resamples]``, NaN where the denominators of a resample add up to 0.
        """
        above = np.asarray(numerators, np.float64)
        below = np.ones(self.problems) if denominators is None else np.asarray(denominators, np.float64)
        columns = np.stack([above, below], axis=1)
        sums = np.concatenate(
            [self._draws[start : start + _CHUNK] @ columns for start in range(0, len(self._draws), _CHUNK)]
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)


def percentile_interval(distribution: Floats, problems: int) -> Interval | None:
    """95 % confidence limits from the figure's values in the resamples.

    Args:
        distribution: ``[resamples]``; NaN where the figure was undefined.
        problems: How many were resampled; the fewer, the wider the interval.

    Returns:
        Lower and upper limit; ``None`` where the resamples all agree, which says nothing about the spread.
    """
    defined = distribution[np.isfinite(distribution)]
    if problems < 2 or not len(defined) or np.ptp(defined) <= _NO_SPREAD:
        return None
    tail = _expanded((1 - CONFIDENCE) / 2, problems)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def share_interval(share: float, distribution: Floats, problems: int) -> Interval:
    """95 % confidence limits of a share in [0, 1].

    Where all problems agree, as in an evaluation that is all wrong, resampling cannot see any spread; Wilson's score
    interval with one trial per problem stands in. The limits hold the share itself.
    """
    low, high = percentile_interval(distribution, problems) or wilson_interval(share, problems)
    return min(low, share), max(high, share)


def two_sided_p(distribution: Floats, problems: int) -> float | None:
    """Chance of a figure at least as far from 0 if it were 0: at which level its interval would just touch 0.

    Args:
        distribution: The figure, a difference, in the resamples.
        problems: How many were resampled.

    Returns:
        A number in (0, 1], not below ``2 / (resamples + 1)`` before widening; ``None`` as for ``percentile_interval``.
    """
    defined = distribution[np.isfinite(distribution)]
    if percentile_interval(distribution, problems) is None:
        return None
    beyond = min(np.sum(defined <= _NO_SPREAD), np.sum(defined >= -_NO_SPREAD))
    return min(1.0, 2 * _nominal((int(beyond) + 1) / (len(defined) + 1), problems))


def _expanded(tail: float, problems: int) -> float:
    """The quantile of the resamples that stands for a tail of this probability: the widened one."""
    freedom = problems - 1
    # Wallace's approximation of Student's t by the normal distribution: within 0.1 % from ten degrees of freedom on,
    # and too wide rather than too narrow below.
    normal = NormalDist().inv_cdf(tail) * (8 * freedom + 3) / (8 * freedom + 1)
    student = math.sqrt(freedom * math.expm1(normal**2 / freedom))
    return NormalDist().cdf(-math.sqrt(problems / freedom) * student)


def _nominal(level: float, problems: int) -> float:
    """The inverse of ``_expanded``, for levels up to one half; one half beyond."""
    if level >= 0.5:
        return 0.5
    freedom = problems - 1
    student = NormalDist().inv_cdf(level) / math.sqrt(problems / freedom)
    normal = math.sqrt(freedom * math.log1p(student**2 / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return NormalDist().cdf(-normal)
