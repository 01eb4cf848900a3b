"""Figures of a report that take more than one record: what each stage of learning adds, and what each stage cost."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from thor_ray.evaluation.comparison import comparison_report
from thor_ray.evaluation.sources import stage_evaluation
from thor_ray.records import Stage, read_columns
from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import RunState

RESAMPLES: Final = 2000
"""Of the intervals of differences."""

SUMS: Final = (
    *("generated_tokens", "discarded_tokens", "prompt_tokens", "cached_tokens"),
    *("sandbox_calls", "llm_seconds", "tool_seconds"),
)
"""Costs that trajectories record and that add up."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one policy is above another on the problems that both have answered.

    Attributes:
        policy: The later one.
        over: The earlier one.
        difference: Of pass@1, in [-1, 1].
        low: Lower 95 % limit, by resampling problems; ``None`` for a single problem.
        high: Upper limit.
        p_value: Two-sided, of the same resampling.
    """

    policy: str
    over: str
    difference: float
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class StageCost:
    """What the trajectories of one stage cost, continuations and attempts that were cut away included.

    Attributes:
        stage: Which.
        trajectories: How many.
        generated_tokens: Sampled, kept or not.
        discarded_tokens: Of these, cut away by self-correction.
        prompt_tokens: Read by the engines, request by request.
        cached_tokens: Of these, found in their caches.
        sandbox_calls: Programs that were run.
        llm_seconds: Of all trajectories added up, which overlap.
        tool_seconds: Likewise.
        seconds: Wall time of the stage; ``None`` while it is not finished.
    """

    stage: str
    trajectories: int
    generated_tokens: int
    discarded_tokens: int
    prompt_tokens: int
    cached_tokens: int
    sandbox_calls: int
    llm_seconds: float
    tool_seconds: float
    seconds: float | None


def gains(directory: RunDirectory, policies: Iterable[tuple[Stage, str]]) -> list[dict[str, Any]]:
    """What each policy adds to the one before, of those that have been evaluated.

    Args:
        directory: Of the run.
        policies: Their evaluations and names, in the order of learning.
    """
    evaluated = [(stage, name) for stage, name in policies if directory.record_files(stage)]
    found = []
    for (before, over), (after, policy) in pairwise(evaluated):
        first, second = stage_evaluation(directory, before), stage_evaluation(directory, after)
        report = comparison_report(first.samples, second.samples, first.about, second.about, resamples=RESAMPLES)
        for part in report.benchmarks:
            by = part.accuracy.difference
            found.append(asdict(Gain(policy, over, by.value, by.low, by.high, part.accuracy.p_value)))
    return found


def stage_costs(directory: RunDirectory, state: RunState) -> list[dict[str, Any]]:
    """What each stage cost that has recorded trajectories, in the order of the stages."""
    costs = []
    for stage in Stage:
        if files := directory.record_files(stage):
            seconds = state.stages[stage].seconds if stage in state.stages else None
            costs.append(asdict(_stage_cost(stage, files, seconds)))
    return costs


def _stage_cost(stage: Stage, files: list[Path], seconds: float | None) -> StageCost:
    cost = read_columns(files, ["cost"]).column("cost").combine_chunks()
    sums = {name: pc.sum(pc.struct_field(cost, name)).as_py() or 0 for name in SUMS}
    return StageCost(str(stage), len(cost), seconds=seconds, **sums)
