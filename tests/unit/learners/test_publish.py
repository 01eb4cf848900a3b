"""A publication that did not arrive is noticed (invariant 8)."""

import numpy as np
import pytest

from learners.publish import (
    PROBE_SEQUENCES,
    PROBE_TOKENS,
    Sent,
    TransportError,
    WeightMismatchError,
    choose_transport,
    probe_ids,
    verify_probe,
    verify_receipts,
)
from thor_ray.config import PublishingConfig
from thor_ray.weights import Delivery, ParameterFacts, WeightReceipt, plan_buckets

BUCKETS = plan_buckets([ParameterFacts(name, "float32", (4,)) for name in ("first", "second")], bucket_bytes=16)
SENT = Sent(Delivery("l", 1, "shared_memory", "host", 1, 3, BUCKETS), ("abc", "def"))


def receipt(version: int = 3, checksums: tuple[str, ...] = SENT.checksums) -> WeightReceipt:
    return WeightReceipt(version, checksums, 0.1)


def test_matching_receipts_pass():
    verify_receipts(SENT, [receipt(), receipt()])


def test_an_old_version_is_noticed():
    with pytest.raises(WeightMismatchError, match="engine 1 serves weights 2, but 3"):
        verify_receipts(SENT, [receipt(), receipt(version=2)])


def test_changed_bytes_are_noticed():
    with pytest.raises(
        WeightMismatchError, match="engine 0 computed checksum f00 of weights 3, second, the learner def"
    ):
        verify_receipts(SENT, [receipt(checksums=("abc", "f00"))])


def test_missing_buckets_are_noticed():
    with pytest.raises(WeightMismatchError, match="engine 0 got 1 buckets of weights 3, not 2"):
        verify_receipts(SENT, [receipt(checksums=("abc",))])


@pytest.mark.parametrize(
    ("gpus", "nodes", "chosen"), [(0, 1, "shared_memory"), (0, 2, "gloo"), (8, 1, "nccl"), (8, 2, "nccl")]
)
def test_auto_chooses_the_fastest_that_works(gpus: int, nodes: int, chosen: str):
    assert choose_transport(PublishingConfig(), gpus, nodes) == chosen


def test_what_was_asked_for_is_taken_where_it_is_possible():
    assert choose_transport(PublishingConfig(transport="gloo"), 8, 1) == "gloo"
    assert choose_transport(PublishingConfig(transport="cuda_ipc"), 1, 1) == "cuda_ipc"


@pytest.mark.parametrize("transport", ["nccl", "cuda_ipc"])
def test_what_needs_gpus_is_refused_where_there_are_none(transport: str):
    with pytest.raises(TransportError, match=f"publishing.transport: {transport} needs GPUs"):
        choose_transport(PublishingConfig(transport=transport), 0, 1)


def test_the_largest_gap_over_all_engines_is_reported():
    learner = [[-1.0, -2.0], [-3.0]]
    engines = [learner, [[-1.0, -2.0004], [-3.0001]]]
    assert verify_probe(learner, engines, 1e-3) == pytest.approx(4e-4)


@pytest.mark.parametrize("answer", [-2.1, float("nan"), float("inf")])
def test_other_log_probs_are_noticed(answer):
    with pytest.raises(WeightMismatchError, match=r"engine 0 differs .* probe sequence 1"):
        verify_probe([[-1.0], [-2.0]], [[[-1.0], [answer]]], 1e-3)


def test_missing_log_probs_are_noticed():
    with pytest.raises(WeightMismatchError, match="another number"):
        verify_probe([[-1.0, -2.0]], [[[-1.0]]], 1e-3)


def test_the_probe_is_what_was_trained_on_last():
    trained = [np.arange(start, start + 100) for start in range(9)]
    probe = probe_ids(trained, 200)
    assert probe == [list(range(start, start + PROBE_TOKENS)) for start in range(PROBE_SEQUENCES)]


def test_before_training_the_probe_is_random_but_the_same_each_time():
    probe = probe_ids([], 50)
    assert probe == probe_ids([], 50)
    assert len(probe) == PROBE_SEQUENCES
    assert {token for ids in probe for token in ids} <= set(range(50))
