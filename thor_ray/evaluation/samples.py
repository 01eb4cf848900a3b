"""The rows of an evaluation: one per sample, small enough to keep all of them in memory.

A row says which problem was asked, what became of the answer, and what it cost. Everything that a report shows is
computed from rows alone, whether they come from engines, from the trajectories of a run, or from recorded responses.
Tokens and texts stay in the trajectory records, to which ``trajectory_id`` points.

What a source cannot know is ``None``, never zero: recorded responses say nothing of executions, so a report of them
shows no code ratio rather than a code ratio of 0 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, NamedTuple

from pydantic import ConfigDict, Field

from thor_ray.config import RepairStrategy
from thor_ray.grading import GradeStatus
from thor_ray.records import Record
from thor_ray.trajectory import ExecutionStatus, FinishReason, Trajectory

SCHEMA_VERSION: Final = 1
"""Of the rows; each row carries it, so that files can be cut and joined."""

NO_CORRECTION: Final = "none"
"""How reports and commands call the absence of a repair strategy."""

_CLOSED: Final = ConfigDict(extra="forbid")

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SampleKey(NamedTuple):
    """What tells one sample of an evaluation from all others."""

    benchmark: str
    strategy: RepairStrategy | None
    problem_id: str
    sample_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUse:
    """The programs of one sample.

    Attributes:
        executed: Blocks that were executed and stand in the trajectory.
        failed: Those of them that failed.
        lost: Blocks that our own failure kept from being executed; not among ``executed``.
        discarded: Failed attempts that self-correction cut away; not among ``executed``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    executed: Count
    failed: Count
    lost: Count = 0
    discarded: Count = 0

    def __post_init__(self) -> None:
        if self.failed > self.executed:
            raise ValueError(f"{self.failed} blocks failed, but only {self.executed} were executed")

    @property
    def pass_rate(self) -> float | None:
        """Share of executed blocks that succeeded; undefined, not 1, without any (spec A.8b)."""
        return 1 - self.failed / self.executed if self.executed else None

    @property
    def all_passed(self) -> bool | None:
        """Whether every executed block succeeded; ``None`` without any."""
        return self.failed == 0 if self.executed else None

    @property
    def sandbox_calls(self) -> int:
        """Everything that was sent to the sandbox."""
        return self.executed + self.lost + self.discarded


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """The tokens of one sample: those that were sampled, ``generated = kept + discarded``, and those conditioned on.

    Attributes:
        generated: Sampled tokens.
        discarded: Those of them that self-correction cut away.
        prompt: What all its requests conditioned on, added up; ``None`` where unknown.
        cached: Those of them whose keys and values were reused; ``None`` where unknown.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    generated: Count
    discarded: Count = 0
    prompt: Count | None = None
    cached: Count | None = None

    def __post_init__(self) -> None:
        if self.discarded > self.generated:
            raise ValueError(f"{self.discarded} tokens were discarded, but only {self.generated} generated")
        if self.cached is not None and (self.prompt is None or self.cached > self.prompt):
            raise ValueError(f"{self.cached} prompt tokens were reused, but there are {self.prompt}")

    @property
    def kept(self) -> int:
        """Tokens that stand in the trajectory."""
        return self.generated - self.discarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of waiting of one sample, and when it began and ended in Unix time, as far as known.

    Samples run side by side, so that their seconds add up to more than the evaluation took; its speed follows from the
    first begin and the last end.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    llm: Seconds | None = None
    tool: Seconds | None = None
    queue: Seconds | None = None
    grade: Seconds | None = None
    started_at: Seconds | None = None
    ended_at: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVerdict:
    """What a language model says of an answer that the rules did not accept; it stands beside their verdict.

    Attributes:
        judge: Name of the model.
        status: ``correct``, ``wrong``, or ``error`` where it gave no verdict.
        reason: Why, in words that can be counted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    judge: str
    status: GradeStatus
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSample:
    r"""One sample of one problem.

    Attributes:
        benchmark: The set of problems it belongs to, e.g. ``math500``.
        problem_id: Unique within the benchmark.
        sample_index: Which of the problem's samples, from 0; with the same seeds the same one whoever computes it.
        status: The grader's verdict; ``None`` if the sample was not graded.
        answer: What was graded, e.g. the content of the last box; ``None`` if there was nothing.
        gold: The problem's gold answer; ``None`` where correctness is not a matter of one answer (code benchmarks).
        strategy: How failed programs were repaired; ``None`` without self-correction.
        attempt: Which start of the evaluation made the row, from 1; a later row with the same key supersedes.
        subject: Of the problem, where the benchmark has subjects.
        level: Of the problem, 1 is easiest, where the benchmark has levels.
        grade_reason: Why the verdict is so, in words that can be counted.
        grade_path: How it was found; ``tolerance`` marks what only a tolerant policy lets pass.
        finish: Why the trajectory ended; ``None`` where unknown.
        code: Its programs; ``None`` where unknown.
        tokens: Its tokens; ``None`` where unknown.
        timing: Its seconds; ``None`` where unknown.
        external_score: What a reward model gave it, for best-of-N; the higher the better.
        scored_by: Name of that model; ``None`` where unknown. Scores of different models cannot be compared.
        judge: A language model's verdict beside that of the rules; ``None`` where none was asked.
        trajectory_id: Of its trajectory among the records, where there is one.
        schema: Version of the row.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    benchmark: str
    problem_id: str
    sample_index: Count
    status: GradeStatus | None
    answer: str | None
    gold: str | None
    strategy: RepairStrategy | None = None
    attempt: Annotated[int, Field(ge=1)] = 1
    subject: str | None = None
    level: int | None = None
    grade_reason: str = ""
    grade_path: str = ""
    finish: FinishReason | None = None
    code: CodeUse | None = None
    tokens: TokenUse | None = None
    timing: Timing | None = None
    external_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    scored_by: str | None = None
    judge: JudgeVerdict | None = None
    trajectory_id: str | None = None
    schema: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)] = field(default=SCHEMA_VERSION)

    @property
    def key(self) -> SampleKey:
        """What tells it from other samples."""
        return SampleKey(self.benchmark, self.strategy, self.problem_id, self.sample_index)

    @property
    def judged(self) -> bool:
        """Whether the sample says something about its policy: we did not abort it, and the grader gave a verdict.

        The same rule as ``metrics.is_judged``. A comparison that ran out of time counts as a verdict, as not correct:
        leaving it out would favour policies whose answers cannot be compared.
        """
        return self.finish is not FinishReason.ABORTED and self.status not in (None, GradeStatus.ERROR)

    @property
    def correct(self) -> bool:
        """Whether the rules found the answer to equal the gold answer."""
        return self.status is GradeStatus.CORRECT

    @property
    def correct_or_accepted(self) -> bool:
        """Whether the rules found it correct or, where they did not, the judge accepted it."""
        return self.correct or (self.judge is not None and self.judge.status is GradeStatus.CORRECT)


def strategy_name(strategy: RepairStrategy | None) -> str:
    """``none`` or the strategy's own name."""
    return NO_CORRECTION if strategy is None else str(strategy)


def latest_samples(samples: Iterable[EvaluationSample]) -> list[EvaluationSample]:
    """One row per key: the one of the latest attempt, and of these the last; ordered by key.

    The order does not depend on the order in which the rows came, and so neither does anything computed from it.
    """
    latest: dict[SampleKey, EvaluationSample] = {}
    for sample in samples:
        if (known := latest.get(sample.key)) is None or sample.attempt >= known.attempt:
            latest[sample.key] = sample
    return [latest[key] for key in sorted(latest, key=_sort_key)]


def samples_of_records(
    records: Iterable[Record], benchmark: str, strategy: RepairStrategy | None = None
) -> list[EvaluationSample]:
    """Rows of recorded trajectories; those of one problem are numbered in the order in which they come.

    Args:
        records: Of one evaluation stage and round.
        benchmark: What to call the set of problems.
        strategy: How failed programs were repaired.
    """
    seen: dict[str, int] = {}
    rows = []
    for record in records:
        index = seen.get(record.trajectory.problem_id, 0)
        seen[record.trajectory.problem_id] = index + 1
        rows.append(sample_of_trajectory(record.trajectory, benchmark, index, record.gold_answer, strategy))
    return rows


def sample_of_trajectory(
    trajectory: Trajectory,
    benchmark: str,
    sample_index: int,
    gold: str | None,
    strategy: RepairStrategy | None = None,
) -> EvaluationSample:
    """The row of one finished trajectory. Steps that a branch inherited from its parent are not its own."""
    statuses = [step.result.status for step in trajectory.own_steps]
    lost = statuses.count(ExecutionStatus.INFRA_ERROR)
    cost = trajectory.cost
    return EvaluationSample(
        benchmark=benchmark,
        problem_id=trajectory.problem_id,
        sample_index=sample_index,
        status=None if trajectory.grade_status is None else GradeStatus(trajectory.grade_status),
        answer=trajectory.answer,
        gold=gold,
        strategy=strategy,
        finish=trajectory.finish,
        code=CodeUse(
            executed=len(statuses) - lost,
            failed=sum(status.failed for status in statuses),
            lost=lost,
            discarded=len(trajectory.discarded),
        ),
        tokens=TokenUse(
            generated=cost.generated_tokens,
            discarded=cost.discarded_tokens,
            # Records of before these were counted say 0, and no request conditions on nothing.
            prompt=cost.prompt_tokens or None,
            cached=cost.cached_tokens if cost.prompt_tokens else None,
        ),
        timing=Timing(llm=cost.llm_seconds, tool=cost.tool_seconds, queue=cost.queue_seconds, grade=cost.grade_seconds),
        trajectory_id=trajectory.id,
    )


def _sort_key(key: SampleKey) -> tuple[str, str, str, int]:
    """Benchmarks by name, no strategy before any."""
    return (key.benchmark, key.strategy or "", key.problem_id, key.sample_index)
