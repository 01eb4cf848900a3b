"""The one sequence of calls by which a version of the weights reaches the engines, over whichever link."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from thor_ray.weights.board import Board, join_store, open_store
from thor_ray.weights.buckets import WeightTransferError, pack, unpack
from thor_ray.weights.checksums import checksum
from thor_ray.weights.delivery import Delivery
from thor_ray.weights.links import ReceivingLink, SendingLink, receiving_link, sending_link

NamedTensors = Iterable[tuple[str, torch.Tensor]]


class WeightSender:
    """A learner rank's half. Keeps its link from one delivery to the next.

    Args:
        rank: Of the learner.
        device: Where the parameters lie.
    """

    def __init__(self, rank: int, device: torch.device) -> None:
        self._rank = rank
        self._device = device
        self._store: TCPStore | None = None
        self._board: Board | None = None
        self._link: SendingLink | None = None
        self._is_open = False

    def open_board(self) -> int:
        """Starts the board in this process, which is that of rank 0, unless it is there already; its port."""
        if self._store is None:
            self._store = open_store()
        return int(self._store.port)

    def send(self, delivery: Delivery, gathered: Iterator[NamedTensors]) -> tuple[str, ...]:
        """Takes part in one delivery; every rank does.

        Args:
            delivery: What is sent, and how.
            gathered: The parameters of one bucket after the other. Asking for the next one gathers it, which is a
                collective operation of all ranks; so all are asked for, also where the delivery fails.

        Returns:
            Checksums of what this rank packed, by bucket; empty where it only took part in gathering.

        Raises:
            TransferHangError: somebody waited too long.
            WeightTransferError: an engine refused what it got, or another rank failed.
        """
        board = self._turn_to(delivery)
        try:
            if not self._is_open:
                board.note("is opening the link for", 0)
                self._link = sending_link(delivery, board, self._device, self._rank)
                self._is_open = True
            sent = []
            for index, bucket in enumerate(delivery.buckets):
                board.note("gathering", index)
                tensors = next(gathered)
                if self._link is None:
                    continue
                payload = self._link.slot(index)
                board.note("packing", index)
                pack(bucket, tensors, payload)
                sent.append(checksum(payload, bucket, delivery.verification, delivery.version))
                self._link.post(index, sent[-1])
                board.note("has sent", index)
            # Lets go of what was gathered last.
            next(gathered, None)
            if self._link is not None:
                self._link.finish()
        except Exception as error:
            board.fail(error)
            self._board = None
            # Other ranks are in the same collective operations, and would wait in them for this one.
            deque(gathered, maxlen=0)
            raise
        return tuple(sent)

    def _turn_to(self, delivery: Delivery) -> Board:
        if self._board is not None and self._board.delivery.link == delivery.link:
            self._board.begin(delivery)
            return self._board
        self._link, self._is_open = None, False
        if self._store is None:
            self._store = join_store(delivery.address, delivery.port)
        self._board = Board(self._store, f"learner rank {self._rank}", delivery)
        return self._board


class WeightReceiver:
    """The half in a process that holds an engine's model. Keeps its link from one delivery to the next.

    Args:
        worker: Position among the processes of its engine.
        device: Where the model lies.
    """

    def __init__(self, worker: int, device: torch.device) -> None:
        self._worker = worker
        self._device = device
        self._board: Board | None = None
        self._link: ReceivingLink | None = None

    def receive(self, delivery: Delivery, load: Callable[[NamedTensors], None]) -> tuple[str, ...]:
        """Takes and loads one bucket after the other.

        Args:
            delivery: What comes, and how.
            load: Is given the named tensors of a bucket, on the link's device. They are gone when it returns: what it
                still needs it must copy.

        Returns:
            Checksums of what arrived, by bucket.

        Raises:
            TransferHangError: somebody waited too long.
            WeightTransferError: other bytes arrived than were sent, or somebody else failed.
        """
        board = self._turn_to(delivery)
        try:
            if self._link is None:
                board.note("is opening the link for", 0)
                self._link = receiving_link(delivery, board, self._device, delivery.receiver(self._worker))
            link, arrived = self._link, []
            for index, bucket in enumerate(delivery.buckets):
                board.note("waits for", index)
                payload, sent = link.take(index)
                arrived.append(checksum(payload, bucket, delivery.verification, delivery.version))
                if arrived[-1] != sent:
                    raise WeightTransferError(
                        f"version {delivery.version}, bucket {index} ({bucket.span}): checksum {sent} was sent, "
                        f"{arrived[-1]} arrived"
                    )
                board.note("loading", index)
                load(unpack(bucket, payload))
                link.release(index)
        except Exception as error:
            board.fail(error)
            self._board = None
            raise
        return tuple(arrived)

    def _turn_to(self, delivery: Delivery) -> Board:
        if self._board is not None and self._board.delivery.link == delivery.link:
            self._board.begin(delivery)
            return self._board
        self._link = None
        name = delivery.participants()[delivery.ranks + delivery.receiver(self._worker)]
        self._board = Board(join_store(delivery.address, delivery.port), name, delivery)
        return self._board
