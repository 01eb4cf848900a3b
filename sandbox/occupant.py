"""What a zygote's child is to those who look after the zygote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sandbox.result import Isolation
from sandbox.wire import Ended


class Occupant(Protocol):
    """One child in a zygote's care. Each is told of its end exactly once, by `ended` or by `lost`."""

    is_busy: bool
    """Whether it takes one of the places that a zygote has for programs."""
    next_check: float
    """When `check` wants to be called (time.monotonic)."""

    def started(self, pidfd: int) -> None:
        """The child exists; the descriptor is the occupant's from now on."""

    def take_scratch(self, directory: int) -> None:
        """The child has mounted a scratch file system; the descriptor of its root is the occupant's from now on."""

    def check(self, zygote_is_stopped: Callable[[], bool]) -> str | None:
        """Enforces deadlines. Returns why the zygote must be given up, if it must."""

    def ended(self, ended: Ended, isolation: Isolation | None) -> None:
        """The child is dead and reaped."""

    def lost(self, reason: str) -> None:
        """There is no child, or nobody will ever say how it ended."""
