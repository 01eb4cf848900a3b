"""How weights travel from the learner to the engines: flat buckets of bytes and a manifest (invariant 8).

The learner packs parameters one after the other into buckets of at most ``bucket_bytes``, so that neither side ever
holds more than one bucket beside its model, and a ZeRO-3 learner gathers no more than it sends. The manifest says
what lies where and carries a checksum per bucket; whoever loads a bucket computes the checksum again from the bytes
that arrived. Names are those of the Hugging Face checkpoint; tied parameters are sent once, under their first name.

Which wire carries the buckets (Ray's object store, NCCL, a file) is not decided here.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

BUCKET_BYTES: Final = 512 * 2**20
"""Default size of a bucket: large enough to make per-message costs vanish, small enough to fit beside a model."""

ALIGNMENT: Final = 16
"""Bytes; each tensor starts at a multiple, so that a view of any dtype into the bucket is legal."""

Payload = npt.NDArray[np.uint8]
"""The bytes of one bucket, ``[nbytes]``."""


class WeightTransferError(RuntimeError):
    """What arrived is not what was sent, or does not fit the model. The run must stop (invariant 8)."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one parameter lies in its bucket.

    Attributes:
        name: The parameter's name in the Hugging Face checkpoint.
        dtype: As torch spells it, without the prefix: ``float32``, ``bfloat16``.
        shape: Full, unsharded shape.
        offset: First byte within the bucket.
        nbytes: Length in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class BucketManifest:
    """What one bucket holds, and the checksum of its bytes."""

    tensors: tuple[TensorEntry, ...]
    nbytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class WeightManifest:
    """What one published version consists of."""

    version: int
    buckets: tuple[BucketManifest, ...]

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        """Entries of all buckets in the order of sending."""
        return tuple(entry for bucket in self.buckets for entry in bucket.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all buckets."""
        return sum(bucket.nbytes for bucket in self.buckets)

    @property
    def checksum(self) -> str:
        """One checksum for the whole version."""
        return combined_checksum(bucket.checksum for bucket in self.buckets)


@dataclass(frozen=True, slots=True)
class WeightReceipt:
    """An engine's word that it now serves a version.

    Attributes:
        version: The version it serves.
        checksum: ``combined_checksum`` of the bytes that arrived in the process which holds the model.
        seconds: From the call to the first prompt that it could have served.
    """

    version: int
    checksum: str
    seconds: float


def checksum(payload: Payload | bytes | memoryview) -> str:
    """BLAKE2b of a bucket's bytes, 128 bits in hexadecimal."""
    data = payload.data if isinstance(payload, np.ndarray) else payload
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def combined_checksum(checksums: Iterable[str]) -> str:
    """The checksum of a sequence of buckets, from those of the buckets, order included."""
    return checksum("\n".join(checksums).encode())


def pack_buckets(
    parameters: Iterable[tuple[str, torch.Tensor]], bucket_bytes: int = BUCKET_BYTES
) -> Iterator[tuple[Payload, BucketManifest]]:
    """Packs named parameters into buckets, lazily: a bucket is yielded as soon as the next tensor would not fit.

    Args:
        parameters: Full tensors of any device; each is copied to the host before the next one is asked for, so that
            a generator may gather a sharded parameter, yield it and let go of it.
        bucket_bytes: No bucket is larger, except one that holds a single larger tensor.

    Raises:
        ValueError: ``bucket_bytes`` is not positive, or a name comes twice.
    """
    if bucket_bytes <= 0:
        raise ValueError(f"bucket_bytes is {bucket_bytes}, must be positive")
    seen: set[str] = set()
    pending: list[tuple[TensorEntry, torch.Tensor]] = []
    end = 0
    for name, tensor in parameters:
        if name in seen:
            raise ValueError(f"parameter {name} comes twice")
        seen.add(name)
        offset, nbytes = _aligned(end), tensor.numel() * tensor.element_size()
        if pending and offset + nbytes > bucket_bytes:
            yield _seal(pending, end)
            pending, offset = [], 0
        entry = TensorEntry(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), offset, nbytes)
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        pending.append((entry, raw.to("cpu", copy=True)))
        end = offset + nbytes
    if pending:
        yield _seal(pending, end)


def unpack_bucket(payload: torch.Tensor, manifest: BucketManifest) -> Iterator[tuple[str, torch.Tensor]]:
    """Named views into a bucket; they share its memory.

    Args:
        payload: uint8 ``[manifest.nbytes]`` on the device where the parameters are wanted.
        manifest: What it holds.

    Raises:
        WeightTransferError: the payload has another length than the manifest says.
    """
    if payload.numel() != manifest.nbytes:
        raise WeightTransferError(f"a bucket of {payload.numel()} bytes arrived, {manifest.nbytes} were announced")
    for entry in manifest.tensors:
        raw = payload[entry.offset : entry.offset + entry.nbytes]
        yield entry.name, raw.view(getattr(torch, entry.dtype)).view(entry.shape)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _seal(pending: list[tuple[TensorEntry, torch.Tensor]], nbytes: int) -> tuple[Payload, BucketManifest]:
    payload = torch.zeros(nbytes, dtype=torch.uint8)
    for entry, raw in pending:
        payload[entry.offset : entry.offset + entry.nbytes] = raw
    array = payload.numpy()
    return array, BucketManifest(tuple(entry for entry, _ in pending), nbytes, checksum(array))
