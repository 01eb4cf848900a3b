"""All rollout actors as one: work goes where its key-value cache lies, or wherever there is room."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ray
from ray.exceptions import RayActorError

from actors.supervision import (
    LOSSES,
    POLL_SECONDS,
    ActorHandle,
    Engine,
    EngineSupervisor,
    Repair,
    RolloutActorDiedError,
    cause_of,
    died_with_its_node,
)
from thor_ray.config import LivenessConfig
from thor_ray.errors import WorkerError
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import Group, Trajectory

OnGroup = Callable[[Group], None]

WAIT_SECONDS: Final = 5.0
"""How long to wait for news at a time."""

ISOLATION_SECONDS: Final = 60.0
"""How long actors may take to tell what they know already."""

MOST_ATTEMPTS: Final = 3
"""How many engines a call may be lost with, before it must be what kills them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One piece of work for a rollout actor.

    Attributes:
        key: What the caller knows it by.
        method: Of the actor.
        arguments: By name.
        home: Place of the actor that is to do it, as long as there is one; ``None`` leaves it to whichever has room first.
        attempts: How many engines it was lost with that may have died of it: those that went with their nodes did not.
    """

    key: Any
    method: str
    arguments: Mapping[str, Any]
    home: int | None = None
    attempts: int = 0


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


class RolloutFleet:
    """Sends work to rollout actors, and replaces those that die or hang.

    A group stays on one actor, and the continuations of a failed step go to the actor that sampled its parent,
    since that engine still holds the prefix's key-value cache. Episode groups are dealt out in turn. What has no home
    (``stream``) waits here until some actor has room, so that a quick one takes over what a slow one has not begun.
    What an actor had not finished when it was lost is done again by another, from the same seeds.

    Args:
        actors: Handles of started rollout actors.
        stall_seconds: How long nothing at all may finish before ``RolloutStalledError`` is raised.
        room: Calls without a home that one actor is given at a time; as many as its engine decodes side by side.
        repair: How to replace actors; ``None`` raises as soon as one is lost.
        liveness: When an actor counts as hung; looked at only where it would be replaced.

    Attributes:
        supervisor: Sees to it that there are actors.
    """

    def __init__(
        self,
        actors: Sequence[ActorHandle],
        stall_seconds: float = 600.0,
        room: int = 128,
        repair: Repair | None = None,
        liveness: LivenessConfig | None = None,
    ) -> None:
        self.supervisor = EngineSupervisor(actors, repair, liveness)
        self._room = room
        self._stall_seconds = stall_seconds
        self._home: dict[str, int] = {}

    @property
    def actors(self) -> list[ActorHandle]:
        """Those that may be given prompts, in order of their places."""
        return [engine.actor for engine in self.supervisor.serving]

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
            Call(
                index, "rollout_group", {"problem": problem, "uid": uid, **request}, index % len(self.supervisor.places)
            )
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
            RolloutActorDiedError: an actor or its engine has died and is not replaced; or a call was lost with so many
                that it must be to blame.
        """
        waiting, lost = iter(calls), deque[Call]()
        owed: dict[Any, _Owed] = {}
        heard = _Heard()
        upcoming = next(waiting, None)
        while upcoming is not None or lost or owed:
            self.supervisor.mend()
            while (call := lost[0] if lost else upcoming) is not None and (engine := self._engine_for(call, owed)):
                owed[getattr(engine.actor, call.method).remote(**call.arguments)] = _Owed(call, engine)
                if lost:
                    lost.popleft()
                else:
                    upcoming = next(waiting, None)
            for reference in self._news(owed):
                done = owed.pop(reference)
                try:
                    result = ray.get(reference)
                except LOSSES as error:
                    lost.append(self._lose(done, error))
                else:
                    heard.note(done.engine)
                    yield Completed(done.call, result, done.engine.place, done.started_at, time.time())
            self._listen(heard, owed.values())

    def isolation(self) -> list[dict[str, Any]]:
        """The confinement that each actor's programs run under, as it was probed."""
        return list(ray.get([actor.isolation.remote() for actor in self.actors], timeout=ISOLATION_SECONDS))

    def _engine_for(self, call: Call, owed: Mapping[Any, "_Owed"]) -> Engine | None:
        """Where to send a call; ``None`` if it has to wait."""
        serving = self.supervisor.serving
        if (home := next((engine for engine in serving if engine.place == call.home), None)) is not None:
            return home
        busy = Counter(each.engine.name for each in owed.values())
        free = min(serving, key=lambda engine: busy[engine.name], default=None)
        # A call whose home is gone had been sent at once, and is again.
        return free if free and (call.home is not None or busy[free.name] < self._room) else None

    def _news(self, owed: Mapping[Any, "_Owed"]) -> list[Any]:
        """Waits a while for calls that end, or engines that are up."""
        references = [*owed, *self.supervisor.starting]
        if not references:
            time.sleep(POLL_SECONDS)
            return []
        ended, _ = ray.wait(references, timeout=min(WAIT_SECONDS, self._stall_seconds))
        return [reference for reference in ended if reference in owed]

    def _listen(self, heard: "_Heard", owed: Iterable["_Owed"]) -> None:
        """Has actors that have been silent for long prove that they live.

        Raises:
            RolloutStalledError: nothing came from any of them for too long, although they do.
        """
        owed = list(owed)
        liveness = self.supervisor.liveness
        if self.supervisor.repairs and (silent := heard.silent(owed, liveness.silence_seconds)):
            if self.supervisor.lose_the_dead(silent):
                heard.anew()
            heard.proved(silent)
        elif owed and heard.nothing_for > self._stall_seconds:
            culprits = sorted({each.engine.place for each in owed})
            raise RolloutStalledError(
                f"no group was finished for {self._stall_seconds:.0f} s; rollout actors {culprits} owe {len(owed)}"
            )

    def _lose(self, done: "_Owed", error: Exception) -> Call:
        """Reports an actor's death, and gives the call that is to be done again.

        Raises:
            RolloutActorDiedError: it is not replaced, or the call has outlived too many.
        """
        place = done.engine.place
        what = "rollout actor {} died" if isinstance(error, RayActorError) else "the engine of rollout actor {} failed"
        reason = f"{what.format(place)}: {cause_of(error)}"
        if not self.supervisor.repairs:
            raise RolloutActorDiedError(reason) from error
        self.supervisor.lost(done.engine.name, reason)
        attempts = done.call.attempts + (not died_with_its_node(error))
        if attempts >= MOST_ATTEMPTS:
            what = done.call.arguments.get("uid", done.call.key)
            raise RolloutActorDiedError(f"{what} was lost with {attempts} engines; lastly, {reason}") from error
        return replace(done.call, attempts=attempts)

    def _collect(self, calls: Sequence[Call], on_group: OnGroup | None) -> list[Group]:
        groups: dict[int, Group] = {}
        for completed in self.stream(calls):
            group: Group = completed.result
            groups[completed.call.key] = group
            self._home.update((trajectory.id, completed.actor) for trajectory in group.trajectories)
            if on_group is not None:
                on_group(group)
        return [groups[position] for position in sorted(groups)]


@dataclass(frozen=True, slots=True)
class _Owed:
    """A call that an engine has been given, and when: Unix time, and seconds of the clock that never jumps."""

    call: Call
    engine: Engine
    started_at: float = field(default_factory=time.time)
    since: float = field(default_factory=time.monotonic)


class _Heard:
    """When each engine, and any of them, last finished a call or proved that it lives."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._last_of: dict[str, float] = {}

    @property
    def nothing_for(self) -> float:
        """Seconds since anything was heard from anybody."""
        return time.monotonic() - self._last

    def note(self, engine: Engine) -> None:
        """An engine has finished a call."""
        self._last = self._last_of[engine.name] = time.monotonic()

    def proved(self, engines: Iterable[Engine]) -> None:
        """Engines have been asked whether they live."""
        self._last_of.update((engine.name, time.monotonic()) for engine in engines)

    def anew(self) -> None:
        """Whoever kept all waiting is gone."""
        self._last = time.monotonic()

    def silent(self, owed: Iterable[_Owed], seconds: float) -> list[Engine]:
        """Engines that have owed something for so long, in which nothing was heard of them."""
        oldest: dict[Engine, float] = {}
        for each in owed:
            oldest[each.engine] = min(each.since, oldest.get(each.engine, each.since))
        now = time.monotonic()
        return [
            engine
            for engine, since in oldest.items()
            if now - max(since, self._last_of.get(engine.name, since)) > seconds
        ]
