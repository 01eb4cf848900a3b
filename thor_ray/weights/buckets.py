"""Which parameter lies where in which bucket, and moving bytes in and out of one.

The plan is made of names, dtypes and shapes alone, so that both sides have it before anything is gathered. Names are
those of the Hugging Face checkpoint; tied parameters are sent once, under their first name.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch

BUCKET_BYTES: Final = 512 * 2**20
"""Default size of a bucket: large enough to make per-message costs vanish, small enough to fit beside a model."""

PIPELINED_BUCKETS: Final = 8
SMALLEST_BUCKET_BYTES: Final = 4 * 2**20
"""A model that is not much larger than a bucket is cut into so many, but not into smaller ones: with one bucket, packing
and loading could not overlap."""

ALIGNMENT: Final = 16
"""Bytes; each tensor starts at a multiple, so that a view of any dtype into the bucket is legal."""


class WeightTransferError(RuntimeError):
    """What arrived is not what was sent, does not fit the model, or did not arrive. The run must stop (invariant 8)."""


@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """What has to be known of a parameter to plan its way.

    Attributes:
        name: In the Hugging Face checkpoint.
        dtype: As torch spells it, without the prefix: ``float32``, ``bfloat16``.
        shape: Full, unsharded shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return math.prod(self.shape) * dtype.itemsize


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one parameter lies in its bucket.

    Attributes:
        name: See `ParameterFacts`, as for the next two.
        dtype: Its dtype.
        shape: Its shape.
        offset: First byte within the bucket.
        nbytes: Length in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one bucket holds; ``nbytes`` is its length, padding between tensors included."""

    tensors: tuple[TensorEntry, ...]
    nbytes: int

    @property
    def span(self) -> str:
        """First and last parameter, for messages."""
        first, last = self.tensors[0].name, self.tensors[-1].name
        return first if first == last else f"{first} to {last}"


def plan_buckets(parameters: Iterable[ParameterFacts], bucket_bytes: int = BUCKET_BYTES) -> tuple[Bucket, ...]:
    """Deals parameters out to buckets, in their order.

    Args:
        parameters: All that are sent.
        bucket_bytes: No bucket is larger, except one that holds a single larger tensor.

    Raises:
        ValueError: ``bucket_bytes`` is not positive, or a name comes twice.
    """
    if bucket_bytes <= 0:
        raise ValueError(f"bucket_bytes is {bucket_bytes}, must be positive")
    seen: set[str] = set()
    buckets: list[Bucket] = []
    entries: list[TensorEntry] = []
    end = 0
    for facts in parameters:
        if facts.name in seen:
            raise ValueError(f"parameter {facts.name} comes twice")
        seen.add(facts.name)
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        if entries and offset + facts.nbytes > bucket_bytes:
            buckets.append(Bucket(tuple(entries), end))
            entries, offset = [], 0
        entries.append(TensorEntry(facts.name, facts.dtype, facts.shape, offset, facts.nbytes))
        end = offset + facts.nbytes
    if entries:
        buckets.append(Bucket(tuple(entries), end))
    return tuple(buckets)


def plan_pipeline(parameters: Sequence[ParameterFacts], most_bytes: int = BUCKET_BYTES) -> tuple[Bucket, ...]:
    """As `plan_buckets`, with smaller buckets where the model is small."""
    total = sum(facts.nbytes for facts in parameters)
    return plan_buckets(parameters, min(most_bytes, max(total // PIPELINED_BUCKETS, SMALLEST_BUCKET_BYTES)))


def pack(bucket: Bucket, tensors: Iterable[tuple[str, torch.Tensor]], payload: torch.Tensor) -> None:
    """Copies parameters into a bucket's bytes; one copy each, whatever their device.

    Args:
        bucket: What belongs where.
        tensors: Exactly its parameters, in its order. Each is done with before the next one is asked for.
        payload: uint8 ``[bucket.nbytes]``, written to.

    Raises:
        WeightTransferError: a parameter is not the one that was planned.
    """
    for entry, (name, tensor) in zip(bucket.tensors, tensors, strict=True):
        found = (name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        if found != (entry.name, entry.dtype, entry.shape):
            raise WeightTransferError(
                f"{found} came where ({entry.name!r}, {entry.dtype!r}, {entry.shape}) was planned"
            )
        _view(payload, entry).copy_(tensor.detach())


def unpack(bucket: Bucket, payload: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Named views into a bucket; they share its memory.

    Args:
        bucket: What it holds.
        payload: uint8 ``[bucket.nbytes]``.

    Raises:
        WeightTransferError: the payload has another length.
    """
    if payload.numel() != bucket.nbytes:
        raise WeightTransferError(f"a bucket of {payload.numel()} bytes arrived, {bucket.nbytes} were announced")
    for entry in bucket.tensors:
        yield entry.name, _view(payload, entry)


def largest(buckets: Sequence[Bucket]) -> int:
    """Bytes of the largest bucket."""
    return max(bucket.nbytes for bucket in buckets)


def _view(payload: torch.Tensor, entry: TensorEntry) -> torch.Tensor:
    raw = payload[entry.offset : entry.offset + entry.nbytes]
    return raw.view(getattr(torch, entry.dtype)).view(entry.shape)
