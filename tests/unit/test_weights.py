"""Weights survive packing bit by bit, bucket sizes are bounded, and damage is noticed."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.weights import (
    ALIGNMENT,
    WeightManifest,
    WeightTransferError,
    checksum,
    combined_checksum,
    pack_buckets,
    unpack_bucket,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64]
shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)
models = st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), min_size=1, max_size=8)


def make(model: list[tuple[tuple[int, ...], torch.dtype]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"layer.{index}": (torch.randn(shape, generator=generator) * 100).to(dtype)
        for index, (shape, dtype) in enumerate(model)
    }


@given(models, st.integers(1, 600))
def test_round_trip_is_exact_and_buckets_are_bounded(
    model: list[tuple[tuple[int, ...], torch.dtype]], bucket_bytes: int
) -> None:
    parameters = make(model)
    arrived: dict[str, torch.Tensor] = {}
    for payload, manifest in pack_buckets(parameters.items(), bucket_bytes):
        assert payload.nbytes == manifest.nbytes
        assert manifest.nbytes <= bucket_bytes or len(manifest.tensors) == 1
        assert all(entry.offset % ALIGNMENT == 0 for entry in manifest.tensors)
        assert checksum(payload) == manifest.checksum
        arrived.update(unpack_bucket(torch.from_numpy(payload), manifest))
    assert list(arrived) == list(parameters)
    for name, tensor in parameters.items():
        assert arrived[name].dtype == tensor.dtype
        assert torch.equal(arrived[name], tensor)


def test_a_parameter_may_vanish_once_the_next_is_asked_for() -> None:
    def gathered() -> object:
        for index in range(3):
            tensor = torch.full((4,), float(index))
            yield f"p{index}", tensor
            tensor.fill_(float("nan"))

    [(payload, manifest)] = pack_buckets(gathered())  # type: ignore[arg-type]
    values = dict(unpack_bucket(torch.from_numpy(payload), manifest))
    assert [values[f"p{index}"][0].item() for index in range(3)] == [0.0, 1.0, 2.0]


@given(st.integers(0, 63), st.integers(0, 7))
def test_every_flipped_bit_changes_the_checksum(byte: int, bit: int) -> None:
    [(payload, manifest)] = pack_buckets([("w", torch.arange(16, dtype=torch.float32))])
    damaged = payload.copy()
    damaged[byte] ^= np.uint8(1 << bit)
    assert checksum(damaged) != manifest.checksum


def test_the_checksum_of_a_version_sees_the_order_of_its_buckets() -> None:
    manifests = tuple(m for _, m in pack_buckets([("a", torch.zeros(4)), ("b", torch.ones(4))], bucket_bytes=16))
    manifest = WeightManifest(1, manifests)
    assert manifest.checksum == combined_checksum(bucket.checksum for bucket in manifests)
    assert manifest.checksum != dataclasses.replace(manifest, buckets=manifests[::-1]).checksum
    assert manifest.nbytes == 32
    assert [entry.name for entry in manifest.tensors] == ["a", "b"]


def test_bad_input_is_refused() -> None:
    [(payload, manifest)] = pack_buckets([("w", torch.zeros(4))])
    with pytest.raises(WeightTransferError, match="15 bytes arrived, 16 were announced"):
        list(unpack_bucket(torch.from_numpy(payload[:15]), manifest))
    with pytest.raises(ValueError, match="w comes twice"):
        list(pack_buckets([("w", torch.zeros(1)), ("w", torch.zeros(1))]))
    with pytest.raises(ValueError, match="must be positive"):
        list(pack_buckets([("w", torch.zeros(1))], bucket_bytes=0))
