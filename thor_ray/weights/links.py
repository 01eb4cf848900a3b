"""The wires that carry buckets, behind one pair of interfaces. What each costs and needs: docs/publishing.md."""

from typing import Protocol

import torch

from thor_ray.weights.board import Board
from thor_ray.weights.delivery import Delivery


class SendingLink(Protocol):
    """A learner rank's end. Two buckets may be under way at a time, so that packing, sending and loading overlap."""

    def slot(self, index: int) -> torch.Tensor:
        """Where to pack a bucket, uint8 ``[nbytes]``. Waits until the bucket that was there has been taken."""

    def post(self, index: int, checksum: str) -> None:
        """Lets the receivers have what was packed."""

    def finish(self) -> None:
        """Waits until all receivers have taken all buckets."""


class ReceivingLink(Protocol):
    """The end in a process that holds an engine's model."""

    def take(self, index: int) -> tuple[torch.Tensor, str]:
        """Waits for a bucket: uint8 ``[nbytes]``, valid until it is released, and the checksum that was sent with it."""

    def release(self, index: int) -> None:
        """Says that nothing refers to the bucket's bytes any more."""


def sending_link(delivery: Delivery, board: Board, device: torch.device, rank: int) -> SendingLink | None:
    """A learner rank's end of a delivery's transport; ``None`` where this rank only takes part in gathering.

    Args:
        delivery: Says which transport.
        board: This rank's access to the board.
        device: Where the parameters lie.
        rank: Of the learner.
    """
    from thor_ray.weights import broadcast_link, file_link, ipc_link, memory_link

    if delivery.transport == "cuda_ipc":
        return ipc_link.IpcSender(board, device)
    if rank > 0:
        return None
    if delivery.transport == "shared_memory":
        return memory_link.MemorySender(board)
    if delivery.transport == "file":
        return file_link.FileSender(board)
    return broadcast_link.BroadcastSender(board, device)


def receiving_link(delivery: Delivery, board: Board, device: torch.device, receiver: int) -> ReceivingLink:
    """A receiver's end of a delivery's transport.

    Args:
        delivery: Says which transport.
        board: This receiver's access to the board.
        device: Where the model lies.
        receiver: Position among all receivers.
    """
    from thor_ray.weights import broadcast_link, file_link, ipc_link, memory_link

    if delivery.transport == "cuda_ipc":
        return ipc_link.IpcReceiver(board, device, receiver)
    if delivery.transport == "shared_memory":
        return memory_link.MemoryReceiver(board, receiver)
    if delivery.transport == "file":
        return file_link.FileReceiver(board, receiver)
    return broadcast_link.BroadcastReceiver(board, device, receiver)
