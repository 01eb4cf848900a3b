"""Which engine samples which group: sticky where a prefix is cached, else where there is most room, by stealing if need be.

Pure bookkeeping over engine names and uids. Invariants:

* A group is queued once or runs on one engine.
* An engine never has a group started beyond its limit, which tunes itself (`concurrency`).
* Work conserving: after `start`, no engine has room while any group is queued.
* A group with a home, whose engine holds its prefix in the key-value cache, starts there if there is room. If not, any
  engine that would be idle steals it: computing a prefix anew costs less than waiting for a place.

Each call costs O(log engines) amortised per group that it concerns.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field

from thor_ray.stream.concurrency import ConcurrencyRule, EnginePressure

Queue = OrderedDict[str, None]
"""Uids in order, with removal from anywhere in O(1)."""


@dataclass(frozen=True, slots=True)
class Start:
    """``engine`` is to begin with group ``uid``."""

    uid: str
    engine: str


@dataclass(slots=True)
class _Engine:
    name: str
    limit: int
    running: set[str] = field(default_factory=set)
    homed: Queue = field(default_factory=OrderedDict)
    """Unstarted groups whose prefix this engine holds."""

    @property
    def free(self) -> int:
        return max(0, self.limit - len(self.running))

    @property
    def load(self) -> float:
        return len(self.running) / self.limit


class EngineScheduler:
    """See the module's docstring.

    Args:
        rule: Of the limits of all engines.
    """

    def __init__(self, rule: ConcurrencyRule | None = None) -> None:
        self._rule = rule or ConcurrencyRule()
        self._engines: dict[str, _Engine] = {}
        self._free = 0
        self._common: Queue = OrderedDict()
        self._engine_of: dict[str, str] = {}
        self._home_of: dict[str, str] = {}
        # Engines that may have room, the least loaded first. An entry whose figures are out of date is put right when
        # it comes to the top, so that updates cost no search.
        self._roomy: list[tuple[float, str]] = []
        # Engines that may have homed groups, and those where room or such groups have come up since the last start.
        self._robbable: OrderedDict[str, None] = OrderedDict()
        self._changed: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, engine: str) -> bool:
        return engine in self._engines

    @property
    def free(self) -> int:
        """Groups that could be started now, on all engines together."""
        return self._free

    @property
    def queued(self) -> int:
        """Groups that no engine has begun with."""
        return len(self._common) + len(self._home_of)

    def limit(self, engine: str) -> int:
        """Groups that an engine may sample at a time."""
        return self._engines[engine].limit

    def running(self, engine: str) -> frozenset[str]:
        """Groups that an engine samples."""
        return frozenset(self._engines[engine].running)

    def engine_of(self, uid: str) -> str | None:
        """The engine that samples a group; ``None`` if none does."""
        return self._engine_of.get(uid)

    def add_engine(self, engine: str) -> None:
        """An engine is up and serves the current weights. A restarted one needs a new name.

        Raises:
            ValueError: there is one of that name.
        """
        if engine in self._engines:
            raise ValueError(f"there is an engine {engine} already")
        self._engines[engine] = _Engine(engine, self._rule.initial)
        self._free += self._rule.initial
        self._offer(self._engines[engine])

    def lose_engine(self, engine: str) -> list[str]:
        """An engine is gone; groups that it had not begun with lose their home only.

        Returns:
            What it was sampling, in order of their uids.
        """
        gone = self._engines.pop(engine)
        self._free -= gone.free
        self._robbable.pop(engine, None)
        self._changed.pop(engine, None)
        for uid in reversed(gone.homed):
            del self._home_of[uid]
            self._common[uid] = None
            self._common.move_to_end(uid, last=False)
        for uid in gone.running:
            del self._engine_of[uid]
        return sorted(gone.running)

    def enqueue(self, uid: str, *, home: str | None = None, first: bool = False) -> None:
        """Another group is to be sampled.

        Args:
            uid: Neither queued nor running.
            home: Engine that holds its prefix; one that is gone is no home.
            first: Before all others, since it is older than they are.

        Raises:
            ValueError: the group is known.
        """
        if uid in self._engine_of or uid in self._common or uid in self._home_of:
            raise ValueError(f"group {uid} is queued or running already")
        queue = self._common
        if home is not None and home in self._engines:
            self._home_of[uid] = home
            self._robbable[home] = self._changed[home] = None
            queue = self._engines[home].homed
        queue[uid] = None
        if first:
            queue.move_to_end(uid, last=False)

    def release(self, uid: str) -> str | None:
        """A group has ended on its engine, or is not wanted any more.

        Returns:
            The engine that sampled it; ``None`` if it had not begun, or is unknown.
        """
        if (name := self._engine_of.pop(uid, None)) is not None:
            engine = self._engines[name]
            free = engine.free
            engine.running.remove(uid)
            self._free += engine.free - free
            self._offer(engine)
            return name
        if (home := self._home_of.pop(uid, None)) is not None:
            del self._engines[home].homed[uid]
        self._common.pop(uid, None)
        return None

    def report(self, engine: str, pressure: EnginePressure) -> None:
        """An engine tells how full its cache is, and its limit follows."""
        state = self._engines[engine]
        free = state.free
        state.limit = self._rule.next_limit(state.limit, len(state.running), pressure)
        self._free += state.free - free
        self._offer(state)

    def start(self) -> list[Start]:
        """Gives queued groups to engines until groups or room run out."""
        starts = []
        while self._changed:
            home = self._engines[self._changed.popitem(last=False)[0]]
            starts += [self._begin(home, home.homed) for _ in range(min(home.free, len(home.homed)))]
        while self.queued and (engine := self._roomiest()) is not None:
            starts.append(self._begin(engine, self._common or self._victim().homed))
            self._offer(engine)
        return starts

    def _begin(self, engine: _Engine, queue: Queue) -> Start:
        uid, _ = queue.popitem(last=False)
        self._home_of.pop(uid, None)
        engine.running.add(uid)
        self._free -= 1
        self._engine_of[uid] = engine.name
        return Start(uid, engine.name)

    def _victim(self) -> _Engine:
        """An engine with homed groups, each in its turn; there is one whenever only homed groups are queued."""
        while True:
            name, _ = self._robbable.popitem(last=False)
            if self._engines[name].homed:
                self._robbable[name] = None
                return self._engines[name]

    def _offer(self, engine: _Engine) -> None:
        if not engine.free:
            return
        if engine.homed:
            self._changed[engine.name] = None
        heapq.heappush(self._roomy, (engine.load, engine.name))
        if len(self._roomy) > 16 + 4 * len(self._engines):
            self._roomy = [(each.load, each.name) for each in self._engines.values() if each.free]
            heapq.heapify(self._roomy)

    def _roomiest(self) -> _Engine | None:
        while self._roomy:
            load, name = heapq.heappop(self._roomy)
            engine = self._engines.get(name)
            if engine is None or not engine.free:
                continue
            if load == engine.load:
                return engine
            if load < engine.load:
                self._offer(engine)
        return None
