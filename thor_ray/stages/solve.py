"""One question to one policy, as it would be used: with tools, and correcting its failed steps (spec F.1)."""

from dataclasses import replace
from pathlib import Path

from actors.placement import RayCluster
from actors.sampler import RolloutSettings
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.problems import Problem
from thor_ray.segments import Decoder
from thor_ray.stages.problem_sets import MIN_RESPONSE_TOKENS, fits
from thor_ray.stages.workers import started_workers
from thor_ray.trajectory import Group


def solve_question(question: str, recipe: Recipe, model: Path, samples: int) -> tuple[Group, Decoder]:
    """Samples solutions of a question whose answer nobody knows.

    Returns:
        The solutions, without grades, and how to read their tokens.

    Raises:
        UserError: the question does not fit the policy's context.
    """
    problem = Problem("question", question, "unknown", "command line")
    with RayCluster(cpus=recipe.engine.actors), started_workers(recipe, model, learners=False) as workers:
        if not fits(problem, recipe, workers.codec.encode):
            raise UserError(
                f"the question leaves no {MIN_RESPONSE_TOKENS} tokens for an answer in policy.max_context "
                f"{recipe.policy.max_context}",
                "shorten it, or raise policy.max_context",
            )
        (group,) = workers.fleet.episode_groups(
            [problem],
            ["solve"],
            group_size=samples,
            settings=RolloutSettings.for_evaluation(recipe, self_correction=True),
            seed=recipe.seed,
        )
        ungraded = tuple(replace(each, grade_status=None, reward=None) for each in group.trajectories)
        return replace(group, trajectories=ungraded), workers.codec.decode
