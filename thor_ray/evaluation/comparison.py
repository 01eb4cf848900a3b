"""Two evaluations on the same problems: differences with paired intervals and tests.

Both evaluations see the same problems, so that their hardness cancels in each problem's difference; intervals and tests
are about these differences, which makes them far sharper than two intervals side by side.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thor_ray.errors import UserError
from thor_ray.evaluation.answers import same_text
from thor_ray.evaluation.bootstrap import RESAMPLES, Floats, Resampler, percentile_interval, two_sided_p
from thor_ray.evaluation.estimators import pass_at_k
from thor_ray.evaluation.figures import (
    About,
    AverageComparison,
    BenchmarkComparison,
    ComparisonReport,
    Difference,
    Estimate,
    PairedTest,
    ProblemChange,
)
from thor_ray.evaluation.outcomes import (
    BenchmarkOutcomes,
    PerProblem,
    ProblemOutcomes,
    calls_per_sample,
    code_pass_rate,
    code_ratio,
    generated_tokens,
    sort_outcomes,
)
from thor_ray.evaluation.samples import EvaluationSample, strategy_name
from thor_ray.evaluation.significance import holm, sign_test

LEVEL: Final = 0.05
"""Chance of a false alarm over all benchmarks of one comparison."""

Figure = Callable[[Sequence[ProblemOutcomes]], PerProblem]


@dataclass(frozen=True, slots=True)
class _Pair:
    """One benchmark of two evaluations, restricted to the problems that both have judged, in the same order."""

    a: BenchmarkOutcomes
    b: BenchmarkOutcomes
    common_a: tuple[ProblemOutcomes, ...]
    common_b: tuple[ProblemOutcomes, ...]
    resampler: Resampler

    def distribution(self, figure: Figure) -> Floats:
        """The difference, b − a, in resamples of the common problems."""
        return figure(self.common_b).distribution(self.resampler) - figure(self.common_a).distribution(self.resampler)

    def difference(self, figure: Figure) -> Difference | None:
        """One figure of both; ``None`` where it is undefined for either."""
        a, b = figure(self.common_a).value, figure(self.common_b).value
        if a is None or b is None:
            return None
        return _difference(a, b, self.distribution(figure), self.resampler.problems)


def comparison_report(
    samples_a: Iterable[EvaluationSample],
    samples_b: Iterable[EvaluationSample],
    about_a: About,
    about_b: About,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ComparisonReport:
    """All differences between two evaluations.

    Args:
        samples_a: Of the first, in any order; for each benchmark of one repair strategy only.
        samples_b: Of the second, likewise.
        about_a: What the first is.
        about_b: What the second is.
        seed: Of the intervals.
        resamples: Of the intervals.

    Raises:
        UserError: they share no judged problem, differ in a problem's gold answer, or hold several strategies.
    """
    parts_a, parts_b = _by_benchmark(samples_a, about_a), _by_benchmark(samples_b, about_b)
    pairs = [
        pair
        for name in sorted(parts_a.keys() & parts_b.keys())
        if (pair := _pair(parts_a[name], parts_b[name], seed, resamples)) is not None
    ]
    if not pairs:
        raise UserError(
            f"{about_a.name} and {about_b.name} have judged no problem in common: "
            f"{', '.join(sorted(parts_a)) or 'nothing'} against {', '.join(sorted(parts_b)) or 'nothing'}",
            "compare evaluations on the same problems",
        )
    tests = [_paired_test(pair) for pair in pairs]
    accuracies = [_defined(pair.difference(_accuracy)) for pair in pairs]
    p_values = [_deciding_p(test, difference) for test, difference in zip(tests, accuracies, strict=True)]
    rows = zip(pairs, tests, accuracies, p_values, holm(p_values), strict=True)
    return ComparisonReport(
        a=about_a,
        b=about_b,
        bootstrap_seed=seed,
        bootstrap_resamples=resamples,
        benchmarks=[_benchmark(*row) for row in rows],
        average=_average(pairs) if len(pairs) > 1 else None,
        benchmarks_only_a=sorted(parts_a.keys() - parts_b.keys()),
        benchmarks_only_b=sorted(parts_b.keys() - parts_a.keys()),
    )


def _by_benchmark(samples: Iterable[EvaluationSample], about: About) -> dict[str, BenchmarkOutcomes]:
    parts: dict[str, BenchmarkOutcomes] = {}
    for part in sort_outcomes(samples, same_text):
        if part.benchmark in parts:
            names = strategy_name(parts[part.benchmark].strategy), strategy_name(part.strategy)
            raise UserError(
                f"{about.name} has evaluated {part.benchmark} under several repair strategies: {', '.join(names)}",
                f"say which, e.g. {about.name}:{names[1]}",
            )
        parts[part.benchmark] = part
    return parts


def _pair(a: BenchmarkOutcomes, b: BenchmarkOutcomes, seed: int, resamples: int) -> _Pair | None:
    of_a = {problem.problem_id: problem for problem in a.problems}
    of_b = {problem.problem_id: problem for problem in b.problems}
    common = sorted(of_a.keys() & of_b.keys())
    for name in common:
        _refuse_other_gold(a.benchmark, of_a[name].samples[0], of_b[name].samples[0])
    if not common:
        return None
    resampler = Resampler(len(common), seed, a.benchmark, resamples)
    return _Pair(a, b, tuple(of_a[name] for name in common), tuple(of_b[name] for name in common), resampler)


def _refuse_other_gold(benchmark: str, a: EvaluationSample, b: EvaluationSample) -> None:
    if a.gold is not None and b.gold is not None and a.gold != b.gold:
        raise UserError(
            f"{benchmark}, problem {a.problem_id}: the gold answer is {a.gold!r} in one evaluation and {b.gold!r} in "
            "the other",
            "compare evaluations on the same version of the problems",
        )


def _benchmark(
    pair: _Pair, test: PairedTest, accuracy: Difference, p_value: float, adjusted: float
) -> BenchmarkComparison:
    k = min(len(problem.samples) for problem in (*pair.common_a, *pair.common_b))
    common_a, common_b = pair.common_a, pair.common_b
    return BenchmarkComparison(
        benchmark=pair.a.benchmark,
        strategy_a=strategy_name(pair.a.strategy),
        strategy_b=strategy_name(pair.b.strategy),
        problems=len(common_a),
        only_a=len(pair.a.problems) - len(common_a),
        only_b=len(pair.b.problems) - len(common_b),
        samples_per_problem_a=max(len(problem.samples) for problem in common_a),
        samples_per_problem_b=max(len(problem.samples) for problem in common_b),
        accuracy=accuracy,
        test=test,
        p_value=p_value,
        adjusted_p_value=adjusted,
        verdict=(
            "no evidence of a difference"
            if adjusted >= LEVEL
            else "b is better"
            if accuracy.difference.value > 0
            else "a is better"
        ),
        pass_at_k=pair.difference(_pass_at(k)) if k > 1 else None,
        k=k,
        code_ratio=pair.difference(code_ratio),
        code_pass_rate=pair.difference(code_pass_rate),
        calls=pair.difference(calls_per_sample),
        tokens=pair.difference(generated_tokens),
        changes=_changes(common_a, common_b),
    )


def _paired_test(pair: _Pair) -> PairedTest:
    differences = [b.accuracy - a.accuracy for a, b in zip(pair.common_a, pair.common_b, strict=True)]
    better, worse = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    single = all(len(problem.samples) == 1 for problem in (*pair.common_a, *pair.common_b))
    return PairedTest(
        name="exact McNemar test" if single else "exact sign test",
        why=(
            "each problem has one outcome in both evaluations"
            if single
            else "problems have several samples, which are not independent: each problem counts once, by its sign"
        ),
        b_better=better,
        a_better=worse,
        equal=len(differences) - better - worse,
        p_value=sign_test(better, worse),
    )


def _deciding_p(test: PairedTest, accuracy: Difference) -> float:
    """McNemar's test is exact for single outcomes; for shares the sign test ignores how large the differences are."""
    if test.name == "exact McNemar test" or accuracy.p_value is None:
        return test.p_value
    return accuracy.p_value


def _average(pairs: Sequence[_Pair]) -> AverageComparison:
    a = float(np.mean([_accuracy(pair.common_a).value for pair in pairs]))
    b = float(np.mean([_accuracy(pair.common_b).value for pair in pairs]))
    drawn = np.mean([pair.distribution(_accuracy) for pair in pairs], axis=0)
    # As wide as the smallest benchmark calls for.
    fewest = min(pair.resampler.problems for pair in pairs)
    return AverageComparison(benchmarks=[pair.a.benchmark for pair in pairs], accuracy=_difference(a, b, drawn, fewest))


def _difference(a: float, b: float, distribution: Floats, problems: int) -> Difference:
    low, high = percentile_interval(distribution, problems) or (None, None)
    estimate = Estimate(value=b - a, low=low, high=high)
    return Difference(a=a, b=b, difference=estimate, p_value=two_sided_p(distribution, problems))


def _accuracy(problems: Sequence[ProblemOutcomes]) -> PerProblem:
    return PerProblem.mean([problem.accuracy for problem in problems])


def _pass_at(k: int) -> Figure:
    return lambda problems: PerProblem.mean(
        [pass_at_k(len(problem.samples), sum(problem.correct), k) for problem in problems]
    )


def _changes(a: Sequence[ProblemOutcomes], b: Sequence[ProblemOutcomes]) -> list[ProblemChange]:
    changes = [
        ProblemChange(problem_id=before.problem_id, a=before.accuracy, b=after.accuracy)
        for before, after in zip(a, b, strict=True)
        if before.accuracy != after.accuracy
    ]
    return sorted(changes, key=lambda change: (-abs(change.b - change.a), change.a - change.b, change.problem_id))


def _defined(difference: Difference | None) -> Difference:
    assert difference is not None, "accuracy is defined wherever there is a problem"
    return difference
