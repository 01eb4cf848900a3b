"""Evaluation: avg@k on problems that nothing was trained on, with or without self-correction (spec G.1, F.1)."""

from collections.abc import Callable, Sequence
from typing import Any

from actors.generation import derive_seed
from actors.sampler import RolloutSettings
from thor_ray.config import Recipe
from thor_ray.metrics import evaluation_statistics
from thor_ray.problems import Problem
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import Group


def evaluate(
    workers: Workers,
    problems: Sequence[Problem],
    recipe: Recipe,
    log: RunLog,
    stage: Stage,
    *,
    round_index: int = 0,
    on_group: Callable[[Group], None] | None = None,
) -> dict[str, Any]:
    """Samples ``evaluation.samples_per_problem`` trajectories per problem with the weights that the engines serve.

    Whether the policy corrects itself is the stage's matter (``Stage.corrects_itself``).

    Returns:
        The figures (``metrics.EvaluationStatistics``) as plain JSON values; they are recorded as well.

    Raises:
        ValueError: no trajectory could be judged.
    """
    groups = workers.fleet.episode_groups(
        problems,
        [f"{stage}/{round_index}/{index}" for index in range(len(problems))],
        on_group,
        group_size=recipe.evaluation.samples_per_problem,
        settings=RolloutSettings.for_evaluation(recipe, stage.corrects_itself),
        seed=derive_seed(recipe.seed, "evaluation"),
    )
    log.record_groups(groups, stage, round_index, gold_answers={problem.id: problem.answer for problem in problems})
    figures = evaluation_statistics([trajectory for group in groups for trajectory in group.trajectories]).to_json()
    log.record_metrics(stage, round_index, figures)
    return figures
