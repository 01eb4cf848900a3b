"""All rollout actors as one: groups go where there is room, and come back in the order asked for."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import ray

from actors.generation import EngineError
from thor_ray.errors import WorkerError
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import Group, Trajectory

ActorHandle = Any
"""A handle of ``actors.rollout.RolloutActor``; Ray's handles carry no static type."""

OnGroup = Callable[[Group], None]

WAIT_SECONDS: Final = 5.0
"""How long to wait for news at a time."""


class RolloutStalledError(WorkerError):
    """No group was finished for so long that an engine must hang. Says which actors still owe groups."""


class RolloutActorDiedError(WorkerError):
    """The process of a rollout actor, or its engine, ended; the message says which and, as far as is known, why."""


class RolloutFleet:
    """Sends groups to rollout actors.

    A group stays on one actor, and the continuations of a failed step go to the actor that sampled its parent,
    since that engine still holds the prefix's key-value cache. Episode groups are dealt out in turn.

    Args:
        actors: Handles of started rollout actors.
        stall_seconds: How long nothing at all may finish before ``RolloutStalledError`` is raised.
    """

    def __init__(self, actors: Sequence[ActorHandle], stall_seconds: float = 600.0) -> None:
        self.actors = list(actors)
        self._stall_seconds = stall_seconds
        self._home: dict[str, int] = {}

    def episode_groups(
        self, problems: Iterable[Problem], uids: Iterable[str], on_group: OnGroup | None = None, **request: Any
    ) -> list[Group]:
        """Samples one group of siblings per problem.

        Args:
            problems: One group each.
            uids: Unique ids of the groups, as many as problems.
            on_group: Called with each group as it is finished, in whatever order.
            request: Remaining arguments of ``RolloutActor.rollout_group``.
        """
        calls = [
            (index % len(self.actors), "rollout_group", (problem,), uid)
            for index, (problem, uid) in enumerate(zip(problems, uids, strict=True))
        ]
        return self._collect(calls, on_group, request)

    def step_groups(
        self,
        failures: Iterable[tuple[Trajectory, int]],
        uids: Iterable[str],
        on_group: OnGroup | None = None,
        **request: Any,
    ) -> list[Group]:
        """Resamples failed steps, given as (parent, step index), one group of continuations each (spec E.7)."""
        calls = [
            (self._home.get(parent.id, 0), "continue_step", (parent, step), uid)
            for (parent, step), uid in zip(failures, uids, strict=True)
        ]
        return self._collect(calls, on_group, request)

    def isolation(self) -> list[dict[str, Any]]:
        """The confinement that each actor's programs run under, as it was probed."""
        return list(ray.get([actor.isolation.remote() for actor in self.actors]))

    def _collect(
        self,
        calls: list[tuple[int, str, tuple[Any, ...], str]],
        on_group: OnGroup | None,
        request: dict[str, Any],
    ) -> list[Group]:
        owed = {}
        for position, (actor, method, arguments, uid) in enumerate(calls):
            reference = getattr(self.actors[actor], method).remote(*arguments, uid=uid, **request)
            owed[reference] = (position, actor)
        groups: dict[int, Group] = {}
        last_news = time.monotonic()
        while owed:
            done, _ = ray.wait(list(owed), timeout=min(WAIT_SECONDS, self._stall_seconds))
            if done:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > self._stall_seconds:
                culprits = sorted({actor for _, actor in owed.values()})
                raise RolloutStalledError(
                    f"no group was finished for {self._stall_seconds:.0f} s; rollout actors {culprits} owe {len(owed)}"
                )
            for reference in done:
                position, actor = owed.pop(reference)
                group = _received(reference, actor)
                groups[position] = group
                self._home.update((trajectory.id, actor) for trajectory in group.trajectories)
                if on_group is not None:
                    on_group(group)
        return [groups[position] for position in sorted(groups)]


def _received(reference: Any, actor: int) -> Group:
    try:
        group: Group = ray.get(reference)
    except ray.exceptions.RayActorError as error:
        raise RolloutActorDiedError(f"rollout actor {actor} died: {error}") from error
    except EngineError as error:
        # Ray raises it as one of its own too, whose text is a traceback.
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        raise RolloutActorDiedError(f"the engine of rollout actor {actor} failed: {cause}") from error
    return group
