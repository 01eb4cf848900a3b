"""Safetensors files in a directory that all nodes share: the slowest wire, and the one that needs nothing else."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from thor_ray.weights.board import Board
from thor_ray.weights.buckets import WeightTransferError, largest, pack, unpack
from thor_ray.weights.slots import SLOTS, ready, taken, wait_for_end, wait_until_taken


class FileSender:
    """Writes one file a bucket, and deletes it once all engines have read it."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._buffer = torch.empty(largest(board.delivery.buckets), dtype=torch.uint8)

    def slot(self, index: int) -> torch.Tensor:
        """See `SendingLink.slot`."""
        if index >= SLOTS:
            wait_until_taken(self._board, index - SLOTS)
            _path(self._board, index - SLOTS).unlink()
        return self._buffer[: self._board.delivery.buckets[index].nbytes]

    def post(self, index: int, checksum: str) -> None:
        """See `SendingLink.post`."""
        path, bucket = _path(self._board, index), self._board.delivery.buckets[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(unpack(bucket, self._buffer[: bucket.nbytes])), path)
        self._board.post(ready(index), checksum)

    def finish(self) -> None:
        """See `SendingLink.finish`."""
        wait_for_end(self._board)
        for index in range(len(self._board.delivery.buckets))[-SLOTS:]:
            _path(self._board, index).unlink()


class FileReceiver:
    """Reads the files."""

    def __init__(self, board: Board, receiver: int) -> None:
        self._board = board
        self._receiver = receiver
        self._buffer = torch.empty(largest(board.delivery.buckets), dtype=torch.uint8)

    def take(self, index: int) -> tuple[torch.Tensor, str]:
        """See `ReceivingLink.take`.

        Raises:
            WeightTransferError: the file is not to be seen from here.
        """
        checksum = self._board.read(ready(index), "learner rank 0 to write", index)
        bucket, path = self._board.delivery.buckets[index], _path(self._board, index)
        try:
            tensors = load_file(path)
        except FileNotFoundError as error:
            raise WeightTransferError(
                f"{path} is not there: publishing.directory must lie on storage that all nodes share"
            ) from error
        payload = self._buffer[: bucket.nbytes]
        pack(bucket, ((entry.name, tensors[entry.name]) for entry in bucket.tensors), payload)
        return payload, checksum

    def release(self, index: int) -> None:
        """See `ReceivingLink.release`."""
        self._board.post(taken(index, self._receiver), "")


def _path(board: Board, index: int) -> Path:
    delivery = board.delivery
    assert delivery.directory is not None, "the recipe asks for a directory"
    return Path(delivery.directory) / delivery.link / f"{delivery.number}-{index}.safetensors"
