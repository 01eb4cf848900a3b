"""CUDA IPC: a learner rank and an engine on the same GPU share device memory, so that nothing leaves it.

Each rank packs the whole bucket for the engine processes on its own GPU; which one that is, UUIDs tell. It has not
been run by this project's own checks, which have no GPU.
"""

import base64
import pickle
from typing import Any

import torch

from thor_ray.weights.board import Board
from thor_ray.weights.buckets import WeightTransferError, largest
from thor_ray.weights.slots import SLOTS, ready, taken, wait_for_end, wait_for_slot


class IpcSender:
    """Two slots of device memory, kept from one delivery to the next."""

    def __init__(self, board: Board, device: torch.device) -> None:
        from torch.multiprocessing.reductions import reduce_tensor

        self._board = board
        self._uuid = _uuid(device)
        size = largest(board.delivery.buckets)
        self._slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(SLOTS)]
        handles = pickle.dumps([reduce_tensor(slot) for slot in self._slots])
        self._offer = base64.b85encode(handles).decode()

    def slot(self, index: int) -> torch.Tensor:
        """See `SendingLink.slot`."""
        return self._slots[wait_for_slot(self._board, index)][: self._board.delivery.buckets[index].nbytes]

    def post(self, index: int, checksum: str) -> None:
        """See `SendingLink.post`."""
        # Other processes know nothing of this one's streams.
        torch.cuda.synchronize(self._slots[0].device)
        if index == 0:
            self._board.post(f"ipc/{self._uuid}", self._offer)
        self._board.post(f"{ready(index)}/{self._uuid}", checksum)

    def finish(self) -> None:
        """See `SendingLink.finish`."""
        wait_for_end(self._board)


class IpcReceiver:
    """Reads the slots of the learner rank on its own GPU."""

    def __init__(self, board: Board, device: torch.device, receiver: int) -> None:
        self._board = board
        self._device = device
        self._receiver = receiver
        self._uuid = _uuid(device)
        self._slots: list[torch.Tensor] = []

    def take(self, index: int) -> tuple[torch.Tensor, str]:
        """See `ReceivingLink.take`.

        Raises:
            TransferHangError: after the time limit also where no learner rank holds this GPU.
        """
        waiting_for = f"a learner rank on this engine's GPU {self._uuid} to pack"
        checksum = self._board.read(f"{ready(index)}/{self._uuid}", waiting_for, index)
        if not self._slots:
            self._slots = self._open(self._board.read(f"ipc/{self._uuid}", waiting_for, index))
        return self._slots[index % SLOTS][: self._board.delivery.buckets[index].nbytes], checksum

    def release(self, index: int) -> None:
        """See `ReceivingLink.release`."""
        torch.cuda.synchronize(self._device)
        self._board.post(taken(index, self._receiver), "")

    def _open(self, offer: str) -> list[torch.Tensor]:
        handles: list[tuple[Any, tuple[Any, ...]]] = pickle.loads(base64.b85decode(offer))
        try:
            return [rebuild(*arguments) for rebuild, arguments in handles]
        except RuntimeError as error:
            raise WeightTransferError(f"CUDA IPC with GPU {self._uuid} failed: {error}") from error


def _uuid(device: torch.device) -> str:
    return str(torch.cuda.get_device_properties(device).uuid)
