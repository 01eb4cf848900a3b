"""A broadcast from learner rank 0 to every process that holds a model: gloo through the host's memory, NCCL on GPUs.

The process group is one of its own beside the learner's and the engine's. NCCL has not been run by this project's
own checks, which have no GPU.
"""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from thor_ray.weights.board import Board
from thor_ray.weights.buckets import WeightTransferError, largest
from thor_ray.weights.delivery import Delivery
from thor_ray.weights.slots import SLOTS, ready, taken, wait_for_end


class BroadcastSender:
    """Rank 0 of the group."""

    def __init__(self, board: Board, device: torch.device) -> None:
        self._board = board
        self._group = _Group(board, device, rank=0)

    def slot(self, index: int) -> torch.Tensor:
        """See `SendingLink.slot`."""
        self._group.wait(index - SLOTS, "engines to receive")
        return self._group.buffer(index)

    def post(self, index: int, checksum: str) -> None:
        """See `SendingLink.post`."""
        self._board.post(ready(index), checksum)
        self._group.broadcast(index)

    def finish(self) -> None:
        """See `SendingLink.finish`."""
        wait_for_end(self._board)
        self._group.forget()


class BroadcastReceiver:
    """One of the other ranks. While a bucket is loaded, the next one is received."""

    def __init__(self, board: Board, device: torch.device, receiver: int) -> None:
        self._board = board
        self._receiver = receiver
        self._group = _Group(board, device, rank=receiver + 1)

    def take(self, index: int) -> tuple[torch.Tensor, str]:
        """See `ReceivingLink.take`."""
        for upcoming in range(index, min(index + SLOTS, len(self._board.delivery.buckets))):
            self._group.broadcast(upcoming)
        self._group.wait(index, "learner rank 0 to send")
        return self._group.buffer(index), self._board.read(ready(index), "the checksum of", index)

    def release(self, index: int) -> None:
        """See `ReceivingLink.release`."""
        self._board.post(taken(index, self._receiver), "")
        if index == len(self._board.delivery.buckets) - 1:
            self._group.forget()


class _Group:
    """The process group, its two buffers and the broadcasts that were begun."""

    def __init__(self, board: Board, device: torch.device, rank: int) -> None:
        self._board = board
        nccl = board.delivery.transport == "nccl"
        size = largest(board.delivery.buckets)
        self._buffers = [torch.empty(size, dtype=torch.uint8, device=device if nccl else "cpu") for _ in range(SLOTS)]
        self._begun: dict[int, Any] = {}
        store = PrefixStore(f"group/{board.delivery.link}", board.store)
        try:
            self._group = _process_group(store, rank, board.delivery, nccl)
        except RuntimeError as error:
            raise WeightTransferError(
                f"{board.me} could not meet the others: {error}; last seen: {board.last_seen()}"
            ) from error

    def buffer(self, index: int) -> torch.Tensor:
        """A bucket's bytes."""
        return self._buffers[index % SLOTS][: self._board.delivery.buckets[index].nbytes]

    def broadcast(self, index: int) -> None:
        """Begins to send or receive a bucket, unless that was begun already."""
        if index not in self._begun:
            options = dist.BroadcastOptions()
            options.rootRank = 0
            self._begun[index] = self._group.broadcast([self.buffer(index)], options)

    def wait(self, index: int, waiting_for: str) -> None:
        """Waits until a bucket has been sent or received; not for ever, as the group itself might."""
        if (work := self._begun.get(index)) is None:
            return
        self._board.wait_until(work.is_completed, waiting_for, index)
        try:
            work.wait()
        except RuntimeError as error:
            raise WeightTransferError(
                f"{self._board.me} lost the others at bucket {index} ({self._board.delivery.buckets[index].span}): "
                f"{error}; last seen: {self._board.last_seen()}"
            ) from error

    def forget(self) -> None:
        """Gets ready for the next delivery."""
        self._begun.clear()


def _process_group(store: Any, rank: int, delivery: Delivery, nccl: bool) -> Any:
    timeout = timedelta(seconds=delivery.timeout_seconds)
    if not nccl:
        return dist.ProcessGroupGloo(store, rank, delivery.receivers + 1, timeout)
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = timeout  # noqa: SLF001 - it has no other name.
    return dist.ProcessGroupNCCL(store, rank, delivery.receivers + 1, options)
