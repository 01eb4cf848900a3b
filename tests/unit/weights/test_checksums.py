"""What checksums notice, by how much they look at."""

import pytest
import torch

from thor_ray.weights import Bucket, ParameterFacts, Verification, checksum, combined_checksum, plan_buckets
from thor_ray.weights.checksums import STRIDE

LENGTHS = [7, 3 * STRIDE + 100, STRIDE, 600]


@pytest.fixture
def bucket() -> Bucket:
    [planned] = plan_buckets(ParameterFacts(f"p{index}", "uint8", (length,)) for index, length in enumerate(LENGTHS))
    return planned


@pytest.fixture
def payload(bucket: Bucket) -> torch.Tensor:
    return torch.randint(0, 256, (bucket.nbytes,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("verification", ["sampled", "full"])
def test_a_tensor_that_is_stale_shifted_or_swapped_is_noticed(
    bucket: Bucket, payload: torch.Tensor, verification: Verification
) -> None:
    right = checksum(payload, bucket, verification, 3)
    assert checksum(payload.clone(), bucket, verification, 3) == right
    for entry in bucket.tensors:
        region = slice(entry.offset, entry.offset + entry.nbytes)
        for damage in (torch.zeros(entry.nbytes, dtype=torch.uint8), payload[region].roll(1)):
            damaged = payload.clone()
            damaged[region] = damage
            assert checksum(damaged, bucket, verification, 3) != right, entry


def test_full_notices_every_byte_and_a_sample_those_it_looks_at(bucket: Bucket, payload: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    entry = bucket.tensors[1]
    noticed = {"sampled": 0, "full": 0}
    for position in torch.randint(entry.nbytes, (400,), generator=generator).tolist():
        damaged = payload.clone()
        damaged[entry.offset + position] ^= 1
        for verification in ("sampled", "full"):
            if checksum(damaged, bucket, verification, 3) != checksum(payload, bucket, verification, 3):
                noticed[verification] += 1
    assert noticed["full"] == 400
    assert 0 < noticed["sampled"] < 40


def test_samples_lie_elsewhere_in_the_next_version(bucket: Bucket, payload: torch.Tensor) -> None:
    assert checksum(payload, bucket, "sampled", 1) != checksum(payload, bucket, "sampled", 2)
    assert checksum(payload, bucket, "full", 1) == checksum(payload, bucket, "full", 2)


def test_padding_does_not_count(bucket: Bucket, payload: torch.Tensor) -> None:
    padded = payload.clone()
    padded[LENGTHS[0]] ^= 1
    for verification in ("sampled", "full"):
        assert checksum(padded, bucket, verification, 1) == checksum(payload, bucket, verification, 1)


def test_the_order_of_buckets_counts() -> None:
    assert combined_checksum(["a", "b"]) != combined_checksum(["b", "a"])
