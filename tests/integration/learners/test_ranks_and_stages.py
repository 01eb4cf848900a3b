"""However many ranks, micro-batches and ZeRO stages: the same gradients and the same training (invariant 9).

Where a test does not say how micro-batches are laid out, they are packed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from learners.checkpoint import CheckpointState
from learners.exporting import export_checkpoint
from learners.packing import plan
from learners.ranks import wait_all
from tests.integration.learners.probed_ranks import OPTIMIZER, TIMEOUT, Ranks, assert_same_weights
from thor_ray.config import LoraConfig, ObjectiveConfig, OffloadConfig


@pytest.fixture(scope="module")
def ranks(ray_cluster: Any, policy: Path) -> Iterator[dict[int, Ranks]]:
    """Groups of one and of two ranks; their slow start runs at the same time."""
    groups = {count: Ranks(count, policy) for count in (1, 2)}
    for group in groups.values():
        wait_all(group.ready, "rank", TIMEOUT)
    yield groups
    for group in groups.values():
        group.close()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_depend_on_neither_ranks_nor_stage_nor_micro_batches_nor_packing(
    ranks, sequences, reference_gradients, stage, count
):
    group = ranks[count]
    scale = max(float(np.abs(gradient).max()) for gradient in reference_gradients.values())
    # One micro-batch; several; as many as sequences, of which two ranks have 6 and 5, so that one takes filler.
    for budget, packing in ((4096, False), (96, False), (40, False), (4096, True), (96, True)):
        group.restart(stage, "float32")
        found = group.gradients(sequences, budget, packing)
        assert found.keys() == reference_gradients.keys()
        for name, gradient in found.items():
            np.testing.assert_allclose(gradient, reference_gradients[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_training_is_that_of_plain_torch(ranks, sequences, reference_training, stage, count):
    group = ranks[count]
    group.restart(stage, "float32")
    # Several chunks of the vocabulary projection, and not the same number on every rank.
    group.call("limit_logits", 2000)
    history = []
    for _ in reference_training:
        # Must leave no trace, although ZeRO-3 records the order in which a pass visits the modules.
        group.call_each("compute_log_probs", plan(sequences[:3], ranks=count, micro_batch_tokens=96))
        history.append(group.update(sequences, 96))
    np.testing.assert_allclose(history, reference_training, rtol=2e-4)


@pytest.mark.parametrize(
    ("stage", "options"),
    [(0, {}), (2, {"gradient_checkpointing": True}), (3, {}), (3, {"gradient_checkpointing": True})],
)
def test_ranks_that_share_sequences_give_the_gradients_of_one(ranks, sequences, reference_gradients, stage, options):
    group = ranks[2]
    scale = max(float(np.abs(gradient).max()) for gradient in reference_gradients.values())
    # All sequences in one row, whose tokens do not part evenly; and several rows.
    assert sum(map(len, sequences)) % 2 == 1
    for budget in (4096, 96):
        group.restart(stage, sequence_parallel=2, **options)
        found = group.gradients(sequences, budget, packing=True)
        assert found.keys() == reference_gradients.keys()
        for name, gradient in found.items():
            np.testing.assert_allclose(gradient, reference_gradients[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveConfig(ratio="sequence", aggregation="sequence_mean", kl_weight=0.1, entropy_weight=0.1),
        ObjectiveConfig(aggregation="sequence_mean_token_sum_norm", norm_tokens=64, denominator="shared"),
    ],
)
def test_objectives_see_whole_sequences_where_ranks_share_them(ranks, sequences, objective):
    """Log-probs of the proximal and the reference policy, losses and what is learnt are those of one rank."""
    histories, log_probs = [], []
    for group, sharing in ((ranks[1], 1), (ranks[2], 2)):
        group.restart(2, sequence_parallel=sharing)
        group.call("configure_optimizer", OPTIMIZER, 10, 1.0, keep_reference=True)
        group.update(sequences, 96)
        attached = [
            replace(one, proximal_log_probs=proximal, reference_log_probs=reference)
            for one, proximal, reference in zip(
                sequences,
                group.token_log_probs(sequences),
                group.token_log_probs(sequences, of_reference=True),
                strict=True,
            )
        ]
        histories.append([group.update(attached, 96, objective) for _ in range(2)])
        log_probs.append(np.concatenate([one.reference_log_probs for one in attached]))
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    np.testing.assert_allclose(log_probs[1], log_probs[0], atol=1e-5)


@pytest.mark.parametrize(
    ("stage", "offload"),
    [
        (2, OffloadConfig(optimizer="cpu")),
        (3, OffloadConfig(optimizer="cpu", parameters="cpu")),
    ],
)
def test_offloading_changes_nothing_but_the_place(ranks, sequences, reference_training, stage, offload):
    group = ranks[2]
    group.restart(stage, "float32", offload=offload)
    history = [group.update(sequences, 96) for _ in reference_training]
    np.testing.assert_allclose(history, reference_training, rtol=2e-4)


@pytest.mark.parametrize(
    ("stage", "dtype", "offload"),
    [
        (2, "float32", OffloadConfig()),
        (2, "bfloat16", OffloadConfig()),
        (1, "bfloat16", OffloadConfig(optimizer="cpu")),
        (3, "float32", OffloadConfig(optimizer="cpu")),
        (3, "float32", OffloadConfig(optimizer="cpu", parameters="cpu")),
    ],
)
def test_an_optimizer_that_makes_room_between_updates_learns_the_same(
    ranks, sequences, tmp_path, stage, dtype, offload
):
    """Meanwhile weights can be published, log-probs computed and checkpoints written."""
    group, left = ranks[2], tmp_path / "checkpoint"
    group.restart(stage, dtype, offload=offload)
    expected = [group.update(sequences, 96) for _ in range(4)]
    weights, log_probs = group.call("parameters"), group.log_probs(sequences)
    group.restart(stage, dtype, offload=offload)
    found = []
    for index in range(4):
        found.append(group.update(sequences, 96))
        group.call("offload_states")
        if index == 1:
            group.call("save", left, CheckpointState(1, 2, 2, stage, dtype))
        if index == 3:
            assert_same_weights(group.call("parameters"), weights, atol=0)
            np.testing.assert_array_equal(group.log_probs(sequences), log_probs)
        group.call("reload_states")
    assert found == expected
    group.restart(stage, dtype, offload=offload)
    group.call("load", left)
    assert [group.update(sequences, 96) for _ in range(2)] == expected[2:]


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "float32"), (2, "bfloat16"), (3, "float32")])
def test_an_update_that_is_not_finite_leaves_no_trace(ranks, sequences, stage, dtype):
    group = ranks[2]
    broken = replace(sequences[0], advantage=np.nan)
    histories = []
    for minibatches in ((sequences, sequences), (sequences, [broken, *sequences[1:]], sequences)):
        group.restart(stage, dtype)
        found = [group.update(one, 96) for one in minibatches]
        histories.append([result for result in found if np.isfinite(result).all()])
    assert len(histories[1]) == 2
    assert histories[0] == histories[1]


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_adapters_train_and_come_out_merged(ranks, policy, sequences, tmp_path, stage):
    group = ranks[2]
    base = dict(AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).named_parameters())
    group.restart(stage, "float32", lora=LoraConfig(rank=4, alpha=8, layers=("q_proj", "up_proj")))
    before = group.log_probs(sequences)
    losses = [group.update(sequences, 96)[0] for _ in range(4)]
    assert losses[-1] < losses[0]
    trained = group.log_probs(sequences)
    assert not np.allclose(before, trained, atol=1e-3)
    (merged, _) = group.call("parameters")
    moved = {name for name in base if not np.array_equal(merged[name], base[name].detach().numpy())}
    assert merged.keys() == base.keys()
    assert moved == {name for name in base if "q_proj" in name or "up_proj" in name}
    group.call("save", tmp_path / "checkpoint", CheckpointState(0, 4, 2, stage, "float32", lora_scaling=2.0))
    export_checkpoint(tmp_path / "checkpoint", policy, tmp_path / "export")
    for name, found in AutoModelForCausalLM.from_pretrained(tmp_path / "export").named_parameters():
        np.testing.assert_array_equal(found.detach().numpy(), merged[name])
    # The next stage begins with merged weights and new adapters.
    group.call("configure_optimizer", OPTIMIZER, 10, 1.0)
    np.testing.assert_allclose(group.log_probs(sequences), trained, rtol=1e-4)


@pytest.mark.parametrize("stage", [0, 3])
def test_the_reference_policy_is_the_one_that_the_stage_began_with(ranks, sequences, stage):
    group = ranks[2]
    group.restart(stage, "float32")
    group.call("configure_optimizer", OPTIMIZER, 10, 1.0, keep_reference=True)
    before = group.log_probs(sequences)
    group.update(sequences, 96)
    assert not np.allclose(group.log_probs(sequences), before, atol=1e-3)
    np.testing.assert_allclose(group.log_probs(sequences, of_reference=True), before, rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_rank_without_sequences_takes_part(ranks, sequences, stage):
    for group in ranks.values():
        group.restart(stage, "float32")
    alone, together = (ranks[count].update(sequences[:1], 96) for count in (1, 2))
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_checkpoint_restores_training_exactly(ranks, sequences, tmp_path, stage):
    group = ranks[2]
    group.restart(stage, "float32")
    group.update(sequences, 96)
    group.call("save", tmp_path / "checkpoint", CheckpointState(5, 1, 2, stage, "float32"))
    expected = [group.update(sequences, 96) for _ in range(2)]
    group.restart(stage, "float32")
    assert [state.version for state in group.call("load", tmp_path / "checkpoint")] == [5, 5]
    assert [group.update(sequences, 96) for _ in range(2)] == expected


@pytest.mark.parametrize(
    ("stage", "before", "after", "sub_group_size"),
    [(0, 2, 1, 10**9), (0, 1, 2, 10**9), (1, 2, 1, 10**9), (2, 1, 2, 10**9), (3, 2, 1, 10**9), (3, 1, 2, 20_000)],
)
def test_a_checkpoint_can_be_dealt_to_another_number_of_ranks(
    ranks, sequences, tmp_path, stage, before, after, sub_group_size
):
    writers, readers = ranks[before], ranks[after]
    for group in (writers, readers):
        group.restart(stage, "float32", sub_group_size)
    writers.update(sequences, 96)
    writers.call("save", tmp_path / "checkpoint", CheckpointState(5, 1, before, stage, "float32"))
    readers.call("load", tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert_same_weights(readers.call("parameters"), writers.call("parameters"), atol=0)
    # The first of these updates depends on the moments, the norm of the second one on what the first did with them.
    found, expected = ([group.update(sequences, 96) for _ in range(2)] for group in (readers, writers))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert_same_weights(readers.call("parameters"), writers.call("parameters"), atol=1e-5)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bfloat16_trains_near_float32(ranks, sequences, reference_training, stage):
    group = ranks[2]
    group.restart(stage, "bfloat16")
    history = [group.update(sequences, 96) for _ in reference_training]
    np.testing.assert_allclose(history[0], reference_training[0], rtol=0.01)
    np.testing.assert_allclose([loss for loss, _ in history], [loss for loss, _ in reference_training], rtol=0.05)


@pytest.mark.parametrize("stage", [0, 3])
def test_a_new_stage_keeps_the_weights_and_forgets_the_optimizer(ranks, sequences, stage):
    group = ranks[2]
    group.restart(stage, "float32")
    for _ in range(2):
        group.update(sequences, 96)
    before = group.call("parameters")[0]
    group.call("configure_optimizer", OPTIMIZER, 10, 1.0)
    after = group.call("parameters")
    for rank in after:
        for name, parameter in rank.items():
            np.testing.assert_array_equal(parameter, before[name])
    # AdamW without memory moves each parameter by at most the learning rate (plus decay), here half of it: warm-up.
    group.update(sequences, 96)
    moved = group.call("parameters")[0]
    largest = max(float(np.abs(moved[name] - before[name] * (1 - 5e-5)).max()) for name in before)
    assert largest == pytest.approx(5e-4, rel=1e-2)
