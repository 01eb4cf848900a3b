"""Rows of one benchmark, sorted by problem: what estimators, reports and comparisons all start from."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from thor_ray.config import RepairStrategy
from thor_ray.evaluation.answers import Equivalent, answer_classes
from thor_ray.evaluation.bootstrap import Floats, Resampler, percentile_interval, share_interval
from thor_ray.evaluation.figures import Estimate
from thor_ray.evaluation.samples import EvaluationSample, latest_samples
from thor_ray.trajectory import FinishReason

UNGRADED: Final = "ungraded"


@dataclass(frozen=True, slots=True)
class ProblemOutcomes:
    """The judged samples of one problem.

    Attributes:
        problem_id: Of the problem.
        samples: At least one, by index.
        classes: Class of each sample's answer (``answers.answer_classes``).
    """

    problem_id: str
    samples: tuple[EvaluationSample, ...]
    classes: tuple[int | None, ...]

    @property
    def correct(self) -> list[bool]:
        """Whether each sample is correct."""
        return [sample.correct for sample in self.samples]

    @property
    def accuracy(self) -> float:
        """Share of correct samples."""
        return sum(self.correct) / len(self.samples)


@dataclass(frozen=True, slots=True)
class BenchmarkOutcomes:
    """One benchmark under one strategy.

    Attributes:
        benchmark: Its name.
        strategy: How failed programs were repaired.
        problems: Problems with at least one judged sample, by id.
        excluded: Samples that were not judged.
        unjudged: Problems none of whose samples was.
    """

    benchmark: str
    strategy: RepairStrategy | None
    problems: tuple[ProblemOutcomes, ...]
    excluded: tuple[EvaluationSample, ...]
    unjudged: tuple[str, ...]

    @property
    def samples(self) -> list[EvaluationSample]:
        """All judged samples."""
        return [sample for problem in self.problems for sample in problem.samples]

    @property
    def samples_per_problem(self) -> int:
        """Judged samples of the problem that has most."""
        return max((len(problem.samples) for problem in self.problems), default=0)

    @property
    def exclusions(self) -> dict[str, int]:
        """Samples that were not judged, by reason."""
        return count(_exclusion(sample) for sample in self.excluded)


def sort_outcomes(samples: Iterable[EvaluationSample], equivalent: Equivalent) -> list[BenchmarkOutcomes]:
    """Sorts rows by benchmark and strategy, those without a judged sample included.

    Args:
        samples: In any order; of several with the same key the latest counts.
        equivalent: Which answers are the same, for votes.
    """
    parts: dict[tuple[str, RepairStrategy | None], dict[str, list[EvaluationSample]]] = defaultdict(dict)
    for sample in latest_samples(samples):
        parts[sample.benchmark, sample.strategy].setdefault(sample.problem_id, []).append(sample)
    return [
        BenchmarkOutcomes(
            benchmark,
            strategy,
            tuple(
                ProblemOutcomes(name, judged, tuple(answer_classes([one.answer for one in judged], equivalent)))
                for name, all_samples in problems.items()
                if (judged := tuple(sample for sample in all_samples if sample.judged))
            ),
            tuple(sample for all_samples in problems.values() for sample in all_samples if not sample.judged),
            tuple(name for name, all_samples in problems.items() if not any(one.judged for one in all_samples)),
        )
        for (benchmark, strategy), problems in parts.items()
    ]


@dataclass(frozen=True, slots=True)
class PerProblem:
    """A figure ``Σ above / Σ below`` over problems, by problem.

    Attributes:
        above: float64 ``[problems]``.
        below: float64 ``[problems]``; all 1 where the figure is a mean over problems.
    """

    above: Floats
    below: Floats

    @classmethod
    def mean(cls, values: Sequence[float] | Floats) -> "PerProblem":
        """A figure that is the mean over problems."""
        return cls(np.asarray(values, np.float64), np.ones(len(values)))

    @classmethod
    def sums(
        cls,
        problems: Sequence[ProblemOutcomes],
        above: Callable[[EvaluationSample], float],
        below: Callable[[EvaluationSample], float] = lambda sample: 1.0,
    ) -> "PerProblem":
        """A figure that is a ratio of sums over samples, by default a mean over samples."""

        def sums(of: Callable[[EvaluationSample], float]) -> npt.NDArray[np.float64]:
            return np.asarray([sum(map(of, problem.samples)) for problem in problems], np.float64)

        return cls(sums(above), sums(below))

    @property
    def value(self) -> float | None:
        """The figure; ``None`` where what is below adds up to 0."""
        below = float(self.below.sum())
        return float(self.above.sum()) / below if below > 0 else None

    def distribution(self, resampler: Resampler) -> Floats:
        """The figure in resamples of the problems."""
        return resampler.ratios(self.above, self.below)

    def estimate(self, resampler: Resampler, *, share: bool) -> Estimate | None:
        """The figure with its interval; ``None`` where it is undefined.

        Args:
            resampler: Of these problems.
            share: Whether the figure is a share, in [0, 1].
        """
        if (value := self.value) is None:
            return None
        distribution = self.distribution(resampler)
        if share:
            low, high = share_interval(value, distribution, resampler.problems)
            return Estimate(value=value, low=low, high=high)
        limits = percentile_interval(distribution, resampler.problems) or (None, None)
        return Estimate(value=value, low=limits[0], high=limits[1])


def code_ratio(problems: Sequence[ProblemOutcomes]) -> PerProblem:
    """Share of samples with at least one executed block, of those whose executions are known."""
    return PerProblem.sums(
        problems,
        lambda sample: float(sample.code is not None and sample.code.executed > 0),
        lambda sample: float(sample.code is not None),
    )


def code_pass_rate(problems: Sequence[ProblemOutcomes]) -> PerProblem:
    """Share of executed blocks that succeeded."""
    return PerProblem.sums(
        problems,
        lambda sample: sample.code.executed - sample.code.failed if sample.code else 0,
        lambda sample: sample.code.executed if sample.code else 0,
    )


def calls_per_sample(problems: Sequence[ProblemOutcomes]) -> PerProblem:
    """Executed blocks per sample whose executions are known."""
    return PerProblem.sums(
        problems,
        lambda sample: sample.code.executed if sample.code else 0,
        lambda sample: float(sample.code is not None),
    )


def generated_tokens(problems: Sequence[ProblemOutcomes]) -> PerProblem:
    """Generated tokens per sample whose tokens are known."""
    return PerProblem.sums(
        problems,
        lambda sample: sample.tokens.generated if sample.tokens else 0,
        lambda sample: float(sample.tokens is not None),
    )


def by_attribute(
    problems: Sequence[ProblemOutcomes], attribute: Callable[[EvaluationSample], str | int | None]
) -> Iterator[tuple[str, list[ProblemOutcomes]]]:
    """Problems by subject or level, in order; those without one are left out."""
    parts: dict[str | int, list[ProblemOutcomes]] = defaultdict(list)
    for problem in problems:
        if (name := attribute(problem.samples[0])) is not None:
            parts[name].append(problem)
    for name in sorted(parts, key=lambda name: (isinstance(name, str), name)):
        yield str(name), parts[name]


def count(values: Iterable[str]) -> dict[str, int]:
    """Counts by value, most frequent first, ties by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _exclusion(sample: EvaluationSample) -> str:
    if sample.finish is FinishReason.ABORTED:
        return str(FinishReason.ABORTED)
    return UNGRADED if sample.status is None else str(sample.status)
