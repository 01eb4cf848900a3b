"""However many ranks, micro-batches and ZeRO stages: the same gradients and the same training (invariant 9).

The reference is a plain torch loop over single sequences, written from the equations. Where a test does not say how
micro-batches are laid out, they are packed.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import ray
import torch
from ray.util.placement_group import remove_placement_group
from torch import Tensor
from transformers import AutoModelForCausalLM

from learners.checkpoint import CheckpointState
from learners.exporting import export_checkpoint
from learners.packing import MicroBatch, plan
from learners.ranks import place, start, wait_all
from learners.sequences import TrainingSequence, token_counts
from learners.worker import LearnerWorker, PolicySpec
from learners.zero import Rendezvous
from thor_ray.config import LoraConfig, ObjectiveConfig, OffloadConfig, OptimizerConfig
from thor_ray.objectives import TokenCounts, denominators
from thor_ray.trajectory import GroupKind

# Ray's workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

OBJECTIVE = ObjectiveConfig(episode_weight=1.0, step_weight=0.5, nll_weight=0.1)
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup_updates=2, weight_decay=0.1, max_grad_norm=0.5)
TIMEOUT = 120.0

Gradients = dict[str, npt.NDArray[np.float32]]


def _with_sub_groups(config: dict[str, Any], size: int) -> dict[str, Any]:
    return config | {"zero_optimization": config["zero_optimization"] | {"sub_group_size": size}}


class ProbedWorker(LearnerWorker):
    """A rank that can change its ZeRO stage without a new process, and shows what it holds."""

    def restart(self, zero_stage: int, dtype: str, sub_group_size: int = 10**9, **options: Any) -> None:
        """``sub_group_size``: elements that ZeRO-3 steps at once; of a large model it has several such groups."""
        from learners import zero
        from learners.model import load_policy

        assert self._spec is not None
        if self._engine is not None:
            self._engine.destroy()
            self._engine = None
        self._spec = replace(self._spec, zero_stage=zero_stage, dtype=dtype, lora=None, offload=OffloadConfig())
        self._spec = replace(self._spec, **options)
        self._policy = load_policy(self._spec.path, getattr(torch, dtype), gradient_checkpointing=False, packing=True)
        plain = zero.engine_config
        with mock.patch.object(zero, "engine_config") as engine_config:
            engine_config.side_effect = lambda *facts: _with_sub_groups(plain(*facts), sub_group_size)
            self.configure_optimizer(OPTIMIZER, total_updates=10, temperature=1.0)

    def limit_logits(self, max_logits: int) -> None:
        self._engine.module.projection.max_logits = max_logits

    def gradients(self, micro_batches: tuple[MicroBatch, ...], divisors: dict[GroupKind, TokenCounts]) -> Gradients:
        from deepspeed.utils import safe_get_full_grad

        self._accumulate(micro_batches, lambda scores, batch: self._policy_loss(scores, batch, divisors, OBJECTIVE)[0])
        return {
            name: safe_get_full_grad(parameter).float().cpu().numpy().copy()
            for name, parameter in self._engine.module.policy.named_parameters()
        }

    def parameters(self) -> Gradients:
        from learners.zero import full_parameters

        return {
            name: parameter.float().cpu().numpy().copy()
            for name, parameter in full_parameters(self._engine.module.policy)
        }


class Ranks:
    """Driver of some probed workers."""

    def __init__(self, count: int, policy: Path) -> None:
        self.placement = place(count, 1, 0)
        self.workers = [start(ProbedWorker, self.placement, bundle=rank, cpus=1, gpus=0) for rank in range(count)]
        address, port = ray.get(self.workers[0].endpoint.remote())
        spec = PolicySpec(policy, "float32", 0, gradient_checkpointing=False, packing=True, threads=1)
        self.ready = [
            worker.setup.remote(Rendezvous(rank, count, address, port), spec, TIMEOUT)
            for rank, worker in enumerate(self.workers)
        ]

    def call(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        calls = [getattr(worker, method).remote(*arguments, **options) for worker in self.workers]
        return wait_all(calls, "rank", TIMEOUT)

    def call_each(self, method: str, shares: tuple[Any, ...], *arguments: Any, **options: Any) -> list[Any]:
        pairs = zip(self.workers, shares, strict=True)
        calls = [getattr(worker, method).remote(share, *arguments, **options) for worker, share in pairs]
        return wait_all(calls, "rank", TIMEOUT)

    def gradients(self, sequences: list[TrainingSequence], budget: int, packing: bool) -> Gradients:
        shares = plan(sequences, ranks=len(self.workers), micro_batch_tokens=budget, packing=packing)
        answers = self.call_each("gradients", shares, denominators(token_counts(sequences), OBJECTIVE.denominator))
        for other in answers[1:]:
            for name, gradient in other.items():
                np.testing.assert_array_equal(gradient, answers[0][name])
        gradients: Gradients = answers[0]
        return gradients

    def log_probs(self, sequences: list[TrainingSequence], **options: Any) -> npt.NDArray[np.float32]:
        """Sums over each sequence."""
        shares = plan(sequences, ranks=len(self.workers), micro_batch_tokens=96, packing=True)
        sums = np.zeros(len(sequences), np.float32)
        for share, answers in zip(shares, self.call_each("compute_log_probs", shares, **options), strict=True):
            for batch, rows in zip(share, answers, strict=True):
                sums[batch.positions] = rows.sum(axis=1)[: len(batch.positions)]
        return sums

    def update(self, sequences: list[TrainingSequence], budget: int) -> tuple[float, float]:
        """Loss and gradient norm of one optimizer step."""
        shares = plan(sequences, ranks=len(self.workers), micro_batch_tokens=budget, packing=True)
        divisors = denominators(token_counts(sequences), OBJECTIVE.denominator)
        results = self.call_each("update_rl", shares, divisors, OBJECTIVE)
        return sum(result.loss for result in results), results[0].grad_norm

    def close(self) -> None:
        for worker in self.workers:
            ray.kill(worker)
        remove_placement_group(self.placement)


def assert_same_weights(left: Ranks, right: Ranks, atol: float) -> None:
    found, expected = (group.call("parameters")[0] for group in (left, right))
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        np.testing.assert_allclose(weight, expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def ranks(ray_cluster: Any, policy: Path) -> Iterator[dict[int, Ranks]]:
    """Groups of one and of two ranks; their slow start runs at the same time."""
    groups = {count: Ranks(count, policy) for count in (1, 2)}
    for group in groups.values():
        wait_all(group.ready, "rank", TIMEOUT)
    yield groups
    for group in groups.values():
        group.close()


def reference_loss(model: Any, sequences: list[TrainingSequence]) -> Tensor:
    """Equations 4, 5 and 10, one sequence at a time, without padding."""
    total = torch.zeros(())
    for level, weight in ((GroupKind.EPISODE, 1.0), (GroupKind.STEP, 0.5)):
        policy, nll = [], []
        for sequence in (one for one in sequences if one.level is level):
            logits = model(torch.tensor(sequence.ids)[None]).logits[0, :-1]
            chosen = torch.log_softmax(logits, -1).gather(-1, torch.tensor(sequence.ids)[1:, None]).squeeze(-1)
            mask = torch.tensor(sequence.loss_mask[1:])
            log_probs, a = chosen[mask], sequence.advantage
            ratio = (log_probs - torch.tensor(sequence.behaviour_log_probs[1:])[mask]).exp()
            gain = torch.minimum(ratio * a, ratio.clamp(0.8, 1.28) * a)
            policy.append(-(gain.clamp(min=3 * a) if a < 0 else gain))
            if a > 0:
                nll.append(-log_probs)
        total = total + weight * (torch.cat(policy).mean() + 0.1 * torch.cat(nll).mean())
    return total


@pytest.fixture(scope="module")
def sequences(make_sequences: Callable[..., list[TrainingSequence]]) -> list[TrainingSequence]:
    return make_sequences(11, longest=40)


@pytest.fixture(scope="module")
def reference_gradients(policy: Path, sequences: list[TrainingSequence]) -> Gradients:
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    reference_loss(model, sequences).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def reference_training(policy: Path, sequences: list[TrainingSequence]) -> list[tuple[float, float]]:
    """Losses and gradient norms of four updates with torch alone."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1)
    history = []
    for rate in (5e-4, 1e-3, 1e-3, 1e-3):
        loss = reference_loss(model, sequences)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        history.append((loss.item(), norm.item()))
    return history


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_depend_on_neither_ranks_nor_stage_nor_micro_batches_nor_packing(
    ranks, sequences, reference_gradients, stage, count
):
    group = ranks[count]
    scale = max(float(np.abs(gradient).max()) for gradient in reference_gradients.values())
    # One micro-batch; several; as many as sequences, of which two ranks have 6 and 5, so that one takes filler.
    for budget, packing in ((4096, False), (96, False), (40, False), (4096, True), (96, True)):
        group.call("restart", stage, "float32")
        found = group.gradients(sequences, budget, packing)
        assert found.keys() == reference_gradients.keys()
        for name, gradient in found.items():
            np.testing.assert_allclose(gradient, reference_gradients[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_training_is_that_of_plain_torch(ranks, sequences, reference_training, stage, count):
    group = ranks[count]
    group.call("restart", stage, "float32")
    # Several chunks of the vocabulary projection, and not the same number on every rank.
    group.call("limit_logits", 2000)
    history = []
    for _ in reference_training:
        # Must leave no trace, although ZeRO-3 records the order in which a pass visits the modules.
        group.call_each("compute_log_probs", plan(sequences[:3], ranks=count, micro_batch_tokens=96))
        history.append(group.update(sequences, 96))
    np.testing.assert_allclose(history, reference_training, rtol=2e-4)


@pytest.mark.parametrize(
    ("stage", "offload"),
    [
        (2, OffloadConfig(optimizer="cpu")),
        (3, OffloadConfig(optimizer="cpu", parameters="cpu")),
    ],
)
def test_offloading_changes_nothing_but_the_place(ranks, sequences, reference_training, stage, offload):
    group = ranks[2]
    group.call("restart", stage, "float32", offload=offload)
    history = [group.update(sequences, 96) for _ in reference_training]
    np.testing.assert_allclose(history, reference_training, rtol=2e-4)


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "float32"), (2, "bfloat16"), (3, "float32")])
def test_an_update_that_is_not_finite_leaves_no_trace(ranks, sequences, stage, dtype):
    group = ranks[2]
    broken = replace(sequences[0], advantage=np.nan)
    histories = []
    for minibatches in ((sequences, sequences), (sequences, [broken, *sequences[1:]], sequences)):
        group.call("restart", stage, dtype)
        found = [group.update(one, 96) for one in minibatches]
        histories.append([result for result in found if np.isfinite(result).all()])
    assert len(histories[1]) == 2
    assert histories[0] == histories[1]


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_adapters_train_and_come_out_merged(ranks, policy, sequences, tmp_path, stage):
    group = ranks[2]
    base = dict(AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).named_parameters())
    group.call("restart", stage, "float32", lora=LoraConfig(rank=4, alpha=8, layers=("q_proj", "up_proj")))
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
    group.call("restart", stage, "float32")
    group.call("configure_optimizer", OPTIMIZER, 10, 1.0, keep_reference=True)
    before = group.log_probs(sequences)
    group.update(sequences, 96)
    assert not np.allclose(group.log_probs(sequences), before, atol=1e-3)
    np.testing.assert_allclose(group.log_probs(sequences, of_reference=True), before, rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_rank_without_sequences_takes_part(ranks, sequences, stage):
    for group in ranks.values():
        group.call("restart", stage, "float32")
    alone, together = (ranks[count].update(sequences[:1], 96) for count in (1, 2))
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_checkpoint_restores_training_exactly(ranks, sequences, tmp_path, stage):
    group = ranks[2]
    group.call("restart", stage, "float32")
    group.update(sequences, 96)
    group.call("save", tmp_path / "checkpoint", CheckpointState(5, 1, 2, stage, "float32"))
    expected = [group.update(sequences, 96) for _ in range(2)]
    group.call("restart", stage, "float32")
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
        group.call("restart", stage, "float32", sub_group_size)
    writers.update(sequences, 96)
    writers.call("save", tmp_path / "checkpoint", CheckpointState(5, 1, before, stage, "float32"))
    readers.call("load", tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert_same_weights(readers, writers, atol=0)
    # The first of these updates depends on the moments, the norm of the second one on what the first did with them.
    found, expected = ([group.update(sequences, 96) for _ in range(2)] for group in (readers, writers))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert_same_weights(readers, writers, atol=1e-5)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bfloat16_trains_near_float32(ranks, sequences, reference_training, stage):
    group = ranks[2]
    group.call("restart", stage, "bfloat16")
    history = [group.update(sequences, 96) for _ in reference_training]
    np.testing.assert_allclose(history[0], reference_training[0], rtol=0.01)
    np.testing.assert_allclose([loss for loss, _ in history], [loss for loss, _ in reference_training], rtol=0.05)


@pytest.mark.parametrize("stage", [0, 3])
def test_a_new_stage_keeps_the_weights_and_forgets_the_optimizer(ranks, sequences, stage):
    group = ranks[2]
    group.call("restart", stage, "float32")
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
