"""Checksums of buckets: of a sample of every tensor, which costs next to nothing, or of every byte."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import torch

from thor_ray.weights.buckets import Bucket

Verification = Literal["sampled", "full"]

BLOCK: Final = 512
"""Bytes that are looked at together."""

STRIDE: Final = 64 * 1024
"""One block of each so many bytes is looked at, and at least one of each tensor: below 1 % of a large model."""


def checksum(payload: torch.Tensor, bucket: Bucket, verification: Verification, version: int) -> str:
    """BLAKE2b of a bucket's tensors, 128 bits in hexadecimal; padding does not count.

    A sample holds the beginning of each stride of each tensor, shifted by an amount that depends on the version, and
    the tensor's last bytes. It notices tensors that are stale, swapped, torn or shifted; of single damaged bytes it
    notices about one in a hundred, whereas ``full`` notices all, at about one second a gigabyte.

    Args:
        payload: uint8 ``[bucket.nbytes]`` on any device.
        bucket: What it holds.
        verification: Which of both.
        version: Of the weights.
    """
    pieces = (payload[entry.offset : entry.offset + entry.nbytes] for entry in bucket.tensors)
    hasher = hashlib.blake2b(digest_size=16)
    if verification == "full":
        for piece in pieces:
            hasher.update(piece.cpu().numpy().data)
    else:
        # Put together on the device, so that a GPU is waited for once.
        samples = [sample for piece in pieces for sample in _samples(piece, version)]
        hasher.update(torch.cat(samples).cpu().numpy().data)
    return hasher.hexdigest()


def combined_checksum(checksums: Iterable[str]) -> str:
    """The checksum of a sequence of buckets, from those of the buckets, order included."""
    return hashlib.blake2b("\n".join(checksums).encode(), digest_size=16).hexdigest()


def _samples(piece: torch.Tensor, version: int) -> Iterator[torch.Tensor]:
    rows = piece.numel() // STRIDE
    if rows:
        # A large odd factor, so that the samples of consecutive versions lie far apart.
        phase = version * 40503 % (STRIDE - BLOCK + 1)
        yield piece[: rows * STRIDE].view(rows, STRIDE)[:, phase : phase + BLOCK].reshape(-1)
    yield piece[-BLOCK:]
