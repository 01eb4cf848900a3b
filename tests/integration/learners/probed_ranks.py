"""Ranks that tests look into: they change their shape without a new process, and show what they hold.

With them the loss that they are compared with, written from the equations.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.util.placement_group import remove_placement_group
from torch import Tensor

from learners.packing import PlannedBatch, plan
from learners.policy_spec import PolicySpec
from learners.ranks import place, start, wait_all
from learners.sequences import TrainingSequence, token_counts
from learners.worker import LearnerWorker
from learners.zero import Rendezvous
from thor_ray.config import ObjectiveConfig, OffloadConfig, OptimizerConfig
from thor_ray.objectives import TokenCounts, denominators
from thor_ray.trajectory import GroupKind

# Ray's workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

OBJECTIVE = ObjectiveConfig(episode_weight=1.0, step_weight=0.5, nll_weight=0.1)
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup_updates=2, weight_decay=0.1, max_grad_norm=0.5)
TIMEOUT = 120.0

Gradients = dict[str, npt.NDArray[np.float32]]
Shares = tuple[tuple[PlannedBatch, ...], ...]


def _with_sub_groups(config: dict[str, Any], size: int) -> dict[str, Any]:
    return config | {"zero_optimization": config["zero_optimization"] | {"sub_group_size": size}}


class ProbedWorker(LearnerWorker):
    """A rank that can change its ZeRO stage without a new process, and shows what it holds."""

    def restart(self, zero_stage: int, dtype: str, sub_group_size: int = 10**9, **options: Any) -> None:
        """``sub_group_size``: elements that ZeRO-3 steps at once; of a large model it has several such groups."""
        from learners import ulysses, zero
        from learners.model import load_policy

        assert self._spec is not None
        if self._engine is not None:
            self._engine.destroy()
            self._engine = None
        plain = {"lora": None, "offload": OffloadConfig(), "sequence_parallel": 1, "gradient_checkpointing": False}
        self._spec = replace(self._spec, zero_stage=zero_stage, dtype=dtype, **{**plain, **options})
        sharing = self._spec.sequence_parallel
        self._group = ulysses.join(sharing, TIMEOUT) if sharing > 1 else None
        self._policy = load_policy(
            self._spec.path,
            getattr(torch, dtype),
            gradient_checkpointing=self._spec.gradient_checkpointing,
            packing=True,
            group=self._group,
        )
        whole = zero.engine_config
        with mock.patch.object(zero, "engine_config") as engine_config:
            engine_config.side_effect = lambda *facts: _with_sub_groups(whole(*facts), sub_group_size)
            self.configure_optimizer(OPTIMIZER, total_updates=10, temperature=1.0)

    def limit_logits(self, max_logits: int) -> None:
        self._engine.module.projection.max_logits = max_logits

    def gradients(self, micro_batches: tuple[PlannedBatch, ...], divisors: dict[GroupKind, TokenCounts]) -> Gradients:
        from deepspeed.utils import safe_get_full_grad

        self._accumulate(micro_batches, lambda scores, batch: self._policy_loss(scores, batch, divisors, OBJECTIVE)[0])
        return {
            name: safe_get_full_grad(parameter).float().cpu().numpy().copy()
            for name, parameter in self._engine.module.policy.named_parameters()
        }

    def optimizer_devices(self) -> set[str]:
        """Where the optimizer's moments lie, and the weights that it steps."""
        adamw = self._engine.optimizer.optimizer
        tensors = [each for state in adamw.state.values() for name, each in state.items() if name != "step"]
        return {each.device.type for each in (*tensors, *(p for group in adamw.param_groups for p in group["params"]))}

    def parameters(self) -> Gradients:
        from learners.zero import full_parameters

        return {
            name: parameter.float().cpu().numpy().copy()
            for name, parameter in full_parameters(self._engine.module.policy)
        }


class Ranks:
    """Driver of some probed workers; all of them, neighbours together, or each alone take sequences of their own."""

    def __init__(self, count: int, policy: Path, gpus: int = 0) -> None:
        self.sharing = 1
        self.placement = place(count, 1, gpus)
        self.workers = [start(ProbedWorker, self.placement, bundle=rank, cpus=1, gpus=gpus) for rank in range(count)]
        address, port = ray.get(self.workers[0].endpoint.remote())
        spec = PolicySpec(policy, "float32", 0, gradient_checkpointing=False, packing=True, threads=1)
        self.ready = [
            worker.setup.remote(Rendezvous(rank, count, address, port), spec, TIMEOUT)
            for rank, worker in enumerate(self.workers)
        ]

    def call(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        calls = [getattr(worker, method).remote(*arguments, **options) for worker in self.workers]
        return wait_all(calls, "rank", TIMEOUT)

    def restart(self, zero_stage: int, dtype: str = "float32", *arguments: Any, **options: Any) -> None:
        self.sharing = options.get("sequence_parallel", 1)
        self.call("restart", zero_stage, dtype, *arguments, **options)

    def plan(self, sequences: Sequence[TrainingSequence], budget: int, packing: bool = True) -> Shares:
        count = len(self.workers) // self.sharing
        return plan(sequences, ranks=count, micro_batch_tokens=budget, packing=packing)

    def call_each(self, method: str, shares: Shares, *arguments: Any, **options: Any) -> list[Any]:
        """The answers of all ranks."""
        pairs = zip(self.workers, (share for share in shares for _ in range(self.sharing)), strict=True)
        calls = [getattr(worker, method).remote(share, *arguments, **options) for worker, share in pairs]
        return wait_all(calls, "rank", TIMEOUT)

    def gradients(self, sequences: list[TrainingSequence], budget: int, packing: bool) -> Gradients:
        shares = self.plan(sequences, budget, packing)
        answers = self.call_each("gradients", shares, denominators(token_counts(sequences), OBJECTIVE.denominator))
        for other in answers[1:]:
            for name, gradient in other.items():
                np.testing.assert_array_equal(gradient, answers[0][name])
        gradients: Gradients = answers[0]
        return gradients

    def log_probs(self, sequences: list[TrainingSequence], **options: Any) -> npt.NDArray[np.float32]:
        """Sums over each sequence."""
        return np.asarray([row.sum() for row in self.token_log_probs(sequences, **options)])

    def token_log_probs(self, sequences: list[TrainingSequence], **options: Any) -> list[npt.NDArray[np.float32]]:
        shares = self.plan(sequences, 96)
        found = [np.zeros(0, np.float32)] * len(sequences)
        answers = self.call_each("compute_log_probs", shares, **options)[:: self.sharing]
        for share, answer in zip(shares, answers, strict=True):
            for batch, rows in zip(share, answer, strict=True):
                for position, row in zip(batch.positions, rows, strict=batch.filler is False):
                    found[position] = row[: len(sequences[position])]
        return found

    def update(
        self, sequences: list[TrainingSequence], budget: int, objective: ObjectiveConfig = OBJECTIVE
    ) -> tuple[float, float]:
        """Loss and gradient norm of one optimizer step."""
        divisors = denominators(token_counts(sequences), objective.denominator)
        results = self.call_each("update_rl", self.plan(sequences, budget), divisors, objective)
        return sum(result.loss for result in results[:: self.sharing]), results[0].grad_norm

    def close(self) -> None:
        for worker in self.workers:
            ray.kill(worker)
        remove_placement_group(self.placement)


def reference_loss(model: Any, sequences: list[TrainingSequence]) -> Tensor:
    """Equations 4, 5 and 10 in a plain torch loop, one sequence at a time, without padding."""
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


def assert_same_weights(found: Sequence[Gradients], expected: Sequence[Gradients], atol: float) -> None:
    """Compares what ``parameters`` answered, of the first rank."""
    assert found[0].keys() == expected[0].keys()
    for name, weight in found[0].items():
        np.testing.assert_allclose(weight, expected[0][name], rtol=0, atol=atol, err_msg=name)
