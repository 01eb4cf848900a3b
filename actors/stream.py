"""Rollouts that run ahead of the learner: carries out, on real engines, what `RolloutCoordinator` orders.

All decisions are the coordinator's, which is pure; here is what waits. An event loop in a thread of its own starts
families as soon as there is room, hands finished ones to the stream and gives up engines that have died, while the
learner works in the thread that calls `RolloutDriver`. Weights are replaced while families run: an engine pauses,
loads and goes on, and every token names the version that sampled it.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import ray
from ray.exceptions import TaskCancelledError

from actors.busy_time import BusyTime
from actors.family_tokens import Family, Outline, apart, leave
from actors.generation import EngineError, WeightsUndefinedError
from actors.going_on import is_suspended
from actors.supervision import LOSSES, ActorHandle, RolloutActorDiedError, cause_of, died_with_its_node, no_token
from thor_ray.config import LivenessConfig
from thor_ray.selection import TrajectoryReject
from thor_ray.stream import Part, RolloutCoordinator, StartOrder, Ticket, version_counts

T = TypeVar("T")

OnLost = Callable[["LostEngine"], bool]
"""Is told at once, in the driver's own thread, of an engine that was given up; whether others are left, or may come."""


@dataclass(frozen=True, slots=True)
class SampledFamily:
    """All that was sampled for one group of the stream.

    Attributes:
        uid: In the stream.
        problem: Index of its problem.
        groups: Its episode group and step groups; their tokens lie in the object store, or here after a resume.
        rejected: As of `Outline`.
        filtered: Whether it was dropped by ``reject`` and is here to be recorded only.
    """

    uid: str
    problem: int
    groups: Family
    rejected: Mapping[str, TrajectoryReject] = field(default_factory=dict)
    filtered: bool = False

    @property
    def suspended(self) -> bool:
        """Whether some of it has still to go on."""
        return any(map(is_suspended, self.groups))


@dataclass(frozen=True, slots=True)
class LostEngine:
    """An engine that was given up.

    Attributes:
        name: As it was given.
        actor: Its handle.
        reason: Why.
    """

    name: str
    actor: ActorHandle
    reason: str


class RolloutDriver:
    """Engines that sample for a stream, as a context manager; leaving it abandons what is still being sampled.

    Methods block and are to be called by one thread.

    Args:
        coordinator: Has no engines yet, and is not to be touched by anybody else from now on.
        engines: Rollout actors by name; all serve the stream's version of the weights.
        request: The arguments of ``RolloutActor.sample_family`` for a ticket, less ``uid``.
        reject: Why a family has nothing to teach, so that another one is sampled for it; ``None`` if it has.
        families: Those that had been sampled, and not yet taken, when the stream's checkpoint was.
        liveness: After how long an engine that finishes no family has to prove that it lives.
        on_lost: Replaces engines that are given up, which are to ``join`` once they serve the stream's version.
    """

    def __init__(
        self,
        coordinator: RolloutCoordinator,
        engines: Mapping[str, ActorHandle],
        request: Callable[[Ticket], Mapping[str, Any]],
        reject: Callable[[SampledFamily], str | None] = lambda family: None,
        families: Sequence[SampledFamily] = (),
        liveness: LivenessConfig | None = None,
        on_lost: OnLost = lambda lost: False,
    ) -> None:
        self._coordinator = coordinator
        self._engines = dict(engines)
        self._request = request
        self._reject = reject
        self._families = {family.uid: family for family in families if not (family.filtered or family.suspended)}
        self._partials = {family.uid: family for family in families if family.suspended}
        self._filtered = [family for family in families if family.filtered]
        self._liveness = liveness or LivenessConfig()
        self._on_lost = on_lost
        self._heard: dict[str, float] = {}
        self._gone: set[str] = set()
        """Engines that were given up, however late somebody still takes them for living."""
        self._calls: dict[tuple[str, str], Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = BusyTime()
        self._asked: set[str] = set()
        """Engines that are being asked for their pressure."""
        self._cuts_tail = coordinator.stream.config.over_sample is not None
        self._resting = self._cuts_tail
        """Whether nothing is started, because the learner works and engines are to be empty meanwhile."""
        self._failure: BaseException | None = None
        self._closing = False
        self._news = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._join(list(self._engines)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._abandon())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def engines(self) -> dict[str, ActorHandle]:
        """Those that have not been given up."""
        return self._do(self._snapshot(lambda: dict(self._engines)))

    def join(self, engines: Mapping[str, ActorHandle]) -> None:
        """Engines have come up that serve the stream's version; those that are here already are passed over."""
        self._do(self._welcome(engines))

    def take(self, patience: float = math.inf) -> list[SampledFamily]:
        """Waits for the families of the next update; with them come those that were filtered since the last take.

        Args:
            patience: For how many seconds; nothing is returned if there are not enough families by then.

        Raises:
            StreamStarvedError: nothing but dropped families.
            RolloutActorDiedError: no engine is left.
            ray.exceptions.RayTaskError: sampling failed for a reason that another engine would not cure.
        """
        return self._do(self._take(time.monotonic() + patience))

    def settle(self, skipped: Mapping[str, str]) -> None:
        """The learner is through with what it took; see `TrajectoryStream.settle`."""
        self._do(self._settle(skipped))

    def published(self, version: int) -> None:
        """All engines serve another version; see `RolloutCoordinator.published`."""
        self._do(self._publish(version))

    def snapshot(self, state: Callable[[RolloutCoordinator], T]) -> tuple[T, list[SampledFamily]]:
        """Something about the coordinator, and the families that are sampled, maybe in part, and not taken."""
        return self._do(self._snapshot(lambda: (state(self._coordinator), self._kept())))

    def busy_share(self) -> float:
        """Share of the engines' time since the last call in which they had something to sample, in [0, 1]."""
        return self._do(self._snapshot(lambda: self._busy.share(time.monotonic())))

    # ------------------------------------------------------------------------------------------ in the loop's thread

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _snapshot(self, look: Callable[[], T]) -> T:
        return look()

    async def _join(self, names: Sequence[str]) -> None:
        for name in names:
            self._coordinator.engine_joined(name)
        self._start()

    async def _welcome(self, engines: Mapping[str, ActorHandle]) -> None:
        new = engines.keys() - self._engines.keys() - self._gone
        self._engines.update((name, engines[name]) for name in new)
        await self._join(sorted(new))

    async def _take(self, deadline: float) -> list[SampledFamily]:
        while True:
            if self._failure is not None:
                raise self._failure
            await self._rest_or_sample()
            if taken := self._coordinator.stream.take():
                break
            if time.monotonic() >= deadline:
                return []
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(deadline - time.monotonic(), self._liveness.silence_seconds)):
                    await self._news.wait()
            await self._demand_signs_of_life()
        filtered, self._filtered = self._filtered, []
        return [self._families.pop(each.uid) for each in taken] + filtered

    async def _rest_or_sample(self) -> None:
        """Where the tail is cut: empties engines once the next take has enough, and lets them sample until then."""
        if not self._cuts_tail:
            return
        if not self._coordinator.stream.enough:
            self._resting = False
            self._start()
            return
        self._resting = True
        for order in self._coordinator.cut_tail():
            self._engines[order.engine].suspend_family.remote(order.uid)
        while self._calls and self._failure is None:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._liveness.silence_seconds):
                    await self._news.wait()
            await self._demand_signs_of_life()

    async def _settle(self, skipped: Mapping[str, str]) -> None:
        self._coordinator.stream.settle(skipped)
        self._start()

    async def _publish(self, version: int) -> None:
        for order in self._coordinator.published(version):
            if (reference := self._calls.get((order.uid, order.engine))) is not None:
                ray.cancel(reference)
        self._forget_dropped()
        self._start()

    def _kept(self) -> list[SampledFamily]:
        return [*self._families.values(), *self._filtered, *self._partials.values()]

    def _start(self) -> None:
        """Carries out what is due; called after all news."""
        for order in () if self._closing or self._resting else self._coordinator.start():
            task = self._loop.create_task(self._sample(order, self._engines[order.engine]))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        running = Counter(engine for _, engine in self._calls)
        self._busy.note(time.monotonic(), len(running.keys() & self._engines.keys()), len(self._engines))
        self._news.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours would only be repeated by another engine: the learner's thread gets it with its next take.
            self._failure = error
            self._news.set()

    async def _sample(self, order: StartOrder, actor: ActorHandle) -> None:
        uid, engine = order.ticket.uid, order.engine
        if not any(busy == engine for _, busy in self._calls):
            self._heard[engine] = time.monotonic()
        request = dict(self._request(order.ticket))
        if (partial := self._partials.get(uid)) is not None:
            request["partial"], request["partial_tokens"] = apart(partial.groups)
        reference, tokens = actor.sample_family.options(num_returns=2).remote(**request, uid=uid)
        self._calls[uid, engine] = reference
        try:
            # An engine that is silent for too long has to prove that it lives, or is killed, which ends this.
            outline: Outline = await reference
            await arrival(tokens, self._liveness.token_seconds)
        except TaskCancelledError:
            # By us: the stream has forgotten the group already.
            pass
        except LOSSES as error:
            self._give_up(engine, cause_of(error), suspect=not died_with_its_node(error))
        else:
            self._heard[engine] = time.monotonic()
            self._ended_sampling(order, outline, tokens)
            self._ask_pressure(engine, actor)
        finally:
            del self._calls[uid, engine]
            self._start()

    def _ended_sampling(self, order: StartOrder, outline: Outline, tokens: Any) -> None:
        uid, family = order.ticket.uid, leave(outline.groups, tokens)
        sampled = SampledFamily(uid, order.ticket.problem, family, outline.rejected)
        versions = sum((Counter(version_counts(group)) for group in family), Counter())
        if sampled.suspended:
            self._coordinator.suspended(uid, order.engine, Part(uid, versions) if versions else None)
            if versions:
                self._partials[uid] = sampled
            self._forget_dropped()
            return
        self._partials.pop(uid, None)
        reason = self._reject(sampled)
        if reason is not None:
            if self._coordinator.filtered(uid, order.engine, reason):
                self._filtered.append(replace(sampled, filtered=True))
            return
        if self._coordinator.finished(uid, order.engine, Part(uid, versions)):
            self._families[uid] = sampled

    def _ask_pressure(self, engine: str, actor: ActorHandle) -> None:
        """Lets an engine that has finished something say how full it is; its limit follows."""
        if engine not in self._asked:
            self._asked.add(engine)
            task = self._loop.create_task(self._hear_pressure(engine, actor))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _hear_pressure(self, engine: str, actor: ActorHandle) -> None:
        # One that dies or hangs is found out by those who wait for its families.
        with contextlib.suppress(TimeoutError, *LOSSES):
            async with asyncio.timeout(self._liveness.token_seconds):
                pressure = await actor.pressure.remote()
            self._coordinator.pressure(engine, pressure)
            self._start()
        self._asked.discard(engine)

    def _forget_dropped(self) -> None:
        for kept in (self._families, self._partials):
            for uid in kept.keys() - self._coordinator.stream.in_flight.keys():
                del kept[uid]

    def _give_up(self, name: str, reason: str, *, suspect: bool = True) -> None:
        actor = self._engines.pop(name, None)
        if actor is None:
            return
        self._gone.add(name)
        self._coordinator.engine_lost(name, suspect=suspect)
        # One that hangs must not serve old weights some day.
        ray.kill(actor)
        if not self._on_lost(LostEngine(name, actor, reason)) and not self._engines:
            self._failure = RolloutActorDiedError(f"no rollout actor is left; the last one, {name}, ended: {reason}")

    async def _demand_signs_of_life(self) -> None:
        """Gives up engines that owe families, have finished none for long, and do not generate a token in time.

        Asked while the learner waits for families only, so that no engine is receiving weights.
        """
        long_ago = time.monotonic() - self._liveness.silence_seconds
        owing = {engine for _, engine in self._calls} & self._engines.keys()
        silent = sorted(name for name in owing if self._heard[name] < long_ago)
        faults = await asyncio.gather(*(self._fault_of(name, self._engines[name]) for name in silent))
        for name, fault in zip(silent, faults, strict=True):
            if fault is not None:
                self._give_up(name, fault)
        if any(faults):
            self._start()

    async def _fault_of(self, name: str, actor: ActorHandle) -> str | None:
        """Why an engine does not count as alive; ``None`` if it does."""
        self._heard[name] = time.monotonic()
        try:
            async with asyncio.timeout(self._liveness.token_seconds):
                await actor.ready.remote()
        except WeightsUndefinedError:
            return None
        except TimeoutError:
            return no_token(self._liveness.token_seconds)
        except LOSSES as error:
            return cause_of(error)
        return None

    async def _abandon(self) -> None:
        self._closing = True
        for reference in self._calls.values():
            ray.cancel(reference)
        # A take that its caller gave up, at an interrupt, is among them.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def arrival(tokens: Awaitable[Any], seconds: float) -> None:
    """Waits until this node has a copy, in memory that processes share, so that no other node's death loses it.

    Raises:
        EngineError: it does not come in time.
    """
    try:
        async with asyncio.timeout(seconds):
            await tokens
    except TimeoutError as error:
        raise EngineError(f"tokens that were sampled did not come in {seconds:g} s") from error
