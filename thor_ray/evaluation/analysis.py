"""One evaluation: from rows to figures. Pure and repeatable: the same rows, in any order, give the same report."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from thor_ray.evaluation.answers import Equivalent, same_text
from thor_ray.evaluation.bootstrap import RESAMPLES, Floats, Resampler, share_interval
from thor_ray.evaluation.estimators import majority_at_k, pass_at_k, sizes_up_to
from thor_ray.evaluation.figures import (
    About,
    AtK,
    AverageFigures,
    BenchmarkFigures,
    ChiSquared,
    CodeFigures,
    Estimate,
    EvaluationReport,
    JudgeFigures,
    SelectionFigures,
    SliceFigures,
    SpeedFigures,
    TokenFigures,
    ToolSuccess,
)
from thor_ray.evaluation.outcomes import (
    BenchmarkOutcomes,
    PerProblem,
    ProblemOutcomes,
    by_attribute,
    calls_per_sample,
    code_pass_rate,
    code_ratio,
    count,
    generated_tokens,
    sort_outcomes,
)
from thor_ray.evaluation.samples import EvaluationSample, TokenUse, strategy_name
from thor_ray.evaluation.selection import Candidate, Method, NoCode, choose
from thor_ray.evaluation.significance import ContingencyTable, chi_squared, stratified_chi_squared
from thor_ray.grading import GradeStatus
from thor_ray.trajectory import FinishReason

TOLERANCE_PATH = "tolerance"
"""Path of verdicts that only a tolerant grading policy lets pass (`grading.policy`)."""


def evaluation_report(
    samples: Iterable[EvaluationSample],
    about: About,
    *,
    equivalent: Equivalent = same_text,
    no_code: NoCode = NoCode.AFTER_PERFECT,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> EvaluationReport:
    """All figures of one evaluation.

    Args:
        samples: In any order; of several with the same key the latest counts.
        about: What was evaluated, and how.
        equivalent: Which answers are the same, for votes.
        no_code: Where candidates without executed code rank in self-rewarded selection.
        seed: Of the intervals.
        resamples: Of the intervals.

    Raises:
        ValueError: not one sample could be judged.
    """
    parts = [part for part in sort_outcomes(samples, equivalent) if part.problems]
    if not parts:
        raise ValueError("not one sample could be judged: nothing to report")
    resamplers = [Resampler(len(part.problems), seed, part.benchmark, resamples) for part in parts]
    return EvaluationReport(
        about=about,
        bootstrap_seed=seed,
        bootstrap_resamples=resamples,
        benchmarks=[
            benchmark_figures(part, resampler, no_code) for part, resampler in zip(parts, resamplers, strict=True)
        ],
        averages=_averages(parts, resamplers),
    )


def benchmark_figures(part: BenchmarkOutcomes, resampler: Resampler, no_code: NoCode) -> BenchmarkFigures:
    """The figures of one benchmark, which has at least one judged sample."""
    problems, samples = part.problems, part.samples
    ended = [sample.finish for sample in samples if sample.finish is not None]
    sizes = sizes_up_to(part.samples_per_problem)
    return BenchmarkFigures(
        benchmark=part.benchmark,
        strategy=strategy_name(part.strategy),
        problems=len(problems),
        samples=len(samples),
        samples_per_problem=part.samples_per_problem,
        excluded=part.exclusions,
        unjudged_problems=len(part.unjudged),
        accuracy=_share([problem.accuracy for problem in problems], resampler),
        pass_at=[
            _at_k(problems, k, resampler, lambda problem, k: pass_at_k(len(problem.samples), sum(problem.correct), k))
            for k in sizes
        ],
        majority_at=[
            _at_k(problems, k, resampler, lambda problem, k: majority_at_k(problem.classes, problem.correct, k))
            for k in sizes
        ],
        judge=judge_figures(problems, resampler),
        selection=selection_figures(problems, resampler, no_code),
        outcomes=count(str(sample.status) for sample in samples),
        finish=count(str(sample.finish) for sample in (*samples, *part.excluded) if sample.finish is not None),
        no_box_share=sum(sample.status is GradeStatus.NO_BOX for sample in samples) / len(samples),
        truncated_share=ended.count(FinishReason.LENGTH) / len(ended) if ended else None,
        within_tolerance=sum(sample.correct and sample.grade_path == TOLERANCE_PATH for sample in samples),
        code=code_figures(problems, resampler),
        tool_success=tool_success(problems),
        tokens=token_figures(problems, resampler),
        speed=speed_figures([*samples, *part.excluded]),
        subjects=_slices(problems, lambda sample: sample.subject, resampler, part.benchmark),
        levels=_slices(problems, lambda sample: sample.level, resampler, part.benchmark),
    )


def selection_figures(
    problems: Sequence[ProblemOutcomes], resampler: Resampler, no_code: NoCode
) -> list[SelectionFigures]:
    """Accuracy and cost of each method of choosing one sample of a problem, as far as its inputs are known."""
    most = max(len(problem.samples) for problem in problems)
    if most == 1:
        return []
    samples = [sample for problem in problems for sample in problem.samples]
    code_known = all(sample.code is not None for sample in samples) and any(
        sample.code.executed for sample in samples if sample.code
    )
    scorers = {sample.scored_by for sample in samples}
    scores_known = len(scorers) == 1 and all(sample.external_score is not None for sample in samples)
    accuracy = {
        method: np.asarray([_chosen(problem, method, no_code).correct for problem in problems], np.float64)
        for method in Method
        if (code_known or not method.needs_code) and (scores_known or not method.needs_score)
    }
    average = np.asarray([problem.accuracy for problem in problems])
    tokens = _per_problem(problems, [None if one.tokens is None else one.tokens.generated for one in samples])
    calls = _per_problem(problems, [None if one.code is None else one.code.sandbox_calls for one in samples])
    return [
        SelectionFigures(
            method=str(method),
            reward_model=next(iter(scorers)) if method.needs_score else None,
            candidates=most,
            accuracy=_share(correct, resampler),
            gain=_difference(correct - average, resampler),
            over_majority=_difference(correct - accuracy[Method.SELF_CONSISTENCY], resampler),
            tokens=tokens,
            sandbox_calls=calls,
        )
        for method, correct in accuracy.items()
    ]


def judge_figures(problems: Sequence[ProblemOutcomes], resampler: Resampler) -> JudgeFigures | None:
    """The second opinion on these samples; ``None`` where none was asked for."""
    verdicts = [one.judge for problem in problems for one in problem.samples if one.judge is not None]
    if not verdicts:
        return None
    statuses = [verdict.status for verdict in verdicts]
    accepted, refused = statuses.count(GradeStatus.CORRECT), statuses.count(GradeStatus.WRONG)
    shares = [np.mean([one.correct_or_accepted for one in problem.samples]) for problem in problems]
    return JudgeFigures(
        judges=sorted({verdict.judge for verdict in verdicts}),
        accuracy=_share([float(share) for share in shares], resampler),
        asked=len(verdicts),
        accepted=accepted,
        refused=refused,
        failed=len(verdicts) - accepted - refused,
    )


def code_figures(problems: Sequence[ProblemOutcomes], resampler: Resampler) -> CodeFigures | None:
    """Executions of the samples that know them; ``None`` if none does."""
    used = [sample.code for problem in problems for sample in problem.samples if sample.code is not None]
    ratio = code_ratio(problems).estimate(resampler, share=True)
    if ratio is None:
        return None
    return CodeFigures(
        samples=len(used),
        code_ratio=ratio,
        pass_rate=code_pass_rate(problems).estimate(resampler, share=True),
        calls=sum(code.executed for code in used),
        failed_calls=sum(code.failed for code in used),
        calls_per_sample=calls_per_sample(problems).value or 0.0,
        infra_errors=sum(code.lost for code in used),
        discarded_attempts=sum(code.discarded for code in used),
        sandbox_calls=sum(code.sandbox_calls for code in used),
    )


def token_figures(problems: Sequence[ProblemOutcomes], resampler: Resampler) -> TokenFigures | None:
    """Tokens of the samples that know them; ``None`` if none does."""
    used = [sample.tokens for problem in problems for sample in problem.samples if sample.tokens is not None]
    generated = generated_tokens(problems).estimate(resampler, share=False)
    if generated is None:
        return None
    return TokenFigures(
        samples=len(used),
        generated=generated,
        kept=sum(tokens.kept for tokens in used) / len(used),
        discarded=sum(tokens.discarded for tokens in used) / len(used),
        total_generated=sum(tokens.generated for tokens in used),
        prompt=_mean(tokens.prompt for tokens in used),
        cached_share=_cached_share(used),
    )


def speed_figures(samples: Sequence[EvaluationSample]) -> SpeedFigures | None:
    """Seconds of the samples that know them; ``None`` if none does."""
    timed = [(sample.attempt, sample.timing) for sample in samples if sample.timing is not None]
    if not timed:
        return None
    # Between two starts of an evaluation nobody worked, so each start has its own first begin and last end.
    spans: dict[int, tuple[float, float]] = {}
    clocked = 0
    for attempt, timing in timed:
        if timing.started_at is not None and timing.ended_at is not None:
            first, last = spans.get(attempt, (timing.started_at, timing.ended_at))
            spans[attempt] = min(first, timing.started_at), max(last, timing.ended_at)
            clocked += 1
    wall = sum(last - first for first, last in spans.values())
    return SpeedFigures(
        samples=len(timed),
        wall_seconds=wall if wall > 0 else None,
        samples_per_second=clocked / wall if wall > 0 else None,
        llm_seconds=_mean(timing.llm for _, timing in timed),
        tool_seconds=_mean(timing.tool for _, timing in timed),
        queue_seconds=_mean(timing.queue for _, timing in timed),
        grade_seconds=_mean(timing.grade for _, timing in timed),
    )


def tool_success(problems: Sequence[ProblemOutcomes]) -> ToolSuccess | None:
    """Correctness by success of the code (spec G.7); ``None`` where no sample knows its executions."""
    if not any(sample.code is not None for problem in problems for sample in problem.samples):
        return None
    tables = [_contingency(problem) for problem in problems]
    table = ContingencyTable(
        right_passed=sum(one.right_passed for one in tables),
        right_failed=sum(one.right_failed for one in tables),
        wrong_passed=sum(one.wrong_passed for one in tables),
        wrong_failed=sum(one.wrong_failed for one in tables),
    )
    return ToolSuccess(
        right_passed=table.right_passed,
        right_failed=table.right_failed,
        wrong_passed=table.wrong_passed,
        wrong_failed=table.wrong_failed,
        without_code=sum(len(problem.samples) for problem in problems) - table.total,
        accuracy_passed=table.right_passed / table.passed if table.passed else None,
        accuracy_failed=table.right_failed / table.failed if table.failed else None,
        overall=_test(chi_squared(table)),
        within_problems=_test(stratified_chi_squared(tables)),
    )


def _averages(parts: Sequence[BenchmarkOutcomes], resamplers: Sequence[Resampler]) -> list[AverageFigures]:
    averages = []
    for strategy in dict.fromkeys(part.strategy for part in parts):
        chosen = [(part, one) for part, one in zip(parts, resamplers, strict=True) if part.strategy == strategy]
        if len(chosen) < 2:
            continue
        figures = [PerProblem.mean([problem.accuracy for problem in part.problems]) for part, _ in chosen]
        value = float(np.mean([figure.value for figure in figures]))
        drawn = np.mean([one.distribution(resampler) for one, (_, resampler) in zip(figures, chosen, strict=True)], 0)
        # As wide as the smallest benchmark calls for.
        low, high = share_interval(value, drawn, min(len(part.problems) for part, _ in chosen))
        averages.append(
            AverageFigures(
                strategy=strategy_name(strategy),
                benchmarks=[part.benchmark for part, _ in chosen],
                accuracy=Estimate(value=value, low=low, high=high),
            )
        )
    return averages


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are known; ``None`` without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(values: Sequence[float] | Floats, resampler: Resampler) -> Estimate:
    """Mean over problems of shares."""
    estimate = PerProblem.mean(values).estimate(resampler, share=True)
    assert estimate is not None, "there is a problem"
    return estimate


def _difference(values: Floats, resampler: Resampler) -> Estimate:
    """Mean over problems of differences."""
    estimate = PerProblem.mean(values).estimate(resampler, share=False)
    assert estimate is not None, "there is a problem"
    return estimate


def _per_problem(problems: Sequence[ProblemOutcomes], amounts: Sequence[int | None]) -> float | None:
    """What all samples of a problem cost together, on average; ``None`` unless all are known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) / len(problems) if len(known) == len(amounts) else None


def _cached_share(used: Sequence[TokenUse]) -> float | None:
    """Share of reused prompt tokens of the samples that know both; ``None`` if none does."""
    known = [(one.prompt, one.cached) for one in used if one.prompt and one.cached is not None]
    return sum(cached for _, cached in known) / sum(prompt for prompt, _ in known) if known else None


def _at_k(
    problems: Sequence[ProblemOutcomes], k: int, resampler: Resampler, of: Callable[[ProblemOutcomes, int], float]
) -> AtK:
    """A figure of k samples, over the problems that have as many."""
    enough = np.asarray([len(problem.samples) >= k for problem in problems], np.float64)
    values = [of(problem, k) if len(problem.samples) >= k else 0.0 for problem in problems]
    share = PerProblem(np.asarray(values, np.float64), enough).estimate(resampler, share=True)
    assert share is not None, "the problem with most samples has enough"
    return AtK(k=k, problems=int(enough.sum()), share=share)


def _chosen(problem: ProblemOutcomes, method: Method, no_code: NoCode) -> EvaluationSample:
    candidates = [
        Candidate(
            index=position,
            answer_class=answer_class,
            executed=None if sample.code is None else sample.code.executed,
            failed=None if sample.code is None else sample.code.failed,
            external_score=sample.external_score,
        )
        for position, (sample, answer_class) in enumerate(zip(problem.samples, problem.classes, strict=True))
    ]
    return problem.samples[choose(candidates, method, no_code).index]


def _contingency(problem: ProblemOutcomes) -> ContingencyTable:
    pairs = [(sample.correct, sample.code.all_passed) for sample in problem.samples if sample.code is not None]
    return ContingencyTable(
        right_passed=pairs.count((True, True)),
        right_failed=pairs.count((True, False)),
        wrong_passed=pairs.count((False, True)),
        wrong_failed=pairs.count((False, False)),
    )


def _test(result: tuple[float, float] | None) -> ChiSquared | None:
    return None if result is None else ChiSquared(statistic=result[0], p_value=result[1])


def _slices(
    problems: Sequence[ProblemOutcomes],
    attribute: Callable[[EvaluationSample], str | int | None],
    whole: Resampler,
    benchmark: str,
) -> list[SliceFigures]:
    slices = []
    for name, part in by_attribute(problems, attribute):
        resampler = whole.part(len(part), f"{benchmark}/{name}")
        slices.append(
            SliceFigures(
                name=name,
                problems=len(part),
                samples=sum(len(problem.samples) for problem in part),
                accuracy=_share([problem.accuracy for problem in part], resampler),
            )
        )
    return slices
