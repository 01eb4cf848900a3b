"""Families: one problem's siblings and the step groups that branch off them, begun, suspended and resumed as one."""

import asyncio
from collections.abc import Sequence

from actors.branching import BranchBudget, Branching
from actors.episode import Episode
from actors.generation import Interruption
from actors.going_on import GoingOn
from actors.sampler import RolloutSettings, TrajectorySampler
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import FinishReason, Group, Trajectory


class FamilySampler:
    """Samples families with one engine; what its problems grant and their failed steps spend is common to all.

    Args:
        sampler: Of single groups.
    """

    def __init__(self, sampler: TrajectorySampler) -> None:
        self._sampler = sampler
        self._branches = BranchBudget()
        self._interruptions: dict[str, Interruption] = {}

    @property
    def in_flight(self) -> int:
        """Families that are being sampled."""
        return len(self._interruptions)

    def suspend(self, uid: str) -> None:
        """Makes `sample` return early with what it has of a family; one that is not being sampled is left alone."""
        if (interruption := self._interruptions.get(uid)) is not None:
            interruption.set()

    async def sample(
        self,
        problem: Problem,
        *,
        group_size: int,
        branching: Branching | None,
        settings: RolloutSettings,
        seed: int,
        uid: str,
        partial: Sequence[Group] = (),
    ) -> list[Group]:
        """Samples a group of siblings and, each begun as soon as a step has failed, the step groups that branch off it.

        Whichever step fails first is branched first, so what is resampled depends on the order of events; ``None`` for
        ``branching`` resamples nothing. ``uid`` is the episode group's, a step group's is this and its own number.
        ``partial`` is the family as it was suspended; it goes on from there, by whatever weights are served now.

        Returns:
            The episode group, then the step groups. Those of a suspended family hold trajectories that end as
            ``suspended``, some perhaps without a token of their own.
        """
        if uid in self._interruptions:
            raise ValueError(f"family {uid} is being sampled already")
        interruption = self._interruptions[uid] = Interruption()
        branches: list[asyncio.Task[Group]] = []

        def branch(parent: Trajectory, step_index: int, partial: Group | None = None) -> None:
            if branching is None:
                return
            sampling = self._sampler.sample_step_group(
                parent,
                step_index,
                suffix_tokens=branching.suffix_tokens,
                group_size=branching.group_size,
                settings=settings,
                seed=seed,
                uid=f"{uid}/s{len(branches)}",
                going_on=GoingOn(partial, interruption),
            )
            branches.append(tasks.create_task(sampling))

        def on_failed_step(episode: Episode) -> None:
            if branching is not None and self._branches.spend():
                # A snapshot: the parent goes on, but what a branch takes over of it does not change any more.
                parent = episode.builder.finish(FinishReason.ABORTED)
                branch(parent, len(parent.steps) - 1)

        if branching is not None and not partial:
            self._branches.grant(branching.per_family, branching.at_most)
        try:
            async with asyncio.TaskGroup() as tasks:
                siblings = tasks.create_task(
                    self._sampler.sample_group(
                        problem,
                        group_size=group_size,
                        settings=settings,
                        seed=seed,
                        uid=uid,
                        going_on=GoingOn(partial[0] if partial else None, interruption, on_failed_step),
                    )
                )
                for group in partial[1:]:
                    branch(*_branched_from(group, partial[0]), group)
        finally:
            del self._interruptions[uid]
        return [siblings.result(), *(each.result() for each in branches)]


def _branched_from(group: Group, siblings: Group) -> tuple[Trajectory, int]:
    """The failed step that a step group continues, as (sibling, step index)."""
    parent = group.trajectories[0].parent
    if parent is None:
        raise ValueError(f"step group {group.uid} does not say what it branched off from")
    known = {trajectory.id: trajectory for trajectory in siblings.trajectories}
    return known[parent.trajectory_id], parent.step_index
