"""The learner as the top loops see it: R DeepSpeed ranks behind one handle."""

import time
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import ray

from learners.checkpoint import CheckpointState, fingerprint, refuse_misfit, verify
from learners.guards import SkippedUpdate, UpdateGuard, group_uids
from learners.kept_log_probs import KeptLogProbs
from learners.packing import PlannedBatch, plan
from learners.policy_spec import PolicySpec
from learners.publish import (
    PROBE_SEQUENCES,
    TOLERANCE,
    Publisher,
    WeightPublication,
    probe_ids,
    probe_sequence,
    verify_probe,
)
from learners.ranks import ReservedRanks, wait_all
from learners.sequences import LogProbs, SequenceSource, token_counts
from learners.update_figures import update_figures
from learners.worker import RankUpdate
from learners.worker_group import WorkerGroup
from thor_ray.config import LearnerConfig, ObjectiveConfig, OptimizerConfig, PublishingConfig
from thor_ray.objectives import PolicyStatistics, denominators
from thor_ray.planning.gpus import gpu_named
from thor_ray.planning.shape import shape_of
from thor_ray.trajectory import GroupKind

AnySequence = TypeVar("AnySequence", bound=SequenceSource)


class LearnerGroup:
    """R ranks of one policy. Methods block; each is one collective operation of all ranks.

    A stage starts with ``begin_sft`` or ``begin_rl``, which set up a new optimizer; then each ``sft`` or ``update``
    is one optimizer step. ``publish`` brings the weights to the engines and counts the version.

    Args:
        model_path: Hugging Face model directory.
        config: Ranks, ZeRO stage, micro-batch budget.
        dtype: ``float32`` or ``bfloat16``.
        cpus_per_rank: CPUs that Ray reserves for a rank, and its threads.
        gpus_per_rank: 0 or 1; ``None`` takes one if the cluster has GPUs.
        version: Of the weights in the model directory; more than 0 where a run goes on.
        publishing: How weights reach the engines; ``None`` for the recipe's defaults.
        workers_per_engine: Processes of an engine that hold a part of the model.
        reserved: Room for the ranks that the caller has reserved; ``None`` reserves some.

    Raises:
        TransportError: weights cannot be published as the recipe asks on this cluster.
        LearnerPlacementError: the cluster has no room.
        ActorCallError: a rank could not be set up, or later in any method: it failed, died or hangs.
    """

    def __init__(
        self,
        model_path: Path,
        config: LearnerConfig,
        dtype: str = "float32",
        *,
        cpus_per_rank: int = 1,
        gpus_per_rank: int | None = None,
        version: int = 0,
        publishing: PublishingConfig | None = None,
        workers_per_engine: int = 1,
        reserved: ReservedRanks | None = None,
    ) -> None:
        self._publisher = Publisher(publishing or PublishingConfig(), workers_per_engine)
        spec = PolicySpec(
            path=model_path.resolve(),
            dtype=dtype,
            zero_stage=config.zero_stage,
            gradient_checkpointing=config.gradient_checkpointing,
            packing=config.packing,
            threads=cpus_per_rank,
            offload=config.offload,
            lora=config.lora,
            sequence_parallel=config.sequence_parallel,
        )
        self.config = config
        self.dtype = dtype
        self._version = version
        self._updates = 0
        self._unpublished_updates = 0
        self._objective = ObjectiveConfig()
        self._settings = ""
        self._resident = False
        """Whether the optimizer of the current stage is on the ranks' devices."""
        self._probe: list[SequenceSource] = []
        self._trained_groups: dict[str, None] = {}
        self._guard = UpdateGuard(config.max_skipped_updates)
        if gpus_per_rank is None:
            gpus_per_rank = int(ray.cluster_resources().get("GPU", 0) > 0)
        self._workers = WorkerGroup(
            spec,
            ranks=config.ranks,
            cpus=cpus_per_rank,
            gpus=gpus_per_rank,
            timeout_seconds=config.timeout_seconds,
            reserved=reserved,
        )
        self._gpu, self._shape = gpu_named(self._workers.policy.device), shape_of(spec.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def version(self) -> int:
        """Of the weights that the engines serve."""
        return self._version

    @property
    def updates(self) -> int:
        """Optimizer steps of the current stage."""
        return self._updates

    @property
    def trained_groups(self) -> frozenset[str]:
        """Uids of the groups that the current stage has trained on."""
        return frozenset(self._trained_groups)

    @property
    def skipped(self) -> tuple[SkippedUpdate, ...]:
        """Updates since the last one that was made."""
        return self._guard.skipped

    def offload_states(self) -> None:
        """Makes room on the ranks' GPUs: what only updates need goes to the machines' memory. Harmless when it is there.

        All else works on as before, ``publish`` and ``save`` included.
        """
        if self._resident:
            self._workers.call("offload_states")
            self._resident = False

    def reload_states(self) -> None:
        """Takes what updates need back. Harmless when it is there, and before the first stage."""
        if not self._resident and self._settings:
            self._workers.call("reload_states")
            self._resident = True

    def begin_sft(self, optimizer: OptimizerConfig, total_updates: int) -> None:
        """Starts supervised learning with a new optimizer. ``total_updates`` is for schedules that decay."""
        self._begin(optimizer, total_updates, temperature=1.0, objective=None)

    def begin_rl(
        self,
        objective: ObjectiveConfig,
        optimizer: OptimizerConfig,
        total_updates: int,
        temperature: float = 1.0,
    ) -> None:
        """Starts reinforcement learning with a new optimizer.

        Args:
            objective: All options of the loss.
            optimizer: AdamW and schedule.
            total_updates: For schedules that decay.
            temperature: At which trajectories are sampled; log-probs are taken at the same.
        """
        self._begin(optimizer, total_updates, temperature, objective)
        self._objective = objective

    def sft(self, sequences: Sequence[SequenceSource]) -> dict[str, float]:
        """One optimizer step on demonstrations.

        Returns:
            ``loss`` per token, ``tokens`` in the loss, and what ``update`` also returns of speed and optimizer.

        Raises:
            NonFiniteUpdateError: as ``update``.
        """
        started = time.monotonic()
        shares = self._plan(sequences)
        tokens = sum(sequence.loss_tokens for sequence in sequences)
        results: list[RankUpdate] = self._workers.deal("update_sft", shares, tokens)
        return self._finish_update(sequences, shares, results, started)

    def update(self, sequences: Sequence[SequenceSource]) -> dict[str, float]:
        """One optimizer step on a mini-batch of both levels.

        It is skipped where loss or gradient are not finite: then ``skipped`` is 1, no statistics are returned, and
        the property of that name says which groups are to blame.

        Returns:
            ``loss``; ``tokens``, ``episode_tokens`` and ``step_tokens`` in the loss; ``grad_norm`` before clipping;
            ``learning_rate``; ratio, clip and mismatch statistics (``PolicyStatistics.metrics``); ``seconds``,
            ``tokens_per_second`` of all tokens and ``padding``, the share of padding among those that went through.

        Raises:
            NonFiniteUpdateError: ``learner.max_skipped_updates`` in a row had to be skipped.
        """
        started = time.monotonic()
        shares = self._plan(sequences)
        counts = token_counts(sequences)
        divisors = denominators(counts, self._objective.denominator)
        results: list[RankUpdate] = self._workers.deal("update_rl", shares, divisors, self._objective, self._version)
        metrics = self._finish_update(sequences, shares, results, started) | {
            "episode_tokens": counts[GroupKind.EPISODE].tokens,
            "step_tokens": counts[GroupKind.STEP].tokens,
        }
        if metrics["skipped"]:
            return metrics
        statistics = reduce(PolicyStatistics.merge, (result.statistics for result in results))
        return metrics | statistics.metrics()

    def log_probs(
        self, sequences: Sequence[SequenceSource], temperature: float | None = None, *, of_reference: bool = False
    ) -> list[LogProbs]:
        """Log-probs of the tokens in each sequence's loss mask under the current weights.

        Args:
            sequences: In any number.
            temperature: ``None`` for the stage's.
            of_reference: Under the weights that the stage began with instead, if the objective keeps them.

        Returns:
            For each sequence float32 ``[length]``, 0 where masked out.
        """
        shares = self._plan(sequences)
        answers = self._workers.deal("compute_log_probs", shares, temperature, of_reference)
        found = [np.zeros(0, np.float32)] * len(sequences)
        for share, answer in zip(shares, answers, strict=True):
            for batch, rows in zip(share, answer, strict=True):
                for position, row in zip(batch.positions, rows, strict=batch.filler is False):
                    found[position] = row[: len(sequences[position])]
        return found

    def with_proximal_log_probs(self, sequences: Sequence[AnySequence]) -> list[AnySequence]:
        """Attaches the proximal policy's log-probs, once before a round of several updates (spec D.4).

        Where the objective has a KL term, the reference policy's too. They stay in the object store.
        """
        rows = zip(sequences, self._kept_log_probs(sequences), strict=True)
        attached = [sequence.with_proximal_log_probs(row) for sequence, row in rows]
        if self._objective.kl_weight == 0:
            return attached
        rows = zip(attached, self._kept_log_probs(sequences, of_reference=True), strict=True)
        return [sequence.with_reference_log_probs(row) for sequence, row in rows]

    def mismatch(self, sequences: Sequence[SequenceSource]) -> dict[str, float]:
        """How far the learner as it stood before a round and the engines lie apart, found by one rank.

        Args:
            sequences: With the proximal policy's log-probs attached.

        Returns:
            As `mismatch_by_lag`; empty without sequences.
        """
        off_policy = self._objective.off_policy
        figures: dict[str, float] = self._workers.first("mismatch", sequences, self._version, off_policy)
        return figures

    def _kept_log_probs(self, sequences: Sequence[SequenceSource], of_reference: bool = False) -> list[KeptLogProbs]:
        shares = self._plan(sequences)
        answers: list[list[KeptLogProbs]] = self._workers.deal("keep_log_probs", shares, of_reference)
        found = {
            position: kept
            for share, answer in zip(shares, answers, strict=True)
            for position, kept in zip((row for batch in share for row in batch.positions), answer, strict=True)
        }
        return [found[position] for position in range(len(sequences))]

    def publish(self, engines: Sequence[Any], bucket_bytes: int | None = None) -> WeightPublication:
        """Brings the current weights to the engines under the next version, and verifies that they serve them.

        Args:
            engines: Ray actor handles with ``update_weights(delivery)`` and ``probe(ids)``.
            bucket_bytes: Size of a bucket, instead of the recipe's.

        Raises:
            WeightMismatchError: an engine does not serve what was published.
            ValueError: there are no engines, so nothing would be verified.
        """
        publication = self._bring(engines, self._version + 1, bucket_bytes)
        self._version, self._unpublished_updates = publication.version, 0
        return publication

    def publish_again(self, engines: Sequence[Any], bucket_bytes: int | None = None) -> WeightPublication:
        """Brings the current weights to engines under the version that they have already.

        After ``load``, and for an engine that was started anew, before it is given any prompt. Arguments and errors are
        those of ``publish``.

        Raises:
            ValueError: weights were updated since that version was published.
        """
        if self._unpublished_updates:
            raise ValueError(
                f"these are not weights {self._version} any more: they were updated {self._unpublished_updates} times; "
                "publish them as the next version"
            )
        return self._bring(engines, self._version, bucket_bytes)

    def save(self, path: Path, progress: Mapping[str, int] | None = None) -> None:
        """Writes a checkpoint, whole or not at all; the directory must lie on storage that all ranks share.

        Args:
            path: Where to.
            progress: Where the loop around the learner stands; ``load`` gives it back.
        """
        state = self._state(progress or {})
        self._workers.call("save", path.resolve(), state)

    def load(self, path: Path) -> Mapping[str, int]:
        """Goes on from a checkpoint of the stage that was begun. Engines must be given it by ``publish_again``.

        Returns:
            The ``progress`` that it was saved with.

        Raises:
            CheckpointError: it is missing, damaged, of another policy, dtype or ZeRO stage, of other settings, or, with
                an optimizer on NVMe, of another number of ranks.
        """
        state = verify(path)
        refuse_misfit(path, state, self._state({}), same_ranks=self.config.offload.optimizer == "nvme")
        self._workers.call("load", path.resolve())
        self._version, self._updates, self._unpublished_updates = state.version, state.updates, 0
        self._trained_groups = dict.fromkeys(state.trained_groups)
        return state.progress

    def export(self, path: Path) -> None:
        """Writes a Hugging Face directory with weights, config and tokenizer."""
        self._workers.call("export", path.resolve())

    def close(self) -> None:
        """Ends the ranks and gives their resources back. May be called twice."""
        self._workers.close()

    def _begin(
        self, optimizer: OptimizerConfig, total_updates: int, temperature: float, objective: ObjectiveConfig | None
    ) -> None:
        keep_reference = objective is not None and objective.kl_weight > 0
        self._workers.call("configure_optimizer", optimizer, total_updates, temperature, keep_reference)
        sections = (optimizer, objective, self.config.lora)
        self._settings = fingerprint(
            [None if section is None else section.model_dump(mode="json") for section in sections],
            total_updates,
            temperature,
        )
        self._updates = 0
        self._resident = True
        self._trained_groups = {}
        self._guard.made()

    def _state(self, progress: Mapping[str, int]) -> CheckpointState:
        """What a checkpoint that is written now says of itself."""
        lora = self.config.lora
        return CheckpointState(
            version=self._version,
            updates=self._updates,
            ranks=self.config.ranks,
            zero_stage=self.config.zero_stage,
            dtype=self.dtype,
            policy=self._workers.policy.fingerprint,
            settings=self._settings,
            trained_groups=tuple(self._trained_groups),
            lora_scaling=0.0 if lora is None else lora.alpha / lora.rank,
            progress=dict(progress),
        )

    def _bring(self, engines: Sequence[Any], version: int, bucket_bytes: int | None) -> WeightPublication:
        if not engines:
            raise ValueError("there are no engines to publish weights to")
        started = time.monotonic()
        sent = self._publisher.send(self._workers.handles, engines, version, bucket_bytes)
        probe = probe_ids([sequence.load().ids for sequence in self._probe], self._workers.policy.vocabulary)
        expected = self.log_probs([probe_sequence(ids) for ids in probe], temperature=1.0)
        gap = verify_probe(
            [row[1:].tolist() for row in expected],
            wait_all([engine.probe.remote(probe) for engine in engines], "engine"),
            TOLERANCE[self.dtype],
        )
        return WeightPublication(version, time.monotonic() - started, gap, sent.checksum, sent.delivery.nbytes)

    def _plan(self, sequences: Sequence[SequenceSource]) -> tuple[tuple[PlannedBatch, ...], ...]:
        config = self.config
        return plan(sequences, ranks=config.replicas, micro_batch_tokens=config.row_tokens, packing=config.packing)

    def _finish_update(
        self,
        sequences: Sequence[SequenceSource],
        shares: Sequence[Sequence[PlannedBatch]],
        results: Sequence[RankUpdate],
        started: float,
    ) -> dict[str, float]:
        loss, grad_norm = sum(result.loss for result in results), results[0].grad_norm
        if results[0].skipped:
            suspects = group_uids(sequences[row] for result in results for row in result.suspects)
            self._guard.skip(SkippedUpdate(loss, grad_norm, group_uids(sequences), suspects))
        else:
            self._updates += 1
            self._unpublished_updates += 1
            self._probe = list(sequences[:PROBE_SEQUENCES])
            self._trained_groups.update(dict.fromkeys(group_uids(sequences)))
            self._guard.made()
        seconds = time.monotonic() - started
        figures = update_figures(sequences, shares, results, seconds)
        if self._shape is not None and self._gpu is not None:
            peak = self._gpu.flops * self.config.ranks
            lengths = [len(sequence) for sequence in sequences]
            figures["mfu"] = self._shape.update_operations(lengths, int(figures["tokens"])) / seconds / peak
        return figures
