"""Two buffers in turn: while one is loaded from, the next bucket is packed into the other."""

from collections.abc import Iterable
from typing import Final

from thor_ray.weights.board import Board

SLOTS: Final = 2


def ready(index: int) -> str:
    """Key of the message that a bucket may be taken; its text is the checksum."""
    return f"ready/{index}"


def taken(index: int, receiver: int) -> str:
    """Key of the message that a receiver has released a bucket."""
    return f"taken/{index}/{receiver}"


def wait_until_taken(board: Board, index: int, receivers: Iterable[int] | None = None) -> None:
    """Waits until receivers, by default all, have released a bucket."""
    awaited = range(board.delivery.receivers) if receivers is None else receivers
    board.wait_for_all([taken(index, receiver) for receiver in awaited], "all engines to load", index)


def wait_for_slot(board: Board, index: int) -> int:
    """Waits until a bucket's slot is free, and says which it is."""
    if index >= SLOTS:
        wait_until_taken(board, index - SLOTS)
    return index % SLOTS


def wait_for_end(board: Board) -> None:
    """Waits until all receivers have released every bucket. They do so in order."""
    wait_until_taken(board, len(board.delivery.buckets) - 1)
