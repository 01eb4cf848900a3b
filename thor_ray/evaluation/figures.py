"""What a report holds, as a documented schema: ``thor eval schema`` prints it, every report validates against it.

Shares are in [0, 1]. What is undefined or unknown is null, never zero. Intervals are 95 % limits by resampling problems
(`bootstrap`).
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

REPORT_VERSION: Final = 1


class Figures(BaseModel):
    """Base of all parts: typed, frozen, documented by their docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Estimate(Figures):
    """A figure with its interval."""

    value: float
    """The figure."""
    low: float | None
    """Lower 95 % limit; null where problems are too few or too alike to tell."""
    high: float | None
    """Upper 95 % limit."""


class AtK(Figures):
    """A figure of k samples per problem."""

    k: int
    """Samples per problem."""
    problems: int
    """Problems with at least k judged samples; the others are left out."""
    share: Estimate
    """Mean over these problems."""


class SelectionFigures(Figures):
    """Accuracy when one of the candidates is chosen without knowing the gold answer (spec F.5)."""

    method: str
    """``self_consistency``, ``self_rewarded``, ``external`` or ``self_rewarded_external``."""
    reward_model: str | None
    """Name of the reward model whose scores it uses; null for methods without, and where it is not known."""
    candidates: int
    """Candidates per problem, the largest number if they differ."""
    accuracy: Estimate
    """Share of problems whose chosen candidate is correct."""
    gain: Estimate
    """Accuracy minus avg@k, which is what drawing a candidate at random gives; paired by problem."""
    over_majority: Estimate
    """Accuracy minus that of self-consistency, paired by problem."""
    tokens: float | None
    """Mean generated tokens per problem, of all its candidates together; null where unknown."""
    sandbox_calls: float | None
    """Mean programs per problem that were sent to the sandbox for all its candidates; null where unknown."""


class CodeFigures(Figures):
    """Executions that stand in the samples (spec A.8b, G.6)."""

    samples: int
    """Judged samples whose executions are known."""
    code_ratio: Estimate
    """Share of samples with at least one executed block."""
    pass_rate: Estimate | None
    """Share of executed blocks that succeeded; null without any."""
    calls: int
    """Executed blocks."""
    failed_calls: int
    """Those that failed."""
    calls_per_sample: float
    """Executed blocks per sample."""
    infra_errors: int
    """Blocks that our own failure kept from being executed; not among the calls."""
    discarded_attempts: int
    """Failed attempts that self-correction cut away; not among the calls."""
    sandbox_calls: int
    """All that was sent to the sandbox: calls, discarded attempts and infrastructure errors."""


class TokenFigures(Figures):
    """Sampled tokens per judged sample (spec F.4, G.8)."""

    samples: int
    """Judged samples whose tokens are known."""
    generated: Estimate
    """Mean tokens that were sampled, discarded attempts included."""
    kept: float
    """Mean tokens that stand in the sample."""
    discarded: float
    """Mean tokens that self-correction cut away."""
    total_generated: int
    """All sampled tokens together."""
    prompt: float | None
    """Mean tokens that the requests of a sample condition on, added up over its requests; null where unknown."""
    cached_share: float | None
    """Share of these whose keys and values were reused, so that they were not computed again; null where unknown."""


class JudgeFigures(Figures):
    """A language model's opinion of what the rules did not accept, beside theirs and never instead of it."""

    judges: list[str]
    """Names of the models that were asked."""
    accuracy: Estimate
    """avg@k if what a judge accepted counted as correct, too."""
    asked: int
    """Judged samples that a judge was asked about."""
    accepted: int
    """Those that it accepted."""
    refused: int
    """Those that it refused."""
    failed: int
    """Those on which it gave no verdict; they stay what the rules say."""


class SpeedFigures(Figures):
    """Seconds (spec F.4, G.8)."""

    samples: int
    """Samples whose seconds are known, not judged ones included."""
    wall_seconds: float | None
    """From the first begin to the last end, summed over the starts of the evaluation; null where not recorded."""
    samples_per_second: float | None
    """Samples over wall seconds: the paper's "FPS"."""
    llm_seconds: float | None
    """Mean seconds a sample waited for tokens; null, like those below, where no sample knows."""
    tool_seconds: float | None
    """Mean seconds its programs ran."""
    queue_seconds: float | None
    """Mean seconds it waited for a free worker of the sandbox."""
    grade_seconds: float | None
    """Mean seconds its grading took."""


class ChiSquared(Figures):
    """A test with one degree of freedom."""

    statistic: float
    """χ², without continuity correction."""
    p_value: float
    """Chance of at least this much if the two were unrelated."""


class ToolSuccess(Figures):
    """Is an answer more often right when its code passes (spec G.7)?

    A sample counts as passing if it executed code and every block succeeded, as failing if a block failed.
    """

    right_passed: int
    """Right answers whose code passed."""
    right_failed: int
    """Right answers with a failed block."""
    wrong_passed: int
    """Wrong answers whose code passed."""
    wrong_failed: int
    """Wrong answers with a failed block."""
    without_code: int
    """Samples that executed no code; left out."""
    accuracy_passed: float | None
    """Share of right answers where the code passed."""
    accuracy_failed: float | None
    """Share of right answers where a block failed."""
    overall: ChiSquared | None
    """Pearson's test over all samples, as in the paper; takes samples of one problem for independent."""
    within_problems: ChiSquared | None
    """Cochran–Mantel–Haenszel test with problems as strata: without the effect of problems that are hard in both ways."""


class SliceFigures(Figures):
    """Accuracy on a part of a benchmark."""

    name: str
    """The subject or level."""
    problems: int
    """Problems with at least one judged sample."""
    samples: int
    """Judged samples."""
    accuracy: Estimate
    """Mean over problems of the share of correct samples."""


class BenchmarkFigures(Figures):
    """One set of problems under one repair strategy."""

    benchmark: str
    """Its name, e.g. ``math500``."""
    strategy: str
    """How failed programs were repaired: ``none``, ``action_only``, ``step_suffix`` or ``full_replan``."""
    problems: int
    """Problems with at least one judged sample."""
    samples: int
    """Judged samples."""
    samples_per_problem: int
    """k of avg@k: judged samples of each problem, the largest number if they differ."""
    excluded: dict[str, int]
    """Samples left out because we failed them, by reason: ``aborted``, ``error`` (the grader broke), ``ungraded``."""
    unjudged_problems: int
    """Problems none of whose samples could be judged; left out of everything."""
    accuracy: Estimate
    """avg@k: mean over problems of the share of correct samples."""
    pass_at: list[AtK]
    """pass@k: chance that at least one of k samples is correct, unbiased (Chen et al. 2021)."""
    majority_at: list[AtK]
    """majority@k: chance that the most frequent answer of k samples is correct; a tie counts by share."""
    judge: JudgeFigures | None
    """A second opinion on what the rules did not accept; null where none was asked for."""
    selection: list[SelectionFigures]
    """Choosing one of all samples of a problem, by each method whose inputs are known; empty for one sample."""
    outcomes: dict[str, int]
    """Judged samples by the grader's verdict."""
    finish: dict[str, int]
    """All samples by how they ended, where known."""
    no_box_share: float
    """Share of judged samples without a boxed answer."""
    truncated_share: float | None
    """Share of judged samples that ran out of tokens; null where unknown."""
    within_tolerance: int
    """Samples that are correct only under a tolerant grading policy."""
    code: CodeFigures | None
    """Executions; null where unknown."""
    tool_success: ToolSuccess | None
    """Correctness by success of the code; null where executions are unknown."""
    tokens: TokenFigures | None
    """Tokens; null where unknown."""
    speed: SpeedFigures | None
    """Seconds; null where unknown."""
    subjects: list[SliceFigures]
    """By subject, where the benchmark has any."""
    levels: list[SliceFigures]
    """By level, easiest first, where the benchmark has any."""


class AverageFigures(Figures):
    """The unweighted mean over benchmarks, as in the paper's column "Avg."."""

    strategy: str
    """Of which repair strategy."""
    benchmarks: list[str]
    """Which benchmarks."""
    accuracy: Estimate
    """Mean of their avg@k."""


class About(Figures):
    """What was evaluated, and how."""

    name: str
    """What to call it, e.g. the run's name."""
    source: str
    """Where its samples come from: a run, a file."""
    settings: dict[str, str]
    """Everything that decides the figures: model, prompt, sampling, budgets, grader, seed."""


class EvaluationReport(Figures):
    """One evaluation."""

    version: Literal[1] = REPORT_VERSION
    """Of this schema."""
    about: About
    """What was evaluated, and how."""
    bootstrap_seed: int
    """Seed of the intervals."""
    bootstrap_resamples: int
    """Resamples behind the intervals."""
    benchmarks: list[BenchmarkFigures]
    """Benchmarks by name, then strategy."""
    averages: list[AverageFigures]
    """Means over benchmarks, for each strategy with at least two."""


class Difference(Figures):
    """One figure of two evaluations on the same problems."""

    a: float
    """Of the first."""
    b: float
    """Of the second."""
    difference: Estimate
    """b − a; its interval is by resampling problems, each with its samples of both."""
    p_value: float | None
    """Two-sided, of the paired bootstrap: the level at which that interval just touches 0."""


class PairedTest(Figures):
    """An exact test on problems that one evaluation solves more often than the other."""

    name: Literal["exact McNemar test", "exact sign test"]
    """McNemar where each problem has one outcome in both evaluations, else the sign test on shares of correct samples."""
    why: str
    """Why this one applies."""
    b_better: int
    """Problems that b solves more often."""
    a_better: int
    """Problems that a solves more often."""
    equal: int
    """Problems without a difference, which say nothing."""
    p_value: float
    """Two-sided and exact."""


class ProblemChange(Figures):
    """A problem on which the two differ."""

    problem_id: str
    """Which."""
    a: float
    """Share of correct samples of the first."""
    b: float
    """Share of correct samples of the second."""


class BenchmarkComparison(Figures):
    """Two evaluations on the problems of one benchmark that both have judged."""

    benchmark: str
    """Its name."""
    strategy_a: str
    """Repair strategy of the first."""
    strategy_b: str
    """Repair strategy of the second."""
    problems: int
    """Problems that both have judged; everything below is about these."""
    only_a: int
    """Problems that only the first has judged."""
    only_b: int
    """Problems that only the second has judged."""
    samples_per_problem_a: int
    """Of the first, the largest number if they differ."""
    samples_per_problem_b: int
    """Of the second."""
    accuracy: Difference
    """avg@k."""
    test: PairedTest
    """The exact test beside the bootstrap."""
    p_value: float
    """What the verdict rests on: McNemar's test for single outcomes, else the bootstrap where it is defined."""
    adjusted_p_value: float
    """The same, adjusted for the number of benchmarks compared (Holm)."""
    verdict: Literal["b is better", "a is better", "no evidence of a difference"]
    """By the adjusted p-value at the level 5 %."""
    pass_at_k: Difference | None
    """pass@k at the largest k that both have for all problems; null for k = 1."""
    k: int
    """That k."""
    code_ratio: Difference | None
    """Share of samples that execute code; null where unknown."""
    code_pass_rate: Difference | None
    """Share of executed blocks that succeed; null where unknown or without any."""
    calls: Difference | None
    """Executed blocks per sample."""
    tokens: Difference | None
    """Generated tokens per sample."""
    changes: list[ProblemChange]
    """Problems on which they differ, the largest changes first."""


class AverageComparison(Figures):
    """The unweighted mean over the compared benchmarks."""

    benchmarks: list[str]
    """Which."""
    accuracy: Difference
    """Mean avg@k."""


class ComparisonReport(Figures):
    """Two evaluations on the same problems."""

    version: Literal[1] = REPORT_VERSION
    """Of this schema."""
    a: About
    """The first."""
    b: About
    """The second."""
    bootstrap_seed: int
    """Seed of the intervals."""
    bootstrap_resamples: int
    """Resamples behind the intervals."""
    benchmarks: list[BenchmarkComparison]
    """Benchmarks that both have, by name."""
    average: AverageComparison | None
    """Mean over them; null for a single one."""
    benchmarks_only_a: list[str]
    """Benchmarks that only the first has."""
    benchmarks_only_b: list[str]
    """Benchmarks that only the second has."""
