"""All rollout actors as one: work goes where its key-value cache lies, or wherever there is room."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Call:
    """One piece of work for a rollout actor.

    Attributes:
        key: What the caller knows it by.
        method: Of the actor.
        arguments: By name.
        home: Position of the one actor that is to do it; ``None`` leaves it to whichever has room first.
    """

    key: Any
    method: str
    arguments: Mapping[str, Any]
    home: int | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A piece of work that is done.

    Attributes:
        call: Which.
        result: What the method returned.
        actor: Position of the actor that did it.
        started_at: When it was sent, Unix time of this process.
        ended_at: When its result was here.
    """

    call: Call
    result: Any
    actor: int
    started_at: float
    ended_at: float


class RolloutStalledError(WorkerError):
    """No group was finished for so long that an engine must hang. Says which actors still owe groups."""


class RolloutActorDiedError(WorkerError):
    """The process of a rollout actor, or its engine, ended; the message says which and, as far as is known, why."""


class RolloutFleet:
    """Sends work to rollout actors.

    A group stays on one actor, and the continuations of a failed step go to the actor that sampled its parent,
    since that engine still holds the prefix's key-value cache. Episode groups are dealt out in turn. What has no home
    (``stream``) waits here until some actor has room, so that a quick one takes over what a slow one has not begun.

    Args:
        actors: Handles of started rollout actors.
        stall_seconds: How long nothing at all may finish before ``RolloutStalledError`` is raised.
        room: Calls without a home that one actor is given at a time; as many as its engine decodes side by side.
    """

    def __init__(self, actors: Sequence[ActorHandle], stall_seconds: float = 600.0, room: int = 128) -> None:
        self.actors = list(actors)
        self._room = room
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
            Call(index, "rollout_group", {"problem": problem, "uid": uid, **request}, index % len(self.actors))
            for index, (problem, uid) in enumerate(zip(problems, uids, strict=True))
        ]
        return self._collect(calls, on_group)

    def step_groups(
        self,
        failures: Iterable[tuple[Trajectory, int]],
        uids: Iterable[str],
        on_group: OnGroup | None = None,
        **request: Any,
    ) -> list[Group]:
        """Resamples failed steps, given as (parent, step index), one group of continuations each (spec E.7)."""
        calls = [
            Call(
                index,
                "continue_step",
                {"parent": parent, "step_index": step, "uid": uid, **request},
                self._home.get(parent.id, 0),
            )
            for index, ((parent, step), uid) in enumerate(zip(failures, uids, strict=True))
        ]
        return self._collect(calls, on_group)

    def stream(self, calls: Iterable[Call]) -> Iterator[Completed]:
        """Does all calls and yields each as it is done, in whatever order; no call waits for another.

        Calls with a home are sent at once. Those without are sent in order, each to the actor with the fewest of them,
        once that has room; they are taken from ``calls`` no sooner.

        Raises:
            RolloutStalledError: nothing has been finished for too long.
            RolloutActorDiedError: an actor or its engine has died.
        """
        waiting = iter(calls)
        upcoming = next(waiting, None)
        owed: dict[Any, tuple[Call, int, float]] = {}
        last_news = time.monotonic()
        while upcoming is not None or owed:
            while upcoming is not None and (actor := self._actor_for(upcoming, owed.values())) is not None:
                reference = getattr(self.actors[actor], upcoming.method).remote(**upcoming.arguments)
                owed[reference] = (upcoming, actor, time.time())
                upcoming = next(waiting, None)
            done, _ = ray.wait(list(owed), timeout=min(WAIT_SECONDS, self._stall_seconds))
            if done:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > self._stall_seconds:
                culprits = sorted({actor for _, actor, _ in owed.values()})
                raise RolloutStalledError(
                    f"no group was finished for {self._stall_seconds:.0f} s; rollout actors {culprits} owe {len(owed)}"
                )
            for reference in done:
                call, actor, started_at = owed.pop(reference)
                yield Completed(call, _received(reference, actor), actor, started_at, time.time())

    def retire(self, actor: ActorHandle) -> None:
        """Sends nothing more to an actor that has died; what it sampled has no home any more. Twice is no harm."""
        if actor in self.actors:
            self.actors.remove(actor)
            self._home.clear()

    def isolation(self) -> list[dict[str, Any]]:
        """The confinement that each actor's programs run under, as it was probed."""
        return list(ray.get([actor.isolation.remote() for actor in self.actors]))

    def _actor_for(self, call: Call, owed: Iterable[tuple[Call, int, float]]) -> int | None:
        """Where to send a call; ``None`` if it has to wait."""
        if call.home is not None:
            return call.home
        busy = Counter(actor for other, actor, _ in owed if other.home is None)
        free = min(range(len(self.actors)), key=lambda actor: busy[actor])
        return free if busy[free] < self._room else None

    def _collect(self, calls: Sequence[Call], on_group: OnGroup | None) -> list[Group]:
        groups: dict[int, Group] = {}
        for completed in self.stream(calls):
            group: Group = completed.result
            groups[completed.call.key] = group
            self._home.update((trajectory.id, completed.actor) for trajectory in group.trajectories)
            if on_group is not None:
                on_group(group)
        return [groups[position] for position in sorted(groups)]


def _received(reference: Any, actor: int) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayActorError as error:
        raise RolloutActorDiedError(f"rollout actor {actor} died: {error}") from error
    except EngineError as error:
        # Ray raises it as one of its own too, whose text is a traceback.
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        raise RolloutActorDiedError(f"the engine of rollout actor {actor} failed: {cause}") from error
