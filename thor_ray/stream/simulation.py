"""Engines and a learner in virtual time, driven by the real `RolloutCoordinator` (benches/scale_sim.py, tests).

Nothing here sleeps: a heap of coming events is the clock. Groups take long-tailed times, engines die and are replaced,
groups are filtered. What is measured of the real code is the processor time of its calls.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, TypeVar

from thor_ray.stream.concurrency import ConcurrencyRule, EnginePressure
from thor_ray.stream.coordinator import AbortOrder, RolloutCoordinator
from thor_ray.stream.groups import Part, ReadyGroup, Ticket
from thor_ray.stream.scheduler import EngineScheduler
from thor_ray.stream.stream import TrajectoryStream

T = TypeVar("T")

TOKENS_PER_SECOND = 100.0
"""Of one group, all its siblings together. Only ratios of times matter."""


@dataclass(frozen=True, slots=True)
class World:
    """What is simulated.

    Attributes:
        engines: Engines at the start, and again after each death.
        places: Groups that an engine samples at a time without slowing down.
        mean_seconds: Of sampling a group, if it were not for ``longest``.
        spread: Sigma of the log-normal distribution of seconds; 0 is none at all.
        longest: Token budget, in means: no group takes longer.
        update_seconds: Learner's time for what it takes.
        publish_seconds: For weights to arrive; sampling goes on meanwhile.
        filtered: Share of groups that dynamic sampling filters.
        death_every: Mean seconds between deaths of engines; ``None`` for immortal ones.
        restart_seconds: Until a dead engine's successor is up.
        colocated: Engines sleep while the learner trains, so that the tail is cut (needs ``over_sample``).
        durations: Seconds of sampling, one of which is drawn for each group, in place of the log-normal distribution.
    """

    engines: int
    places: int = 8
    mean_seconds: float = 60.0
    spread: float = 1.0
    longest: float = 6.0
    update_seconds: float = 30.0
    publish_seconds: float = 1.0
    filtered: float = 0.0
    death_every: float | None = None
    restart_seconds: float = 120.0
    colocated: bool = False
    durations: tuple[float, ...] = ()

    def seconds(self, seed: int, sequence: int) -> float:
        """How long one group samples: always the same for the same group."""
        if self.durations:
            return Random(f"{seed}:{sequence}:seconds").choice(self.durations)
        drawn = Random(f"{seed}:{sequence}:seconds").lognormvariate(-(self.spread**2) / 2, self.spread)
        return self.mean_seconds * min(self.longest, drawn)

    def is_filtered(self, seed: int, sequence: int) -> bool:
        """Whether dynamic sampling will filter a group."""
        return Random(f"{seed}:{sequence}:filter").random() < self.filtered


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        trained: Uids in the order of training.
        staleness: Of each trained group, how many versions its oldest token lay behind.
        seconds: Virtual time.
        busy_seconds: Places of engines times seconds in which they sampled something.
        wasted_seconds: The part of it that was thrown away, with engines that died and with groups that became too old.
        driver_seconds: Processor time of all calls of the real code.
        events: How many there were.
    """

    trained: list[str] = field(default_factory=list)
    staleness: list[int] = field(default_factory=list)
    seconds: float = 0.0
    busy_seconds: float = 0.0
    wasted_seconds: float = 0.0
    driver_seconds: float = 0.0
    events: int = 0


class _Sampling(NamedTuple):
    """One attempt at a group. The moment it began tells it from other attempts."""

    ticket: Ticket
    engine: str
    began: float
    versions: dict[int, int]


class Simulation:
    """Runs a stream to its end, or for so many events.

    Args:
        stream: New or restored.
        world: What surrounds it.
        seed: Of all chance.
        rule: Of the engines' concurrency; by default exactly ``world.places``.
    """

    def __init__(
        self, stream: TrajectoryStream, world: World, seed: int = 0, rule: ConcurrencyRule | None = None
    ) -> None:
        self.stream, self.world, self.seed = stream, world, seed
        self.rollouts = RolloutCoordinator(
            stream, EngineScheduler(rule or ConcurrencyRule(world.places, world.places, world.places))
        )
        self.outcome = Outcome()
        self.now = 0.0
        self._random = Random(f"{seed}:{stream.admitted}:world")
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._engines: list[str] = []
        self._born = 0
        self._sampling: dict[str, _Sampling] = {}
        self._published_at: list[tuple[float, int]] = [(0.0, stream.version)]
        # A checkpoint between an update and its publication: the learner publishes first of all.
        self._learning = stream.unpublished > 0
        if self._learning:
            self._after(world.publish_seconds, self._published)
        for _ in range(world.engines):
            self._birth()
        if world.death_every is not None:
            self._schedule_death(world.death_every)

    def run(self, max_events: int | None = None, until_version: int | None = None) -> Outcome:
        """Goes on until the stream is done.

        Args:
            max_events: Or for this many more events.
            until_version: Or until this version is published.

        Raises:
            RuntimeError: nothing can happen any more, though the stream is not done.
        """
        self._advance()
        last = None if max_events is None else self.outcome.events + max_events
        while not (self.stream.done and not self._learning) and self.outcome.events != last:
            if self.stream.version == until_version:
                break
            if not self._events:
                raise RuntimeError(f"deadlock at {self.now:.0f} s after {self.outcome.events} events")
            self.now, _, event = heapq.heappop(self._events)
            self.outcome.events += 1
            event()
            self._advance()
        self.outcome.seconds = self.now
        return self.outcome

    def _advance(self) -> None:
        """Carries out what may be done now."""
        if self.world.colocated and not self._learning:
            for abort in self._driver(self.rollouts.cut_tail):
                self._suspend(abort)
        if not self._learning and (groups := self._driver(self.stream.take)):
            self._learning = True
            self._after(self.world.update_seconds, lambda: self._updated(groups))
        if self.world.colocated and self._learning:
            return
        for order in self._driver(self.rollouts.start):
            self._begin(order.ticket, order.engine)

    def _begin(self, ticket: Ticket, engine: str) -> None:
        versions = dict(ticket.partial.versions) if ticket.partial is not None else {}
        attempt = _Sampling(ticket, engine, self.now, versions)
        self._sampling[ticket.uid] = attempt
        done = sum(versions.values()) / TOKENS_PER_SECOND
        rest = max(0.0, self.world.seconds(self.seed, ticket.sequence) - done)
        self._after(rest, lambda: self._sampled(attempt))

    def _sampled(self, attempt: _Sampling) -> None:
        if self._sampling.get(attempt.ticket.uid) is not attempt:
            return
        uid = attempt.ticket.uid
        load = len(self.rollouts.scheduler.running(attempt.engine)) / self.world.places
        pressure = EnginePressure(min(1.0, 0.8 * load), preemptions=int(load > 1.25))
        self._driver(lambda: self.rollouts.pressure(attempt.engine, pressure))
        samples = self._stop(uid)
        if self.world.is_filtered(self.seed, attempt.ticket.sequence):
            self._driver(lambda: self.rollouts.filtered(uid, attempt.engine, "zero_variance"))
        else:
            self._driver(lambda: self.rollouts.finished(uid, attempt.engine, samples))

    def _suspend(self, abort: AbortOrder) -> None:
        samples = self._stop(abort.uid)
        self._driver(lambda: self.rollouts.suspended(abort.uid, abort.engine, samples))

    def _throw_away(self, uid: str) -> None:
        self.outcome.wasted_seconds += self.now - self._sampling[uid].began
        self._stop(uid)

    def _stop(self, uid: str) -> Part:
        """Ends an attempt and returns what it sampled, token by token with the version that was served just then."""
        attempt = self._sampling.pop(uid)
        self.outcome.busy_seconds += self.now - attempt.began
        versions, end = dict(attempt.versions), self.now
        for published_at, version in reversed(self._published_at):
            begin = max(published_at, attempt.began)
            versions[version] = versions.get(version, 0) + round((end - begin) * TOKENS_PER_SECOND)
            if published_at <= attempt.began:
                versions[version] += 1
                break
            end = published_at
        return Part(f"simulated/{uid}", versions)

    def _updated(self, groups: list[ReadyGroup]) -> None:
        for group in groups:
            self.outcome.trained.append(group.uid)
            self.outcome.staleness.append(self.stream.version - group.samples.oldest_version)
        self._driver(self.stream.settle)
        self._after(self.world.publish_seconds, self._published)

    def _published(self) -> None:
        version = self.stream.version + 1
        self._published_at.append((self.now, version))
        for abort in self._driver(lambda: self.rollouts.published(version)):
            self._throw_away(abort.uid)
        self._learning = False

    def _birth(self) -> None:
        name = f"engine{self._born}"
        self._born += 1
        self._engines.append(name)
        self._driver(lambda: self.rollouts.engine_joined(name))

    def _schedule_death(self, mean_seconds: float) -> None:
        self._after(self._random.expovariate(1 / mean_seconds), lambda: self._death(mean_seconds))

    def _death(self, mean_seconds: float) -> None:
        if self._engines:
            name = self._engines.pop(self._random.randrange(len(self._engines)))
            for uid in [uid for uid, attempt in self._sampling.items() if attempt.engine == name]:
                self._throw_away(uid)
            self._driver(lambda: self.rollouts.engine_lost(name))
            self._after(self.world.restart_seconds, self._birth)
        self._schedule_death(mean_seconds)

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._events, (self.now + seconds, self._scheduled, event))

    def _driver(self, call: Callable[[], T]) -> T:
        """Calls real code, and counts its processor time, which other processes on the machine do not add to."""
        began = time.thread_time()
        result = call()
        self.outcome.driver_seconds += time.thread_time() - began
        return result
