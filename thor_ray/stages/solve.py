"""One question to one policy, as it would be used: with tools and, if asked to, correcting its failed steps (spec F.1)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from actors.live import LiveEvent
from actors.placement import RayCluster
from actors.sampler import RolloutSettings
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.problems import Problem
from thor_ray.segments import Decoder
from thor_ray.stages.problem_sets import MIN_RESPONSE_TOKENS, fits
from thor_ray.stages.workers import Workers, started_workers
from thor_ray.trajectory import Group, Trajectory

UID = "solve"


@dataclass(frozen=True, slots=True)
class Solver:
    """A policy that is up and waits for one question, whose answer nobody knows."""

    problem: Problem
    recipe: Recipe
    settings: RolloutSettings
    workers: Workers

    @property
    def decode(self) -> Decoder:
        """Reads the policy's tokens."""
        return self.workers.codec.decode

    def watch(self) -> Iterator[LiveEvent]:
        """Samples one solution and tells what happens as it happens."""
        actor = self.workers.fleet.actors[0]
        events = actor.watch_solution.options(num_returns="streaming").remote(
            self.problem, self.settings, self.recipe.seed, UID
        )
        for reference in events:
            yield ray.get(reference)

    def sample(
        self, count: int, on_solution: Callable[[int, Trajectory], None] | None = None
    ) -> tuple[Trajectory, ...]:
        """Samples independent solutions, on all engines; the first is the one that `watch` shows. None has a grade.

        Args:
            count: How many.
            on_solution: Called with each, and its place among them, as it is finished, in whatever order.
        """
        # Groups of one, so that each is told of by itself.
        uids = [UID, *(f"{UID}-{index}" for index in range(1, count))]
        groups = self.workers.fleet.episode_groups(
            [self.problem] * count,
            uids,
            None if on_solution is None else lambda group: on_solution(uids.index(group.uid), _ungraded(group)),
            group_size=1,
            settings=self.settings,
            seed=self.recipe.seed,
        )
        return tuple(map(_ungraded, groups))


def _ungraded(group: Group) -> Trajectory:
    """The only trajectory of a group, without the grade that means nothing where nobody knows the answer."""
    (trajectory,) = group.trajectories
    return replace(trajectory, grade_status=None, reward=None)


@contextmanager
def solver(question: str, recipe: Recipe, model: Path, self_correct: bool) -> Iterator[Solver]:
    """Starts an engine for one question.

    Raises:
        UserError: the question does not fit the policy's context.
    """
    problem = Problem("question", question, "unknown", "command line")
    settings = RolloutSettings.for_evaluation(recipe, self_correct)
    with RayCluster(cpus=recipe.engine.actors), started_workers(recipe, model, learners=False) as workers:
        if not fits(problem, recipe, workers.codec.encode_prompt):
            raise UserError(
                f"the question leaves no {MIN_RESPONSE_TOKENS} tokens for an answer in policy.max_context "
                f"{recipe.policy.max_context}",
                "shorten it, or raise policy.max_context",
            )
        yield Solver(problem, recipe, settings, workers)
