"""Weights survive packing bit by bit, bucket sizes are bounded, and what was not planned is refused (invariant 8)."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.weights import (
    ALIGNMENT,
    Bucket,
    ParameterFacts,
    WeightTransferError,
    pack,
    plan_buckets,
    plan_pipeline,
    unpack,
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


def facts(parameters: dict[str, torch.Tensor]) -> list[ParameterFacts]:
    return [
        ParameterFacts(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in parameters.items()
    ]


def plan_one(**parameters: torch.Tensor) -> Bucket:
    [bucket] = plan_buckets(facts(parameters))
    return bucket


@given(models, st.integers(1, 600))
def test_round_trip_is_exact_and_buckets_are_bounded(
    model: list[tuple[tuple[int, ...], torch.dtype]], bucket_bytes: int
) -> None:
    parameters = make(model)
    arrived: dict[str, torch.Tensor] = {}
    for bucket in plan_buckets(facts(parameters), bucket_bytes):
        assert bucket.nbytes <= bucket_bytes or len(bucket.tensors) == 1
        assert all(entry.offset % ALIGNMENT == 0 for entry in bucket.tensors)
        payload = torch.zeros(bucket.nbytes, dtype=torch.uint8)
        pack(bucket, ((entry.name, parameters[entry.name]) for entry in bucket.tensors), payload)
        arrived.update(unpack(bucket, payload))
    assert list(arrived) == list(parameters)
    for name, tensor in parameters.items():
        assert arrived[name].dtype == tensor.dtype
        assert torch.equal(arrived[name], tensor)


def test_a_parameter_may_vanish_once_the_next_is_asked_for() -> None:
    bucket = plan_one(**{f"p{index}": torch.zeros(4) for index in range(3)})

    def gathered() -> Iterator[tuple[str, torch.Tensor]]:
        for index in range(3):
            tensor = torch.full((4,), float(index))
            yield f"p{index}", tensor
            tensor.fill_(float("nan"))

    payload = torch.zeros(bucket.nbytes, dtype=torch.uint8)
    pack(bucket, gathered(), payload)
    assert {name: tensor[0].item() for name, tensor in unpack(bucket, payload)} == {"p0": 0, "p1": 1, "p2": 2}


def test_a_tensor_that_does_not_lie_in_one_piece_is_packed_in_its_own_order() -> None:
    transposed = torch.arange(6.0).view(2, 3).T
    bucket, payload = plan_one(w=transposed), torch.zeros(24, dtype=torch.uint8)
    pack(bucket, [("w", transposed)], payload)
    assert torch.equal(dict(unpack(bucket, payload))["w"], transposed)


@pytest.mark.parametrize("other", [torch.zeros(5), torch.zeros(4, dtype=torch.bfloat16)])
def test_what_was_not_planned_is_refused(other: torch.Tensor) -> None:
    bucket, payload = plan_one(w=torch.zeros(4)), torch.zeros(16, dtype=torch.uint8)
    with pytest.raises(WeightTransferError, match="was planned"):
        pack(bucket, [("w", other)], payload)
    with pytest.raises(WeightTransferError, match="was planned"):
        pack(bucket, [("v", torch.zeros(4))], payload)


def test_a_payload_of_another_length_is_refused() -> None:
    with pytest.raises(WeightTransferError, match="15 bytes arrived, 16 were announced"):
        list(unpack(plan_one(w=torch.zeros(4)), torch.zeros(15, dtype=torch.uint8)))


def test_names_and_sizes_are_checked() -> None:
    twice = [ParameterFacts("w", "float32", (1,))] * 2
    with pytest.raises(ValueError, match="w comes twice"):
        plan_buckets(twice)
    with pytest.raises(ValueError, match="bucket_bytes is 0"):
        plan_buckets(twice[:1], bucket_bytes=0)


@pytest.mark.parametrize(("tensors", "buckets"), [(1, 1), (4, 1), (8, 2), (64, 8), (6400, 13)])
def test_small_models_are_cut_into_enough_buckets_to_overlap(tensors: int, buckets: int) -> None:
    mebibyte_each = [ParameterFacts(f"w{index}", "float32", (2**18,)) for index in range(tensors)]
    assert len(plan_pipeline(mebibyte_each)) == buckets
