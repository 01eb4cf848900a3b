"""Where those who take part in a publication meet: small messages, progress, and the watchdog.

The board is a key-value store of torch in the process of learner rank 0. Weights never pass through it.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from thor_ray.weights.buckets import WeightTransferError
from thor_ray.weights.delivery import Delivery

SHORTEST_NAP: Final = 1e-4
LONGEST_NAP: Final = 5e-3
"""Seconds between two looks at the board; naps double while nothing happens."""

CONNECT_TIMEOUT: Final = timedelta(seconds=60)

CALL_OFF_TIMEOUT: Final = timedelta(seconds=10)
"""It listens already, or never will again."""


class TransferHangError(WeightTransferError):
    """Somebody waited too long; the message says for whom and what, and what everybody was seen doing last."""


def open_store(port: int = 0) -> TCPStore:
    """Starts the store in this process, by default at a port that is free."""
    return TCPStore("0.0.0.0", port, is_master=True, wait_for_workers=False, timeout=CONNECT_TIMEOUT)


def join_store(address: str, port: int) -> TCPStore:
    """Connects to the store of another process."""
    return TCPStore(address, port, is_master=False, timeout=CONNECT_TIMEOUT)


def call_off(delivery: Delivery, reason: Exception) -> None:
    """Tells all who take part in a delivery that it has failed, for one who died and cannot say so himself.

    Where the board is gone, so is learner rank 0, and nobody is left to wait for the others.
    """
    with contextlib.suppress(RuntimeError):
        store = TCPStore(delivery.address, delivery.port, is_master=False, timeout=CALL_OFF_TIMEOUT)
        Board(store, "driver", delivery).fail(reason)


class Board:
    """One participant's access to the board. Used by one thread.

    Args:
        store: The store.
        me: This participant's name, one of ``Delivery.participants``.
        delivery: The first delivery.
    """

    def __init__(self, store: TCPStore, me: str, delivery: Delivery) -> None:
        self.store = store
        self.me = me
        self._posted: set[str] = set()
        self.delivery = delivery

    def begin(self, delivery: Delivery) -> None:
        """Turns to the next delivery, and forgets what this participant posted for the last one."""
        for key in self._posted:
            self.store.delete_key(key)
        self._posted.clear()
        self.delivery = delivery

    def note(self, doing: str, index: int) -> None:
        """Tells the others what this participant is about to do, with which bucket."""
        self._set(f"doing/{self.me}", f"{doing} {self._name(index)}")

    def post(self, key: str, value: str) -> None:
        """Leaves a message for the others."""
        self._set(key, value)

    def fail(self, error: Exception) -> None:
        """Tells the others that this delivery has failed, so that nobody waits for its end."""
        self._set("failed", f"{self.me} failed: {error}")

    def read(self, key: str, waiting_for: str, index: int) -> str:
        """Waits for a message and reads it; see `wait_until`."""
        self.wait_for_all([key], waiting_for, index)
        return str(self.store.get(self._key(key)).decode())

    def wait_for_all(self, keys: Sequence[str], waiting_for: str, index: int) -> None:
        """Waits until there are messages under all of the keys; see `wait_until`."""
        names = [self._key(key) for key in keys]
        self.wait_until(lambda: bool(self.store.check(names)), waiting_for, index)

    def wait_until(self, done: Callable[[], bool], waiting_for: str, index: int) -> None:
        """Looks again and again whether something is done.

        Args:
            done: Says so.
            waiting_for: For the message, such as "engines to load".
            index: The bucket that it is about.

        Raises:
            TransferHangError: it was not done in time.
            WeightTransferError: another participant failed.
        """
        started, nap = time.monotonic(), SHORTEST_NAP
        while not done():
            if self.store.check([self._key("failed")]):
                raise WeightTransferError(self.store.get(self._key("failed")).decode())
            if time.monotonic() - started > self.delivery.timeout_seconds:
                raise TransferHangError(
                    f"{self.me} waited {self.delivery.timeout_seconds:g} s for {waiting_for} {self._name(index)}; "
                    f"last seen: {self.last_seen()}"
                )
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)

    def last_seen(self) -> str:
        """What each participant said last."""
        seen = []
        for name in self.delivery.participants():
            key = self._key(f"doing/{name}")
            seen.append(f"{name}: {self.store.get(key).decode() if self.store.check([key]) else 'not yet there'}")
        return "; ".join(seen)

    def _name(self, index: int) -> str:
        return f"bucket {index} ({self.delivery.buckets[index].span})"

    def _key(self, key: str) -> str:
        return f"{self.delivery.link}/{self.delivery.number}/{key}"

    def _set(self, key: str, value: str) -> None:
        name = self._key(key)
        self._posted.add(name)
        self.store.set(name, value)
