"""Shared memory of one node: the learner packs into pages that the engine reads in place.

The memory has no name in any file system, so nothing is left behind however a process ends, and the size of
``/dev/shm`` (64 MiB in many containers) does not matter. Engines reach it through the learner's open files in /proc.
"""

import json
import mmap
import os
from pathlib import Path
from typing import Any, Final

import torch

from thor_ray.weights.board import Board
from thor_ray.weights.buckets import WeightTransferError, largest
from thor_ray.weights.slots import SLOTS, ready, taken, wait_for_end, wait_for_slot

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Tells nodes apart."""

_OFFER: Final = "memory"


class MemorySender:
    """Two slots of shared memory, kept from one delivery to the next: fresh pages cost as much as a copy."""

    def __init__(self, board: Board) -> None:
        self._board = board
        size = largest(board.delivery.buckets)
        self._files = [os.memfd_create(f"thor-weights-{slot}", os.MFD_CLOEXEC) for slot in range(SLOTS)]
        try:
            for file in self._files:
                os.posix_fallocate(file, 0, size)
        except OSError as error:
            raise WeightTransferError(
                f"no memory for {SLOTS} buckets of {size} bytes ({error.strerror}); lower publishing.bucket_mib"
            ) from error
        self._slots = [_mapped(file, size) for file in self._files]
        self._offer = json.dumps(
            {"boot": _BOOT.read_text(), "process": os.getpid(), "files": self._files, "inodes": _inodes(self._files)}
        )

    def __del__(self) -> None:
        for file in self._files:
            os.close(file)

    def slot(self, index: int) -> torch.Tensor:
        """See `SendingLink.slot`."""
        return self._slots[wait_for_slot(self._board, index)][: self._board.delivery.buckets[index].nbytes]

    def post(self, index: int, checksum: str) -> None:
        """See `SendingLink.post`."""
        if index == 0:
            self._board.post(_OFFER, self._offer)
        self._board.post(ready(index), checksum)

    def finish(self) -> None:
        """See `SendingLink.finish`."""
        wait_for_end(self._board)


class MemoryReceiver:
    """Reads the learner's slots in place."""

    def __init__(self, board: Board, receiver: int) -> None:
        self._board = board
        self._receiver = receiver
        self._slots: list[torch.Tensor] = []

    def take(self, index: int) -> tuple[torch.Tensor, str]:
        """See `ReceivingLink.take`.

        Raises:
            WeightTransferError: the learner's memory cannot be reached from here.
        """
        checksum = self._board.read(ready(index), "learner rank 0 to pack", index)
        if not self._slots:
            self._slots = self._open(json.loads(self._board.read(_OFFER, "shared memory for", index)))
        return self._slots[index % SLOTS][: self._board.delivery.buckets[index].nbytes], checksum

    def release(self, index: int) -> None:
        """See `ReceivingLink.release`."""
        self._board.post(taken(index, self._receiver), "")

    def _open(self, offer: dict[str, Any]) -> list[torch.Tensor]:
        advice = "publishing.transport: shared_memory needs learner rank 0 and all engines on one node, seeing each"
        advice += " other's processes; choose gloo"
        if offer["boot"] != _BOOT.read_text():
            raise WeightTransferError(f"the learner runs on another node: {advice}")
        files: list[int] = []
        try:
            paths = [f"/proc/{offer['process']}/fd/{number}" for number in offer["files"]]
            # One after the other, so that those which could be opened are closed again.
            files.extend(os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in paths)
            if _inodes(files) != offer["inodes"]:
                raise WeightTransferError(f"process {offer['process']} is another one here: {advice}")
            size = largest(self._board.delivery.buckets)
            return [_mapped(file, size) for file in files]
        except OSError as error:
            raise WeightTransferError(f"the learner's memory cannot be opened ({error}): {advice}") from error
        finally:
            for file in files:
                os.close(file)


def _mapped(file: int, size: int) -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)


def _inodes(files: list[int]) -> list[int]:
    return [os.fstat(file).st_ino for file in files]
