"""Which sessions may have a process: a bounded number, within a part of the memory budget."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

from sandbox.memory import MemoryBudget
from sandbox.sessions.child import SessionChild

BUDGET_PART = 0.5
"""Sessions hold their share of the memory budget for as long as they like, so half of it is out of their reach: the programs
that run alone always find room there, whatever the sessions of this machine do."""


@dataclass(eq=False, slots=True)
class Place:
    """A session's right to a process, with the share of the memory that it holds.

    Attributes:
        share: the share, from the first process on.
        processes: how many of the session's processes are not known to be dead; more than one while one replaces another.
        is_left: whether the session is over.
    """

    share: int | None = None
    processes: int = 0
    is_left: bool = False


class SessionPlaces:
    """Hands out places, first come, first served. For the supervisor's thread.

    Args:
        number: of places.
        memory: where shares come from.
        share_bytes: the size of a share.
    """

    def __init__(self, number: int, memory: MemoryBudget, share_bytes: int) -> None:
        self._number = number
        self._memory = memory
        self._share_bytes = share_bytes
        self._taken: set[Place] = set()
        self._waiting: deque[tuple[Place, SessionChild]] = deque()
        self._owners: dict[SessionChild, Place] = {}
        self.waits_for_memory = False

    def ask(self, place: Place, child: SessionChild) -> None:
        """Queues for a process, in place of what the session has asked for before; who has a place already goes first."""
        self._withdraw(place)
        if place in self._taken:
            self._waiting.appendleft((place, child))
        else:
            self._waiting.append((place, child))

    def next(self) -> SessionChild | None:
        """The next session that gets its process, if one may have it now."""
        self.waits_for_memory = False
        if not self._waiting or not self._admit(*self._waiting[0]):
            return None
        place, child = self._waiting.popleft()
        place.processes += 1
        self._owners[child] = place
        return child

    def vacate(self, child: SessionChild) -> None:
        """A process is gone."""
        place = self._owners.pop(child, None)
        if place is not None:
            place.processes -= 1
            self._give_up(place)

    def leave(self, place: Place) -> None:
        """A session is over."""
        self._withdraw(place)
        place.is_left = True
        self._give_up(place)

    def fail_all(self, reason: str) -> None:
        """There is no process for those who wait."""
        while self._waiting:
            self._waiting.popleft()[1].lost(reason)

    def close(self, reason: str) -> None:
        """The sandbox is closed, and all processes are lost already."""
        self.fail_all(reason)
        for place in tuple(self._taken):
            self.leave(place)

    def _withdraw(self, place: Place) -> None:
        for waiting in [each for each in self._waiting if each[0] is place]:
            self._waiting.remove(waiting)
            waiting[1].forget_childs_ends()

    def _admit(self, place: Place, child: SessionChild) -> bool:
        if place in self._taken:
            return True
        if len(self._taken) >= self._number:
            child.waits_for = f"another session's end (max_sessions is {self._number})"
            return False
        try:
            place.share = self._memory.reserve(self._share_bytes, BUDGET_PART)
        except OSError as error:
            child.waits_for = f"a share of the memory budget: {error}"
            self.waits_for_memory = True
            return False
        if place.share is None:
            child.waits_for = "a share of the half of the memory budget that sessions may use"
            self.waits_for_memory = True
            return False
        self._taken.add(place)
        return True

    def _give_up(self, place: Place) -> None:
        """Frees the place if the session is over and its last process is dead."""
        if place.is_left and not place.processes and place in self._taken:
            self._taken.remove(place)
            if place.share is not None:
                os.close(place.share)
                place.share = None
