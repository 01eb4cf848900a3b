"""The learner's numerics on CUDA devices, in bfloat16 and float32; skipped where there are too few.

The references are those of the CPU tests: a plain torch loop in float32. Ranks pack with the variable-length flash kernel
in bfloat16, and sequence by sequence in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learners.checkpoint import CheckpointState
from learners.ranks import wait_all
from learners.sequences import TrainingSequence
from tests.integration.learners.probed_ranks import TIMEOUT, Gradients, Ranks, assert_same_weights
from thor_ray.config import OffloadConfig

pytestmark = pytest.mark.gpu

History = list[tuple[float, float]]


def started(count: int, policy: Path) -> Iterator[Ranks]:
    if torch.cuda.device_count() < count:
        pytest.skip(f"{count} CUDA devices are needed, and there is {torch.cuda.device_count()}")
    group = Ranks(count, policy, gpus=1)
    wait_all(group.ready, "rank", TIMEOUT)
    yield group
    group.close()


@pytest.fixture(scope="module")
def rank(ray_cluster: Any, policy: Path) -> Iterator[Ranks]:
    yield from started(1, policy)


@pytest.fixture(scope="module")
def pair(ray_cluster: Any, policy: Path) -> Iterator[Ranks]:
    yield from started(2, policy)


def flat(gradients: Gradients) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([gradients[name].ravel() for name in sorted(gradients)]).astype(np.float64)


def assert_near(found: Gradients, expected: Gradients) -> None:
    """As near as bfloat16 lets whole gradients be: in direction and in length."""
    assert found.keys() == expected.keys()
    left, right = flat(found), flat(expected)
    norms = np.linalg.norm(left), np.linalg.norm(right)
    assert left @ right / (norms[0] * norms[1]) > 0.999
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


@pytest.mark.parametrize("stage", [0, 3])
def test_gradients_in_float32_are_those_of_plain_torch(
    rank: Ranks, sequences: list[TrainingSequence], reference_gradients: Gradients, stage: int
):
    scale = max(float(np.abs(gradient).max()) for gradient in reference_gradients.values())
    for packing in (False, True):
        rank.restart(stage)
        for name, gradient in rank.gradients(sequences, 96, packing).items():
            np.testing.assert_allclose(gradient, reference_gradients[name], rtol=1e-3, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_in_bfloat16_are_near_those_in_float32(
    rank: Ranks, sequences: list[TrainingSequence], reference_gradients: Gradients, stage: int
):
    for packing in (False, True):
        rank.restart(stage, "bfloat16")
        assert_near(rank.gradients(sequences, 96, packing), reference_gradients)


@pytest.mark.parametrize(
    ("stage", "options"),
    [(1, {}), (2, {"offload": OffloadConfig(optimizer="cpu")}), (3, {"gradient_checkpointing": True})],
)
def test_training_in_bfloat16_is_near_that_in_float32(
    rank: Ranks, sequences: list[TrainingSequence], reference_training: History, stage: int, options: dict[str, Any]
):
    rank.restart(stage, "bfloat16", **options)
    history = [rank.update(sequences, 96) for _ in reference_training]
    np.testing.assert_allclose(history[0], reference_training[0], rtol=0.01)
    np.testing.assert_allclose([loss for loss, _ in history], [loss for loss, _ in reference_training], rtol=0.05)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_optimizer_that_makes_room_leaves_the_device_and_learns_the_same(
    rank: Ranks, sequences: list[TrainingSequence], dtype: str
):
    rank.restart(2, dtype)
    expected = [rank.update(sequences, 96) for _ in range(3)]
    rank.restart(2, dtype)
    found = []
    for _ in expected:
        found.append(rank.update(sequences, 96))
        assert rank.call("optimizer_devices") == [{"cuda"}]
        rank.call("offload_states")
        assert rank.call("optimizer_devices") == [{"cpu"}]
        rank.log_probs(sequences)
        rank.call("reload_states")
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("stage", [1, 3])
def test_weights_in_bfloat16_survive_a_checkpoint(
    rank: Ranks, sequences: list[TrainingSequence], tmp_path: Path, stage: int
):
    rank.restart(stage, "bfloat16")
    rank.update(sequences, 96)
    rank.call("save", tmp_path / "checkpoint", CheckpointState(5, 1, 1, stage, "bfloat16"))
    expected = rank.call("parameters")
    rank.restart(stage, "bfloat16")
    rank.call("load", tmp_path / "checkpoint")
    assert_same_weights(rank.call("parameters"), expected, atol=0)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("sharing", [1, 2])
def test_two_ranks_give_the_gradients_of_one_whether_they_share_sequences_or_not(
    pair: Ranks, sequences: list[TrainingSequence], reference_gradients: Gradients, stage: int, sharing: int
):
    pair.restart(stage, "bfloat16", sequence_parallel=sharing)
    assert_near(pair.gradients(sequences, 96, packing=True), reference_gradients)
