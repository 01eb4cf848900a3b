"""The zygotes of a sandbox: starts them, probes them, replaces those that die, hang or have served long enough.

Knows nothing of programs and queues: who runs what in a zygote hears of it through `Occupant` and `PoolEvents`. All methods
are for the supervisor's thread.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from sandbox import isolation
from sandbox.errors import SandboxUnavailable
from sandbox.isolation import ProbeTargets
from sandbox.reactor import Reactor
from sandbox.request import Request
from sandbox.result import Isolation, Level, Result
from sandbox.wire import Ended, Hello, Message, Refused, Scratch, Started
from sandbox.zygote import State, Zygote, ZygoteOptions

_log = logging.getLogger(__name__)
MAX_START_FAILURES = 3
"""After so many in a row, jobs fail instead of waiting; the next job tries to start a worker again."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Which zygotes are wanted.

    Attributes:
        workers: zygotes that serve at a time.
        children_per_life: children after which a zygote is replaced by a fresh one.
        min_level: a zygote that gives less isolation is refused.
        max_level: the isolation that is tried first.
        own_kernel: whether level 2 or 3 here makes level 4.
        allow_insecure: whether level 0 may run at all.
        zygote: what each zygote is started with.
    """

    workers: int
    children_per_life: int
    min_level: Level
    max_level: Level
    own_kernel: bool
    allow_insecure: bool
    zygote: ZygoteOptions


class PoolEvents(Protocol):
    """What the owner of a pool is told."""

    def probe(self, zygote: Zygote, request: Request, conclude: Callable[[Result], None]) -> None:
        """Run the escape probes in this zygote, and call `conclude` with the result."""

    def out_of_zygotes(self, reason: str) -> None:
        """None could be started; nothing will run before `ensure` is called again."""


class ZygotePool:
    """Keeps `workers` zygotes ready."""

    def __init__(self, options: PoolOptions, reactor: Reactor, targets: ProbeTargets, events: PoolEvents) -> None:
        self._options = options
        self._reactor = reactor
        self._targets = targets
        self._events = events
        self._zygotes: list[Zygote] = []
        self._claims: dict[Zygote, Isolation] = {}
        self._granted: dict[Zygote, Isolation] = {}
        self._level = min(options.max_level, Level.NAMESPACED)
        self._shortfalls: dict[Level, str] = {}
        self._start_failures = 0
        self._ending = False
        self.last_failure = ""
        self.opened: Future[Isolation] = Future()
        """The weakest isolation among the zygotes, once all of them are ready for the first time."""

    def __iter__(self) -> Iterator[Zygote]:
        return iter(tuple(self._zygotes))

    def ready(self) -> list[Zygote]:
        """The zygotes that take new children."""
        return [zygote for zygote in self._zygotes if zygote.state is State.READY]

    def isolation(self, zygote: Zygote) -> Isolation | None:
        """What the probes granted; None while they run."""
        return self._granted.get(zygote)

    def ensure(self) -> None:
        """Starts zygotes until there are as many as asked for; tries again although earlier attempts failed."""
        if self._start_failures >= MAX_START_FAILURES:
            self._start_failures = MAX_START_FAILURES - 1
        self._fill_up()

    def count_child(self, zygote: Zygote) -> None:
        """Notes that one more child was asked for, and replaces a zygote that has made enough of them."""
        zygote.children_made += 1
        if zygote.children_made >= self._options.children_per_life and zygote.state is State.READY:
            zygote.state = State.RETIRING
            self._fill_up()

    def end_if_retired(self, zygote: Zygote) -> None:
        """Ends a zygote that was replaced once it has no child left."""
        if zygote.state is State.RETIRING and not zygote.running:
            self._forget(zygote)
            zygote.end(kill=False)

    def lose(self, zygote: Zygote, reason: str) -> None:
        """Gives up a zygote with everything that runs in it, and starts another."""
        if zygote.state is State.GONE:
            return
        served = zygote.state in (State.READY, State.RETIRING)
        self._forget(zygote)
        reason = f"{reason} ({zygote.end(kill=True)})"
        if served:
            _log.warning("sandbox: %s; starting another", reason)
        else:
            self._note_start_failure(reason)
        self._abandon(zygote, reason)
        if not self._ending:
            self._fill_up()

    def check(self, now: float) -> None:
        """Gives up zygotes that take too long to start or owe a message."""
        for zygote in self:
            if zygote.state is State.STARTING and now >= zygote.start_deadline:
                self.lose(zygote, "the worker process did not finish importing its libraries")
                continue
            for occupant in tuple(zygote.running.values()):
                reason = occupant.check(zygote.is_stopped) if now >= occupant.next_check else None
                if reason is not None:
                    self.lose(zygote, reason)
                    break

    def next_check(self) -> float:
        """When `check` wants to be called (time.monotonic); infinity for never."""
        checks = [occupant.next_check for zygote in self._zygotes for occupant in zygote.running.values()]
        checks += [zygote.start_deadline for zygote in self._zygotes if zygote.state is State.STARTING]
        return min(checks, default=float("inf"))

    def close(self, reason: str) -> None:
        """Ends all zygotes; what runs in them is lost."""
        self._ending = True
        if not self.opened.done():
            self.opened.set_exception(SandboxUnavailable(reason))
        zygotes = tuple(self._zygotes)
        for zygote in zygotes:
            self._forget(zygote)
            zygote.end(kill=False)
        for zygote in zygotes:
            self._abandon(zygote, reason)

    def _fill_up(self) -> None:
        while self._in_service() < self._options.workers and self._start_failures < MAX_START_FAILURES:
            try:
                zygote = Zygote(self._options.zygote, self._level)
            except OSError as error:
                self._note_start_failure(f"a worker process cannot be started: {error}")
                continue
            self._zygotes.append(zygote)
            self._reactor.watch(zygote.fileno(), lambda zygote=zygote: self._on_messages(zygote))  # type: ignore[misc]
        if not self._zygotes:
            self._events.out_of_zygotes(self.last_failure)

    def _in_service(self) -> int:
        return sum(zygote.state is not State.RETIRING for zygote in self._zygotes)

    def _forget(self, zygote: Zygote) -> None:
        self._reactor.unwatch(zygote.fileno())
        self._zygotes.remove(zygote)
        self._claims.pop(zygote, None)
        self._granted.pop(zygote, None)

    def _abandon(self, zygote: Zygote, reason: str) -> None:
        """Tells the occupants of a zygote that is gone."""
        for occupant in tuple(zygote.running.values()):
            occupant.lost(reason)
        zygote.running.clear()

    def _note_start_failure(self, reason: str) -> None:
        self._start_failures += 1
        self.last_failure = reason
        if not self.opened.done():
            self._start_failures = MAX_START_FAILURES
            self.opened.set_exception(SandboxUnavailable(reason))
        _log.warning("sandbox: %s", reason)

    def _on_messages(self, zygote: Zygote) -> None:
        while zygote.state is not State.GONE:
            try:
                received = zygote.receive()
            except EOFError:
                self.lose(zygote, "the worker process ended")
                return
            except ValueError as error:
                self.lose(zygote, f"the worker process sent nonsense: {error}")
                return
            if received is None:
                return
            self._on_message(zygote, *received)

    def _on_message(self, zygote: Zygote, message: Message, descriptors: list[int]) -> None:
        match message:
            case Hello() if descriptors:
                zygote.introduce(descriptors.pop())
                self._start_probes(zygote, message)
            case Scratch() if message.child in zygote.running and descriptors:
                zygote.running[message.child].take_scratch(descriptors.pop())
            case Started() if message.child in zygote.running and descriptors:
                zygote.running[message.child].started(descriptors.pop())
            case Ended() if message.child in zygote.running:
                zygote.running.pop(message.child).ended(message, self.isolation(zygote))
                self.end_if_retired(zygote)
            case Refused() if message.child in zygote.running:
                reason = f"no process for the program: {os.strerror(message.errno)}"
                zygote.running.pop(message.child).lost(reason)
                self.end_if_retired(zygote)
            case Hello() | Started() | Scratch() if not descriptors:
                self.lose(zygote, "a descriptor did not arrive: this process has too many open")
        for descriptor in descriptors:
            os.close(descriptor)

    def _step_down(self, zygote: Zygote, reason: str) -> None:
        """Gives up a zygote whose level this machine does not give; the next ones start at the level below, if that may be."""
        self._shortfalls[zygote.level] = reason
        # Another zygote may have found out more already. Below level 0 there is nothing.
        below = min(self._level, Level(max(zygote.level - 1, Level.LIMITS)))
        refusal = self._refusal(below) or (reason if zygote.level is Level.LIMITS else None)
        if refusal is not None:
            self.lose(zygote, refusal)
            return
        self._level = below
        _log.info("sandbox: no isolation level %d here (%s); trying level %d", zygote.level, reason, below)
        self._forget(zygote)
        zygote.end(kill=True)
        self._abandon(zygote, reason)
        self._fill_up()

    def _refusal(self, built: Level) -> str | None:
        level = self._declared(built)
        return isolation.refusal(
            level, self._why_not_above(built), self._options.min_level, self._options.allow_insecure
        )

    def _declared(self, built: Level) -> Level:
        """The level that a zygote's own makes on this machine."""
        return Level.OWN_KERNEL if self._options.own_kernel and built >= Level.CONFINED else built

    def _why_not_above(self, built: Level) -> tuple[str, ...]:
        found = sorted(self._shortfalls.items(), reverse=True)
        return tuple(f"level {level:d}: {reason}" for level, reason in found if level > built)

    def _start_probes(self, zygote: Zygote, hello: Hello) -> None:
        """Lets the escape probes loose in a zygote that has just said hello."""
        fields = json.loads(hello.json)
        if "error" in fields:
            reason = f"the preload failed with {fields['error']}; install the library or change `preload`"
            if zygote.level is Level.NAMESPACED:
                self._step_down(zygote, reason)  # in there even root reads only what its user owns or all may read
            else:
                self.lose(zygote, reason)
            return
        if "unavailable" in fields:
            self._step_down(zygote, fields["unavailable"])
            return
        self._claims[zygote] = isolation.claimed(fields)
        if zygote.level is Level.LIMITS:
            self._grant(zygote)  # it promises nothing that could be probed
            return
        zygote.state = State.PROBED
        request = self._targets.request(zygote.level, self._options.zygote.limits)
        self._events.probe(zygote, request, lambda result: self._on_probed(zygote, result))

    def _on_probed(self, zygote: Zygote, result: Result) -> None:
        if zygote.state is not State.PROBED:
            return
        objection = isolation.objection(result)
        if objection is not None:
            self._step_down(zygote, objection)
        else:
            self._grant(zygote)

    def _grant(self, zygote: Zygote) -> None:
        """Puts a zygote whose level holds into service, if its level is enough."""
        refusal = self._refusal(zygote.level)
        if refusal is not None:
            self.lose(zygote, refusal)
            return
        claim = self._claims[zygote]
        shortfalls = (*self._why_not_above(zygote.level), *claim.shortfalls)
        self._granted[zygote] = replace(claim, level=self._declared(zygote.level), shortfalls=shortfalls)
        zygote.state = State.READY
        self._start_failures = 0
        if len(self._granted) >= self._options.workers and not self.opened.done():
            self.opened.set_result(min(self._granted.values(), key=lambda each: each.level))
