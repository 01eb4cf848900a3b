"""Stream and scheduler as one: news of engines and learner go in, orders to engines come out.

What drives it, be it asyncio with real engines or a simulation in virtual time, only carries orders out and reports what
became of them. News name the engine they come from: those of an engine that is gone, or of an attempt that was given
up, change nothing, so that no group is counted twice however late its samples arrive.
"""

from dataclasses import dataclass

from thor_ray.stream.checkpoint import waiting_tickets
from thor_ray.stream.concurrency import EnginePressure
from thor_ray.stream.groups import GroupState, Part, Ticket
from thor_ray.stream.scheduler import EngineScheduler
from thor_ray.stream.stream import TrajectoryStream


@dataclass(frozen=True, slots=True)
class StartOrder:
    """``engine`` is to sample ``ticket``, from ``ticket.partial`` on where there is one."""

    ticket: Ticket
    engine: str


@dataclass(frozen=True, slots=True)
class AbortOrder:
    """``engine`` is to stop sampling group ``uid``.

    Attributes:
        keep: Whether its tokens are to be stored, and reported by ``RolloutCoordinator.suspended``. Nothing needs to be
            reported otherwise.
    """

    uid: str
    engine: str
    keep: bool


class RolloutCoordinator:
    """See the module's docstring.

    Args:
        stream: New, or restored from a checkpoint; what waits there is sampled first.
        scheduler: Without engines; those that are up join.
    """

    def __init__(self, stream: TrajectoryStream, scheduler: EngineScheduler | None = None) -> None:
        self.stream = stream
        self.scheduler = scheduler or EngineScheduler()
        for ticket in waiting_tickets(stream):
            self.scheduler.enqueue(ticket.uid)

    def start(self) -> list[StartOrder]:
        """Orders to carry out now. To be called after every piece of news, or after a few."""
        for ticket in self.stream.admit(max(0, self.scheduler.free - self.scheduler.queued)):
            self.scheduler.enqueue(ticket.uid)
        orders = []
        for start in self.scheduler.start():
            orders.append(StartOrder(self.stream.in_flight[start.uid].ticket, start.engine))
            self.stream.started(start.uid)
        return orders

    def engine_joined(self, engine: str) -> None:
        """An engine is up and serves the stream's version of the weights; a restarted one comes by a new name."""
        self.scheduler.add_engine(engine)

    def engine_lost(self, engine: str, *, suspect: bool = True) -> None:
        """An engine is gone, or does not answer; what it sampled is tried elsewhere. Telling it twice is no harm.

        Args:
            engine: Its name.
            suspect: Whether what it sampled may be what it died of; not so where the whole node went.
        """
        if engine in self.scheduler:
            for uid in reversed(self.scheduler.lose_engine(engine)):
                self._try_again(uid, suspect=suspect)

    def pressure(self, engine: str, pressure: EnginePressure) -> None:
        """An engine reports how full its cache is."""
        if engine in self.scheduler:
            self.scheduler.report(engine, pressure)

    def finished(self, uid: str, engine: str, samples: Part) -> bool:
        """All samples of a group are there and pass the filters; see `TrajectoryStream.finished`."""
        return self._ends(uid, engine) and self.stream.finished(uid, samples)

    def filtered(self, uid: str, engine: str, reason: str) -> bool:
        """A group has nothing to learn from; see `TrajectoryStream.filtered`."""
        return self._ends(uid, engine) and self.stream.filtered(uid, reason)

    def failed(self, uid: str, engine: str) -> None:
        """Sampling a group failed, but its engine lives."""
        if self._ends(uid, engine):
            self._try_again(uid)

    def suspended(self, uid: str, engine: str, partial: Part | None) -> None:
        """An engine has stopped sampling a group, whose tokens so far are stored; see `TrajectoryStream.suspended`."""
        if self._ends(uid, engine) and self.stream.suspended(uid, partial) is not None:
            self.scheduler.enqueue(uid, home=engine, first=True)

    def cut_tail(self) -> list[AbortOrder]:
        """What to interrupt, now that the next take has enough without it; see `TrajectoryStream.tail`.

        `start` would let it go on at once: call that when engines are to sample again.
        """
        return [AbortOrder(uid, self._engine(uid), keep=True) for uid in self.stream.tail()]

    def published(self, version: int) -> list[AbortOrder]:
        """All engines serve another version; what is too old by now is to be aborted."""
        dropped = self.stream.published(version)
        engines = [(uid, self.scheduler.release(uid)) for uid in dropped]
        return [AbortOrder(uid, engine, keep=False) for uid, engine in engines if engine is not None]

    def _try_again(self, uid: str, *, suspect: bool = True) -> None:
        if self.stream.lost(uid, suspect=suspect) is not None:
            self.scheduler.enqueue(uid, first=True)

    def _ends(self, uid: str, engine: str) -> bool:
        """Frees the place of a group; ``False`` where this engine is not the one that samples it now."""
        if self.scheduler.engine_of(uid) != engine:
            return False
        self.scheduler.release(uid)
        return True

    def _engine(self, uid: str) -> str:
        engine = self.scheduler.engine_of(uid)
        if engine is None:
            raise RuntimeError(f"group {uid} is {GroupState.RUNNING}, but on no engine: stream and scheduler disagree")
        return engine
