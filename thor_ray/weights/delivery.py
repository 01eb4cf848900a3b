"""What all who take part in a publication are told, and what an engine answers."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, Self

from thor_ray.weights.buckets import Bucket, TensorEntry
from thor_ray.weights.checksums import Verification, combined_checksum

Transport = Literal["shared_memory", "gloo", "nccl", "cuda_ipc", "file"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One publication of one version.

    Attributes:
        link: Names the connection; the same as long as the same processes take part and nothing failed.
        number: Of the delivery over this link.
        transport: The wire.
        address: Host of the board, which is that of learner rank 0.
        port: Of the board.
        version: Of the weights.
        buckets: In the order of sending.
        ranks: Learner ranks.
        engines: Engines that receive.
        workers: Processes of each engine that hold a part of the model.
        verification: What checksums look at.
        timeout_seconds: After which a wait for one bucket counts as a hang.
        directory: For files, on storage that all nodes share.
        engine: Which engine this copy is for; learner ranks do not look at it.
    """

    link: str
    number: int
    transport: Transport
    address: str
    port: int
    version: int
    buckets: tuple[Bucket, ...]
    ranks: int = 1
    engines: int = 1
    workers: int = 1
    verification: Verification = "sampled"
    timeout_seconds: float = 300.0
    directory: str | None = None
    engine: int = 0

    @property
    def receivers(self) -> int:
        """Processes that load, over all engines."""
        return self.engines * self.workers

    @property
    def nbytes(self) -> int:
        """Bytes of all buckets."""
        return sum(bucket.nbytes for bucket in self.buckets)

    def participants(self) -> tuple[str, ...]:
        """Names of all who take part: learner ranks, then receivers in their order."""
        ranks = (f"learner rank {rank}" for rank in range(self.ranks))
        workers = (f"engine {each // self.workers} worker {each % self.workers}" for each in range(self.receivers))
        return (*ranks, *workers)

    def receiver(self, worker: int) -> int:
        """Position among all receivers of a worker of the engine that this copy is for."""
        return self.engine * self.workers + worker

    def to_engine(self, engine: int) -> Self:
        """The copy for one engine."""
        return dataclasses.replace(self, engine=engine)

    def to_json(self) -> str:
        """As text, since vLLM's wire takes plain values only."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        buckets = tuple(
            Bucket(
                tuple(TensorEntry(**{**entry, "shape": tuple(entry["shape"])}) for entry in bucket["tensors"]),
                bucket["nbytes"],
            )
            for bucket in fields.pop("buckets")
        )
        return cls(**fields, buckets=buckets)


@dataclass(frozen=True, slots=True)
class WeightReceipt:
    """An engine's word that it now serves a version.

    Attributes:
        version: The version it serves.
        checksums: Of each bucket, computed from the bytes that arrived in the process which holds the model.
        seconds: From the call to the first prompt that it could have served.
    """

    version: int
    checksums: tuple[str, ...]
    seconds: float

    @property
    def checksum(self) -> str:
        """One for the whole version."""
        return combined_checksum(self.checksums)
