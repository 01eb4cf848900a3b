"""One DeepSpeed rank. ``LearnerGroup`` starts it as a Ray actor; the mathematics lies in the ground floor."""

import copy
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learners.kept_log_probs import KeptLogProbs
from learners.mismatch import mismatch_by_lag
from learners.packing import MicroBatch, PlannedBatch
from learners.policy_spec import PolicyFacts, PolicySpec
from learners.schedule import learning_rate
from learners.sequences import SequenceSource
from thor_ray.config import ObjectiveConfig, OffPolicyConfig, OptimizerConfig
from thor_ray.objectives import (
    PolicyBatch,
    PolicyStatistics,
    TokenCounts,
    policy_loss,
    supervised_sum,
)
from thor_ray.trajectory import GroupKind

if TYPE_CHECKING:
    import torch

    from learners.checkpoint import CheckpointState
    from learners.ulysses import SequenceGroup
    from learners.zero import Rendezvous
    from thor_ray.weights import Bucket, Delivery, WeightSender


class LearnerStateError(RuntimeError):
    """A call came before the one it depends on."""


@dataclass(frozen=True, slots=True)
class RankUpdate:
    """One rank's part of an optimizer step.

    Attributes:
        loss: Its share of the mini-batch's loss; shares of all ranks add up.
        grad_norm: Of the whole gradient, before clipping; the same on every rank.
        learning_rate: Of this step.
        statistics: Of the policy's update; empty for supervised learning and where a rank held only filler.
        suspects: Positions of the sequences whose share of the loss is not finite.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    statistics: PolicyStatistics
    suspects: tuple[int, ...] = ()

    @property
    def skipped(self) -> bool:
        """Whether no step was taken, since the gradient was not finite."""
        return not math.isfinite(self.grad_norm)


Scores = tuple["torch.Tensor", ...]
"""Log-probs ``[rows, length]`` and, where they are asked for, entropies of the same shape."""

MicroBatchLoss = Callable[[Scores, MicroBatch], "torch.Tensor"]
"""Scores and their micro-batch to its share of the loss."""


class LearnerWorker:
    """One rank: the model's shard, its optimizer, and the operations that all ranks enter together."""

    def __init__(self) -> None:
        self._spec: PolicySpec | None = None
        self._group: SequenceGroup | None = None
        self._policy: Any = None
        self._engine: Any = None
        self._reference: Any = None
        self._sender: WeightSender | None = None
        self._optimizer = OptimizerConfig()
        self._total_updates = 0
        self._update = 0
        self._temperature = 1.0

    def endpoint(self) -> tuple[str, int]:
        """This node's address and a port that is free now, for the ranks to meet."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def setup(self, rendezvous: "Rendezvous", spec: PolicySpec, timeout_seconds: float) -> PolicyFacts:
        """Joins the process group and reads the policy."""
        import torch
        from transformers.utils.logging import disable_progress_bar

        from learners import checkpoint, model, ulysses, zero

        disable_progress_bar()
        torch.set_num_threads(spec.threads)
        zero.join(rendezvous, timeout_seconds)
        if spec.sequence_parallel > 1:
            self._group = ulysses.join(spec.sequence_parallel, timeout_seconds)
        self._policy = model.load_policy(
            spec.path,
            getattr(torch, spec.dtype),
            gradient_checkpointing=spec.gradient_checkpointing,
            packing=spec.packing,
            group=self._group,
        )
        self._spec = spec
        shapes = [[name, list(parameter.shape)] for name, parameter in self._policy.named_parameters()]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        return PolicyFacts(int(self._policy.config.vocab_size), checkpoint.fingerprint(shapes), device)

    def configure_optimizer(
        self, optimizer: OptimizerConfig, total_updates: int, temperature: float, keep_reference: bool = False
    ) -> None:
        """Starts a stage in place: the same weights, a new optimizer with no memory, a schedule from its beginning.

        Args:
            optimizer: AdamW and schedule.
            total_updates: For schedules that decay.
            temperature: At which the stage's trajectories were sampled; 1 for supervised learning.
            keep_reference: Keep a frozen copy of the weights that the stage begins with, whole on each rank.
        """
        import torch

        from learners import adapters, model, zero

        if self._spec is None:
            raise LearnerStateError("setup must come before configure_optimizer")
        if self._engine is not None:
            parameters = {
                name: parameter.clone() for name, parameter in zero.full_parameters(self._engine.module.policy)
            }
            self._engine.destroy()
            self._policy = model.rebuild_policy(
                self._policy, parameters, gradient_checkpointing=self._spec.gradient_checkpointing
            )
        self._reference = None
        if keep_reference:
            frozen = copy.deepcopy(self._policy).requires_grad_(requires_grad=False)
            self._reference = model.TokenLogProbs(frozen, group=self._group)
        if self._spec.lora is not None:
            adapters.attach(self._policy, self._spec.lora)
        dtype = getattr(torch, self._spec.dtype)
        module = model.TokenLogProbs(self._policy, group=self._group)
        self._engine = zero.build_engine(module, optimizer, self._spec.zero_stage, dtype, self._spec.offload)
        if self._reference is not None:
            self._reference.to(self._engine.device)
        self._optimizer, self._total_updates, self._update = optimizer, total_updates, 0
        self._temperature = temperature

    def offload_states(self) -> None:
        """Moves what only ``update_...`` needs, optimizer and reference policy, into this machine's memory."""
        from learners import zero

        zero.offload_states(self._ready_engine())
        if self._reference is not None:
            self._reference.to("cpu")

    def reload_states(self) -> None:
        """Moves what ``offload_states`` took away back onto this rank's device."""
        from learners import zero

        zero.reload_states(self._ready_engine())
        if self._reference is not None:
            self._reference.to(self._engine.device)

    def compute_log_probs(
        self, micro_batches: Sequence[PlannedBatch], temperature: float | None = None, of_reference: bool = False
    ) -> list[npt.NDArray[np.float32]]:
        """Log-probs under the current weights: the proximal policy, if called before a round's first update.

        Args:
            micro_batches: This rank's.
            temperature: ``None`` for the stage's.
            of_reference: Under the weights that the stage began with instead.

        Returns:
            For each micro-batch float32 ``[rows, length]``, 0 where masked out.
        """
        import torch

        engine = self._ready_engine()
        if of_reference and self._reference is None:
            raise LearnerStateError("no reference policy was kept when the stage began")
        module = self._reference if of_reference else engine
        with torch.no_grad():
            return [self._forward(batch.load(), module, temperature)[0].cpu().numpy() for batch in micro_batches]

    def keep_log_probs(self, micro_batches: Sequence[PlannedBatch], of_reference: bool = False) -> list[KeptLogProbs]:
        """As ``compute_log_probs``, but they stay in this node's object store.

        Returns:
            Where those of each sequence are: as many as there are sequences, micro-batch by micro-batch.
        """
        found = self.compute_log_probs(micro_batches, None, of_reference)
        rows = [
            row[: len(sequence)]
            for batch, rows in zip(micro_batches, found, strict=True)
            for sequence, row in zip(batch.sequences, rows, strict=batch.filler is False)
        ]
        return KeptLogProbs.of(rows)

    def mismatch(
        self, sequences: Sequence[SequenceSource], version: int, off_policy: OffPolicyConfig
    ) -> dict[str, float]:
        """How far learner and engines lie apart; see `mismatch_by_lag`."""
        return mismatch_by_lag(sequences, version, off_policy)

    def update_sft(self, micro_batches: Sequence[PlannedBatch], tokens: int) -> RankUpdate:
        """One optimizer step on the mean negative log-likelihood (paper equation 3).

        Args:
            micro_batches: This rank's; every rank brings the same number.
            tokens: Tokens in the loss, of all ranks.
        """

        def loss_of(scores: Scores, batch: MicroBatch) -> "torch.Tensor":
            return supervised_sum(scores[0], self._tensor(batch.loss_mask)) / tokens

        return self._take_step(*self._accumulate(micro_batches, loss_of), PolicyStatistics())

    def update_rl(
        self,
        micro_batches: Sequence[PlannedBatch],
        divisors: Mapping[GroupKind, TokenCounts],
        objective: ObjectiveConfig,
        version: int = 0,
    ) -> RankUpdate:
        """One optimizer step on ``w_episode L_episode + w_step L_step``.

        Args:
            micro_batches: This rank's; every rank brings the same number.
            divisors: Global token counts of each level.
            objective: All options of the loss.
            version: Of the weights that the proximal log-probs come from; what older ones sampled is stale.
        """
        statistics = PolicyStatistics()

        def loss_of(scores: Scores, batch: MicroBatch) -> "torch.Tensor":
            nonlocal statistics
            loss, seen = self._policy_loss(scores, batch, divisors, objective, version)
            statistics = statistics.merge(seen)
            return loss

        loss, suspects = self._accumulate(micro_batches, loss_of, with_entropies=objective.entropy_weight > 0)
        return self._take_step(loss, suspects, statistics)

    def open_publishing(self, bucket_bytes: int) -> "tuple[str, int, tuple[Bucket, ...]]":
        """Rank 0 starts the board of publications: its address and port, and which weight goes into which bucket."""
        import ray

        from learners import zero
        from thor_ray.weights import plan_pipeline

        buckets = plan_pipeline(zero.parameter_facts(self._ready_engine().module.policy), bucket_bytes)
        return ray.util.get_node_ip_address(), self._weight_sender().open_board(), buckets

    def send_weights(self, delivery: "Delivery") -> tuple[str, ...]:
        """Sends the full weights, bucket by bucket, and returns checksums; all ranks but 0 may only take part."""
        from learners import zero

        gathered = zero.gathered_buckets(self._ready_engine().module.policy, delivery.buckets)
        return self._weight_sender().send(delivery, gathered)

    def save(self, path: Path, state: "CheckpointState") -> None:
        """Writes a checkpoint that a group of the same ZeRO stage can go on from."""
        from learners import checkpoint

        checkpoint.save(self._ready_engine(), path, state)

    def load(self, path: Path) -> "CheckpointState":
        """Reads weights, optimizer, schedule position and random states, whatever number of ranks wrote them."""
        from learners import checkpoint

        state = checkpoint.load(self._ready_engine(), path)
        self._update = state.updates
        return state

    def export(self, path: Path) -> None:
        """Rank 0 writes a Hugging Face directory; the others only take part."""
        from learners import exporting, zero

        assert self._spec is not None
        policy = self._ready_engine().module.policy
        leading = self._engine.global_rank == 0
        weights = {name: parameter.to("cpu", copy=True) for name, parameter in zero.full_parameters(policy) if leading}
        if leading:
            exporting.write_model(policy, weights, self._spec.path, path)

    def _weight_sender(self) -> "WeightSender":
        from thor_ray.weights import WeightSender

        if self._sender is None:
            self._sender = WeightSender(self._ready_engine().global_rank, self._engine.device)
        return self._sender

    def _ready_engine(self) -> Any:
        if self._engine is None:
            raise LearnerStateError("no optimizer yet: begin a stage with begin_sft or begin_rl first")
        return self._engine

    def _tensor(self, array: npt.NDArray[Any]) -> "torch.Tensor":
        import torch

        # Arrays that come through the object store are read-only, which torch does not know.
        return torch.from_numpy(array.copy()).to(self._engine.device)

    def _forward(
        self, batch: MicroBatch, module: Any, temperature: float | None = None, with_entropies: bool = False
    ) -> Scores:
        scores: Scores = module(
            self._tensor(batch.ids),
            self._tensor(batch.loss_mask),
            temperature or self._temperature,
            with_entropies,
            lengths=self._tensor(batch.lengths) if batch.packed else None,
        )
        return scores

    def _accumulate(
        self, micro_batches: Sequence[PlannedBatch], loss_of: MicroBatchLoss, with_entropies: bool = False
    ) -> tuple[float, list[int]]:
        """Adds up gradients of all micro-batches.

        Returns:
            This rank's share of the loss, and the positions of the sequences that keep it from being finite.
        """
        from learners import zero

        engine, total, suspects = self._ready_engine(), 0.0, list[int]()
        for index, planned in enumerate(micro_batches):
            batch = planned.load()
            zero.announce(engine, last=index == len(micro_batches) - 1)
            scores = self._forward(batch, engine, with_entropies=with_entropies)
            loss = scores[0].sum() * 0.0 if batch.filler else loss_of(scores, batch)
            zero.accumulate(engine, loss)
            total += loss.item()
            if not loss.isfinite():
                suspects += _not_finite(tuple(each.detach() for each in scores), batch, loss_of)
        return total, suspects

    def _take_step(self, loss: float, suspects: list[int], statistics: PolicyStatistics) -> RankUpdate:
        from learners import zero

        rate = learning_rate(self._optimizer, self._update, self._total_updates)
        result = RankUpdate(loss, zero.step(self._engine, rate), rate, statistics, tuple(suspects))
        self._update += not result.skipped
        return result

    def _policy_loss(
        self,
        scores: Scores,
        batch: MicroBatch,
        divisors: Mapping[GroupKind, TokenCounts],
        objective: ObjectiveConfig,
        version: int = 0,
    ) -> tuple["torch.Tensor", PolicyStatistics]:
        proximal, reference = batch.proximal_log_probs, batch.reference_log_probs
        policy_batch = PolicyBatch(
            mask=self._tensor(batch.loss_mask),
            advantages=self._tensor(batch.advantages),
            levels=self._tensor(batch.levels),
            stale=self._tensor(batch.oldest_versions) < version,
            behaviour_log_probs=self._tensor(batch.behaviour_log_probs),
            proximal_log_probs=None if proximal is None else self._tensor(proximal),
            reference_log_probs=None if reference is None else self._tensor(reference),
        )
        log_probs, *entropies = scores
        return policy_loss(log_probs, policy_batch, divisors, objective, *entropies)


def _not_finite(scores: Scores, batch: MicroBatch, loss_of: MicroBatchLoss) -> list[int]:
    """Positions of the rows whose loss alone is not finite."""
    return [
        int(position)
        for row, position in enumerate(batch.positions)
        if not loss_of(tuple(each[row : row + 1] for each in scores), batch.row(row)).isfinite()
    ]
