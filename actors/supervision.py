"""Engines that die are started anew, in the same place, and wait there until somebody has given them current weights.

The life of a place: an engine *serves*; it is lost, and the place *rests* as long as the restart budget wants; another
engine is *starting*, and has to generate a token; it is *new*, refuses prompts, and is owed the current weights; once
these are verified it serves. A place whose budget is spent is *given up*.

Engines that share GPUs with the learner *sleep* while that works. None is started then: it would take memory that the
learner needs. Its place rests until the others are awake.

Nobody watches over it in the background: whoever works with the engines calls `EngineSupervisor.mend` from time to time.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from actors.generation import EngineError, WeightsUndefinedError
from actors.restarts import RestartBudget
from thor_ray.config import LivenessConfig, RestartConfig
from thor_ray.errors import WorkerError

logger = logging.getLogger(__name__)

T = TypeVar("T")

ActorHandle = Any
"""A handle of ``actors.rollout.RolloutActor``; Ray's handles carry no static type."""

StartEngine = Callable[[int], ActorHandle]
"""Begins to start an engine in the place of that number, and returns at once."""

Bring = Callable[[Sequence[ActorHandle]], T]
"""Gives engines something, such as weights; raises ``WorkerError`` where an engine, or whoever gives, fails."""

START_SECONDS: Final = 300.0
"""How long engines may take to load."""

LOSSES: Final = (RayActorError, ObjectLostError, EngineError)
"""What a call raises whose engine is lost: its process, its node with the result, or what generates inside of it."""

TURN_SECONDS: Final = 120.0
"""How long engines may take to fall asleep or to wake up, which is to copy their weights."""

POLL_SECONDS: Final = 0.2
"""Between two looks at engines that are being started, where nothing else is to be waited for."""


class RolloutActorDiedError(WorkerError):
    """The process of a rollout actor, or its engine, ended; the message says which and, as far as is known, why."""


@dataclass(frozen=True, slots=True)
class Repair:
    """How engines that are lost are replaced.

    Attributes:
        start: Begins to start an engine in a place.
        bring_weights: Gives engines the weights that all others serve, verified, before their first prompt; ``None``
            where they start with these.
        restarts: How often.
        start_seconds: How long an engine may take to start.
    """

    start: StartEngine
    bring_weights: Bring[object] | None
    restarts: RestartConfig
    start_seconds: float = START_SECONDS


class _State(StrEnum):
    SERVES = "serves"
    RESTS = "rests"
    STARTING = "starting"
    NEW = "new"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's life, from its start to its end; the next one in its place has another name.

    Attributes:
        place: Its number, from 0.
        name: ``engine-0``, then ``engine-0.1`` and so on.
        actor: Its handle.
    """

    place: int
    name: str
    actor: ActorHandle


@dataclass(slots=True)
class _Place:
    engine: Engine
    budget: RestartBudget
    state: _State = _State.SERVES
    starts: int = 0
    due: float = 0.0
    """When it may be started (resting), or has to be ready (starting)."""
    ready: Any = None
    """Ray's reference to the first sign of life (starting)."""


class EngineSupervisor:
    """Places and the engines in them; see the module's docstring.

    ``mend`` and ``deliver`` are for the thread that also calls the learner, since weights come from there; all others
    may be called by any.

    Args:
        actors: Started engines, one a place, that serve the current weights.
        repair: How to replace them; ``None`` gives up the place of an engine that is lost.
        liveness: When an engine counts as hung.
    """

    def __init__(
        self, actors: Sequence[ActorHandle], repair: Repair | None = None, liveness: LivenessConfig | None = None
    ) -> None:
        self.liveness = liveness or LivenessConfig()
        self._repair = repair
        self._lock = threading.RLock()
        restarts = repair.restarts if repair else RestartConfig(most=0)
        self._places = [
            _Place(Engine(index, f"engine-{index}", actor), RestartBudget(restarts))
            for index, actor in enumerate(actors)
        ]
        self._last = ""
        self._asleep = False

    @property
    def repairs(self) -> bool:
        """Whether engines that are lost are replaced."""
        return self._repair is not None

    @property
    def serving(self) -> list[Engine]:
        """Engines that may be given prompts, in order of their places."""
        return self._in(_State.SERVES)

    @property
    def places(self) -> list[ActorHandle | None]:
        """The engine of each place that serves; ``None`` where there is none now."""
        with self._lock:
            return [place.engine.actor if place.state is _State.SERVES else None for place in self._places]

    @property
    def starting(self) -> list[Any]:
        """Ray's references to the first signs of life of those that are being started, for whoever waits for news."""
        with self._lock:
            return [place.ready for place in self._places if place.state is _State.STARTING]

    @property
    def restarts(self) -> int:
        """Engines that were started anew."""
        with self._lock:
            return sum(place.starts for place in self._places)

    @property
    def restarted(self) -> list[ActorHandle]:
        """Those of them that have not been lost."""
        with self._lock:
            states = (_State.SERVES, _State.NEW, _State.STARTING)
            return [place.engine.actor for place in self._places if place.starts and place.state in states]

    @property
    def hopeful(self) -> bool:
        """Whether any engine is left, or will be."""
        with self._lock:
            return any(place.state is not _State.GIVEN_UP for place in self._places)

    def mend(self) -> None:
        """Goes on with replacing lost engines: those that are up by now get their weights, and serve from then on.

        The learner must be idle, and its weights those that are served.

        Raises:
            RolloutActorDiedError: every place is given up.
            WorkerError: weights could not be brought to an engine that lives.
        """
        self._poll()
        new = self._in(_State.NEW)
        if new and self._repair is not None and self._repair.bring_weights is not None:
            try:
                self._repair.bring_weights([engine.actor for engine in new])
            except WorkerError:
                if not self.lose_the_dead(new):
                    raise
                return
        self._admit(new)

    def sleep(self) -> None:
        """Has all engines give their memory back; those that are just being started come up first.

        Until they are awake again none is started, and there is nothing to ``mend``. Harmless when they sleep.

        Raises:
            RolloutActorDiedError: no engine is left, and none will come.
            RayTaskError: an engine still has something to do.
        """
        if self._asleep:
            return
        self._asleep = True
        while self._in(_State.STARTING):
            self._poll()
            time.sleep(POLL_SECONDS)
        self._all("sleep")

    def wake_up(self) -> None:
        """Has engines that sleep serve the weights that they fell asleep with. Harmless when they are awake.

        Not needed before ``deliver``: engines wake for new weights.
        """
        if self._asleep:
            self._asleep = False
            self._all("wake_up")

    def deliver(self, send: Bring[T]) -> T:
        """Gives something to all engines, also to those that were started anew and wait for just this.

        Engines that sleep must wake for it.

        Where engines die or hang meanwhile it is given again to those that are left or, if there are none, to the first
        that replaces them; so ``send`` must be something that can be done twice.

        Raises:
            RolloutActorDiedError: no engine is left, and none will come.
            WorkerError: what ``send`` raised while all engines live.
        """
        self._asleep = False
        while True:
            engines = self._receivers()
            try:
                answer = send([engine.actor for engine in engines])
            except WorkerError:
                if not self.repairs or not self.lose_the_dead(engines):
                    raise
            else:
                self._admit(engines)
                return answer

    def lose_the_dead(self, engines: Sequence[Engine]) -> bool:
        """Asks engines for a sign of life, and replaces those that give none; whether there were any."""
        dead = without_sign_of_life(engines, self.liveness.token_seconds)
        for name, reason in dead.items():
            self.lost(name, reason)
        return bool(dead)

    def lost(self, name: str, reason: str) -> None:
        """An engine died or hangs: it is killed, and another is started as soon as the budget allows.

        Told of an engine that is gone already, this does nothing.
        """
        with self._lock:
            for place in self._places:
                alive = place.state in (_State.SERVES, _State.NEW, _State.STARTING)
                if place.engine.name == name and alive:
                    self._end(place, reason)
                    self._begin_if_due(place)

    def _all(self, method: str) -> None:
        """Calls a method of all engines that are up, and loses those that do not survive it."""
        engines = [*self.serving, *self._in(_State.NEW)]
        calls = {getattr(engine.actor, method).remote(): engine for engine in engines}
        ended, _ = ray.wait(list(calls), num_returns=len(calls), timeout=TURN_SECONDS) if calls else ([], [])
        for reference, engine in calls.items():
            if reference not in ended:
                self.lost(engine.name, f"no answer to {method} within {TURN_SECONDS:g} s: it hangs")
                continue
            try:
                ray.get(reference)
            except LOSSES as error:
                self.lost(engine.name, cause_of(error))

    def _receivers(self) -> list[Engine]:
        """All engines that live, those included that have not got their weights; waits until there is one."""
        while True:
            self._poll()
            if engines := [*self.serving, *self._in(_State.NEW)]:
                return sorted(engines, key=lambda engine: engine.place)
            time.sleep(POLL_SECONDS)

    def _poll(self) -> None:
        """Starts what is due, and notices what has started, or has failed to.

        Raises:
            RolloutActorDiedError: every place is given up.
        """
        with self._lock:
            for place in self._places:
                self._begin_if_due(place)
                if place.state is _State.STARTING:
                    self._look_at(place)
        if not self.hopeful:
            raise RolloutActorDiedError(f"no rollout actor is left; {self._last}")

    def _admit(self, engines: Collection[Engine]) -> None:
        """They have got the current weights, and serve from now on."""
        names = {engine.name for engine in engines}
        with self._lock:
            for place in self._places:
                if place.state is _State.NEW and place.engine.name in names:
                    place.state = _State.SERVES

    def _in(self, state: _State) -> list[Engine]:
        with self._lock:
            return [place.engine for place in self._places if place.state is state]

    def _end(self, place: _Place, reason: str) -> None:
        # One that hangs must not serve old weights some day, nor keep its GPUs.
        ray.kill(place.engine.actor)
        place.ready = None
        self._last = f"the last one, {place.engine.name}, ended: {reason}"
        now = time.monotonic()
        due = place.budget.spend(now)
        if due is None:
            place.state = _State.GIVEN_UP
            logger.warning("%s was lost, and its place is given up: %s", place.engine.name, reason)
        else:
            place.state, place.due = _State.RESTS, due
            logger.warning("%s was lost; another is started in %.0f s: %s", place.engine.name, due - now, reason)

    def _begin_if_due(self, place: _Place) -> None:
        now = time.monotonic()
        if place.state is not _State.RESTS or now < place.due or self._repair is None or self._asleep:
            return
        place.starts += 1
        name = f"engine-{place.engine.place}.{place.starts}"
        place.engine = Engine(place.engine.place, name, self._repair.start(place.engine.place))
        place.ready = place.engine.actor.ready.remote()
        place.state, place.due = _State.STARTING, now + self._repair.start_seconds

    def _look_at(self, place: _Place) -> None:
        done, _ = ray.wait([place.ready], timeout=0)
        if done:
            try:
                ray.get(done[0])
            except LOSSES as error:
                self._end(place, f"it did not start: {cause_of(error)}")
            else:
                place.state = _State.NEW
        elif time.monotonic() > place.due:
            self._end(place, "it was not ready in time")


def without_sign_of_life(engines: Sequence[Engine], seconds: float) -> Mapping[str, str]:
    """Asks engines for a token each, and waits.

    An engine whose weights are undefined since an update failed cannot generate; an answer of all its workers will do.

    Args:
        engines: Which.
        seconds: How long they may take together.

    Returns:
        Names of those that gave none, each with the reason.
    """
    asked = {engine.actor.ready.remote(): engine for engine in engines}
    if not asked:
        return {}
    ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    dead = {}
    for reference, engine in asked.items():
        if not ray.wait([reference], timeout=0)[0]:
            dead[engine.name] = no_token(seconds)
            continue
        try:
            ray.get(reference)
        except WeightsUndefinedError:
            continue
        except LOSSES as error:
            dead[engine.name] = cause_of(error)
    return dead


def no_token(seconds: float) -> str:
    """What is said of an engine that hangs."""
    return f"no token within {seconds:g} s: it hangs"


def died_with_its_node(error: Exception) -> bool:
    """Whether an actor was lost since its whole node was, so that nothing it did can be the cause.

    Ray says so in the text of the error only.
    """
    return isinstance(error, RayActorError) and "its node has died" in str(error)


def cause_of(error: Exception) -> str:
    """What an actor's method raised, or how the actor died; Ray's own text of the first is a traceback."""
    return str(error.cause if isinstance(error, RayTaskError) else error)
