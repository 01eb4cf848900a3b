"""Figures of finished trajectories: pure functions, one definition of each figure for training, evaluation and report.

Definitions (spec sections A.8b, G.1, G.6):

* pass@1 is Avg@k: the share of correct samples, over all problems. Trajectories that *we* failed (aborted, or the grader
  broke) are counted apart and left out, since they say nothing about the policy.
* Code ratio is the share of trajectories with at least one executed block.
* Code pass rate is successful over executed blocks, of what stands in the trajectories: attempts that self-correction
  cut away are counted apart (paper table 6). It is undefined, ``None``, without executions. Blocks lost to
  infrastructure errors were not executed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from thor_ray.metrics_registry import EXECUTIONS, GRADES
from thor_ray.trajectory import ExecutionStatus, FinishReason, Group, GroupKind, Trajectory

NORMAL_97_5: Final = 1.959963984540054
"""Quantile of the standard normal distribution for two-sided 95 % intervals."""

CORRECT: Final = "correct"
GRADER_ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class CodeStatistics:
    """Executions that stand in some trajectories.

    Attributes:
        trajectories: How many trajectories.
        using_code: How many of them executed at least one block.
        calls: Executed blocks.
        failed_calls: Those of them that failed.
        infra_errors: Blocks that our own failure kept from being executed; not among ``calls``.
        discarded_attempts: Failed attempts that self-correction cut away; not among ``calls``.
    """

    trajectories: int
    using_code: int
    calls: int
    failed_calls: int
    infra_errors: int
    discarded_attempts: int

    @property
    def code_ratio(self) -> float | None:
        """Share of trajectories that executed code; ``None`` without trajectories."""
        return self.using_code / self.trajectories if self.trajectories else None

    @property
    def pass_rate(self) -> float | None:
        """Share of executed blocks that succeeded; ``None`` without any."""
        return 1 - self.failed_calls / self.calls if self.calls else None

    @property
    def failing_share(self) -> float | None:
        """Share of executed blocks that failed; ``None`` without any."""
        return self.failed_calls / self.calls if self.calls else None


def code_statistics(trajectories: Iterable[Trajectory]) -> CodeStatistics:
    """Counts the executions of ``trajectories``, those inherited from a parent excluded."""
    total = using = calls = failed = infra = discarded = 0
    for trajectory in trajectories:
        statuses = [step.result.status for step in trajectory.own_steps]
        executed = [status for status in statuses if status is not ExecutionStatus.INFRA_ERROR]
        total += 1
        using += bool(executed)
        calls += len(executed)
        failed += sum(status.failed for status in executed)
        infra += len(statuses) - len(executed)
        discarded += len(trajectory.discarded)
    return CodeStatistics(total, using, calls, failed, infra, discarded)


@dataclass(frozen=True, slots=True)
class EvaluationStatistics:
    """One policy on a set of problems.

    Attributes:
        pass_at_1: Share of correct samples, 0 to 1.
        pass_at_1_interval: 95 % confidence limits (``clustered_interval``).
        code_ratio: Share of trajectories with at least one executed block.
        code_pass_rate: Share of executed blocks that succeeded; ``None`` without any.
        problems: Number of problems.
        samples_per_problem: Samples of each problem, the excluded ones not counted; the largest number if they differ.
        excluded: Trajectories left out since we failed them.
        calls: Executed blocks.
        failed_calls: Those that failed.
        infra_errors: Blocks lost to infrastructure errors.
        discarded_attempts: Failed attempts that self-correction cut away.
        kept_tokens: Mean tokens sampled per trajectory that stand in it.
        discarded_tokens: Mean tokens sampled per trajectory that were cut away.
        cached_share: Share of the requests' prompt tokens whose keys and values were reused; ``None`` where unknown.
        finish: Trajectories by finish reason.
        grades: Trajectories by the grader's status; ``ungraded`` where there was no answer to grade.
    """

    pass_at_1: float
    pass_at_1_interval: tuple[float, float]
    code_ratio: float
    code_pass_rate: float | None
    problems: int
    samples_per_problem: int
    excluded: int
    calls: int
    failed_calls: int
    infra_errors: int
    discarded_attempts: int
    kept_tokens: float
    discarded_tokens: float
    cached_share: float | None
    finish: dict[str, int]
    grades: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "pass_at_1_interval": list(self.pass_at_1_interval)}


def evaluation_statistics(trajectories: Sequence[Trajectory]) -> EvaluationStatistics:
    """The figures of one evaluation.

    Raises:
        ValueError: there is no trajectory that could be judged.
    """
    judged = [trajectory for trajectory in trajectories if is_judged(trajectory)]
    if not judged:
        raise ValueError(f"none of {len(trajectories)} trajectories can be judged: nothing to evaluate")
    samples: dict[str, list[bool]] = defaultdict(list)
    for trajectory in judged:
        samples[trajectory.problem_id].append(trajectory.grade_status == CORRECT)
    code = code_statistics(judged)
    correct, total = sum(map(sum, samples.values())), len(judged)
    return EvaluationStatistics(
        pass_at_1=correct / total,
        pass_at_1_interval=clustered_interval(list(samples.values())),
        code_ratio=code.using_code / total,
        code_pass_rate=code.pass_rate,
        problems=len(samples),
        samples_per_problem=max(map(len, samples.values())),
        excluded=len(trajectories) - total,
        calls=code.calls,
        failed_calls=code.failed_calls,
        infra_errors=code.infra_errors,
        discarded_attempts=code.discarded_attempts,
        kept_tokens=sum(trajectory.cost.kept_tokens for trajectory in judged) / total,
        discarded_tokens=sum(trajectory.cost.discarded_tokens for trajectory in judged) / total,
        cached_share=cached_share(judged),
        finish=_count(str(trajectory.finish) for trajectory in trajectories),
        grades=_count(trajectory.grade_status or "ungraded" for trajectory in trajectories),
    )


def cached_share(trajectories: Iterable[Trajectory]) -> float | None:
    """Share of all requests' prompt tokens whose keys and values were reused; ``None`` where nobody counted them."""
    costs = [trajectory.cost for trajectory in trajectories]
    prompts = sum(cost.prompt_tokens for cost in costs)
    return sum(cost.cached_tokens for cost in costs) / prompts if prompts else None


def is_judged(trajectory: Trajectory) -> bool:
    """Whether the trajectory says something about its policy: we did not abort it, and the grader did not break."""
    return trajectory.finish is not FinishReason.ABORTED and trajectory.grade_status != GRADER_ERROR


def clustered_interval(samples: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """95 % confidence interval of the share of successes, where samples of one problem resemble each other.

    Wilson's score interval at the effective number of samples ``n_eff = p (1 - p) / SE²``, with the standard error
    clustered by problem: ``SE² = m / (m - 1) Σ_i (Σ_j (x_ij - p))² / n²`` over m problems and n samples. ``n_eff`` is
    held between m (samples of a problem all alike) and n (all independent), so that an all-wrong or all-right
    evaluation still has an interval.

    Args:
        samples: Outcomes, by problem.

    Returns:
        Lower and upper limit, within [0, 1].

    Raises:
        ValueError: there is no sample.
    """
    clusters, total = len(samples), sum(map(len, samples))
    if not total:
        raise ValueError("an interval needs samples")
    share = sum(map(sum, samples)) / total
    squares = math.fsum((sum(outcomes) - share * len(outcomes)) ** 2 for outcomes in samples)
    variance = squares / total**2 * clusters / max(clusters - 1, 1)
    independent = share * (1 - share) / variance if variance > 0 else float(clusters)
    return wilson_interval(share, min(max(independent, clusters), total))


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share among ``count`` independent trials, which need not be whole."""
    squared = NORMAL_97_5**2
    centre = (share + squared / (2 * count)) / (1 + squared / count)
    reach = NORMAL_97_5 / (1 + squared / count) * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    return max(0.0, min(centre - reach, share)), min(1.0, max(centre + reach, share))


def round_metrics(groups: Sequence[Group], seconds: float) -> dict[str, float | int | None]:
    """The figures of one sampling round, dropped groups included.

    Args:
        groups: All groups that were sampled.
        seconds: Wall time that sampling took.

    Returns:
        By the names of ``metrics_registry.Scope.ROUND``, which says what each means; undefined figures are ``None``.
    """
    # That module loads torch, which those who only read reports have no use for.
    from thor_ray.selection import has_void_turn

    episodes = [t for group in groups if group.kind is GroupKind.EPISODE for t in group.trajectories]
    steps = [t for group in groups if group.kind is GroupKind.STEP for t in group.trajectories]
    code = code_statistics(episodes)
    generated = sum(trajectory.cost.generated_tokens for trajectory in (*episodes, *steps))
    finish = _count(str(trajectory.finish) for trajectory in episodes)
    grades = Counter(trajectory.grade_status for trajectory in episodes if trajectory.grade_status is not None)
    executions = Counter(str(step.result.status) for trajectory in episodes for step in trajectory.own_steps)
    dropped = _count(group.dropped for group in groups if group.dropped is not None)
    return {
        "reward": _mean([t.reward for t in episodes if t.reward is not None]),
        "correct": _mean([float(t.grade_status == CORRECT) for t in episodes if is_judged(t)]),
        "code_ratio": code.code_ratio,
        "calls": code.calls / len(episodes) if episodes else None,
        "failing_share": code.failing_share,
        "void_turns": _mean([float(has_void_turn(t)) for t in episodes]),
        "tokens": _mean([float(t.cost.kept_tokens) for t in episodes]),
        "step_reward": _mean([t.reward for t in steps if t.reward is not None]),
        "episodes": len(episodes),
        "steps": len(steps),
        "infra_errors": code.infra_errors,
        "sampled_tokens": generated,
        "tokens_per_second": generated / seconds if seconds > 0 else None,
        "cached_share": cached_share(episodes),
        "step_cached_share": cached_share(steps),
        "seconds/engine": _mean([t.cost.llm_seconds for t in episodes]),
        "seconds/programs": _mean([t.cost.tool_seconds for t in episodes]),
        "seconds/queue": _mean([t.cost.queue_seconds for t in episodes]),
        "seconds/grading": _mean([t.cost.grade_seconds for t in episodes]),
        **{f"finish/{reason}": count / len(episodes) for reason, count in finish.items()},
        **{f"grade/{status}": grades[status] / grades.total() if grades else None for status in GRADES},
        **{f"code/{status}": executions[status] / code.calls if code.calls else None for status in EXECUTIONS},
        **{f"dropped/{reason}": count for reason, count in dropped.items()},
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _count(values: Iterable[str]) -> dict[str, int]:
    """Counts by value, most frequent first, ties by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
