"""A publication that did not arrive is noticed (invariant 8)."""

import numpy as np
import pytest

from learners.publish import (
    PROBE_SEQUENCES,
    PROBE_TOKENS,
    WeightMismatchError,
    probe_ids,
    verify_probe,
    verify_receipts,
)
from thor_ray.weights import BucketManifest, WeightManifest, WeightReceipt

MANIFEST = WeightManifest(3, (BucketManifest((), 0, "abc"),))


def receipt(version: int = 3, checksum: str = MANIFEST.checksum) -> WeightReceipt:
    return WeightReceipt(version, checksum, 0.1)


def test_matching_receipts_pass():
    verify_receipts(MANIFEST, [receipt(), receipt()])


def test_an_old_version_is_noticed():
    with pytest.raises(WeightMismatchError, match="engine 1 serves weights 2, but 3"):
        verify_receipts(MANIFEST, [receipt(), receipt(version=2)])


def test_changed_bytes_are_noticed():
    with pytest.raises(WeightMismatchError, match="engine 0 computed checksum f00"):
        verify_receipts(MANIFEST, [receipt(checksum="f00")])


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
