"""The supervisor's event loop: descriptors, and calls from other threads. Knows nothing of programs."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable

Action = Callable[[], None]


class Reactor:
    """One thread calls `turn`; every thread may call `call`.

    A handler may be called although its descriptor has nothing to offer (the number was reused within one turn), so handlers
    read without blocking.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Action] = {}
        self._inbox: deque[Action] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watch(self._bell, self._answer)

    def call(self, action: Action) -> None:
        """Has the reactor's thread call `action` soon. Never blocks."""
        self._inbox.append(action)
        os.eventfd_write(self._bell, 1)

    def watch(self, descriptor: int, handler: Action) -> None:
        """Calls `handler` whenever `descriptor` can be read or is hung up."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Undoes `watch`; call it before the descriptor is closed."""
        del self._handlers[descriptor]
        self._epoll.unregister(descriptor)

    def turn(self, timeout: float | None) -> None:
        """Waits at most `timeout` seconds (None: as long as it takes) for something to do, and does it."""
        for descriptor, _ in self._epoll.poll(timeout):
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler()

    def close(self) -> None:
        """Releases the descriptors; what is still in the inbox is never called."""
        self._epoll.close()
        os.close(self._bell)

    def _answer(self) -> None:
        os.eventfd_read(self._bell)
        while self._inbox:
            self._inbox.popleft()()
