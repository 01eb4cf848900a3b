"""Flows: procedures that must wait now and then, written once for threads and for asyncio.

A flow is a generator. Whenever it has to wait it yields a `Wait`, and it is resumed with what its poll object has seen; all
that it does itself returns at once. `run_flow` waits by blocking the thread, `arun_flow` by leaving the event loop alone.
"""

from __future__ import annotations

import select
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
Events = list[tuple[int, int]]
"""(descriptor, event mask) pairs; empty when the time has come."""


class Wait(NamedTuple):
    """What a flow waits for.

    Attributes:
        poll: has the descriptors of interest registered.
        until: when to go on in any case (time.monotonic).
    """

    poll: select.epoll
    until: float


Flow = Generator[Wait, Events, T]


def run_flow(flow: Flow[T]) -> T:
    """Runs a flow to its end on this thread. An exception while it waits (Ctrl-C) closes the flow."""
    try:
        wait = next(flow)
        while True:
            wait = flow.send(wait.poll.poll(max(0.0, wait.until - time.monotonic())))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def arun_flow(flow: Flow[T]) -> T:
    """Runs a flow to its end on the running event loop. Cancelling the await closes the flow."""
    import asyncio  # late: half of what importing this package would cost

    drive = _Drive(flow, asyncio.get_running_loop())
    try:
        drive.begin()
        return await drive.done
    finally:
        drive.stop()
        flow.close()


class _Drive(Generic[T]):
    """Resumes a flow from an event loop's callbacks."""

    def __init__(self, flow: Flow[T], loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[T] = loop.create_future()
        self._flow = flow
        self._loop = loop
        self._wait: Wait | None = None
        self._watched = -1
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._go_on(None)

    def stop(self) -> None:
        """Takes everything back from the loop. Harmless when repeated."""
        if self._watched >= 0:
            self._loop.remove_reader(self._watched)
            self._watched = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        self._resume()

    def _resume(self) -> None:
        assert self._wait is not None
        self._go_on(self._wait.poll.poll(0))

    def _go_on(self, events: Events | None) -> None:
        try:
            wait = next(self._flow) if events is None else self._flow.send(events)
        except StopIteration as end:
            self.stop()
            self.done.set_result(end.value)
        except Exception as error:  # noqa: BLE001
            # Whoever awaits gets it, whatever it is.
            self.stop()
            self.done.set_exception(error)
        else:
            self._arm(wait)

    def _arm(self, wait: Wait) -> None:
        before, self._wait = self._wait, wait
        if before is not None and before.poll is wait.poll and before.until == wait.until and self._timer is not None:
            return  # nothing new: what is armed stays armed
        self.stop()
        self._watched = wait.poll.fileno()
        self._loop.add_reader(self._watched, self._resume)
        delay = max(0.0, wait.until - time.monotonic())
        self._timer = self._loop.call_later(delay, self._on_time)
