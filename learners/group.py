"""The learner as the top loops see it: R DeepSpeed ranks behind one handle."""

import math
import time
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import ray
from ray.util.placement_group import remove_placement_group

from learners.checkpoint import CheckpointState, read_state, refuse_misfit
from learners.packing import MicroBatch, computed_tokens, plan
from learners.publish import (
    TOLERANCE,
    PublishedWeights,
    WeightPublication,
    probe_ids,
    verify_probe,
    verify_receipts,
)
from learners.ranks import CALL_TIMEOUT_SECONDS, place, start, wait_all
from learners.sequences import TrainingSequence, token_counts
from learners.worker import LearnerWorker, PolicySpec, RankUpdate
from learners.zero import Rendezvous
from thor_ray.config import LearnerConfig, ObjectiveConfig, OptimizerConfig
from thor_ray.objectives import PolicyStatistics, denominators
from thor_ray.trajectory import GroupKind
from thor_ray.weights import BUCKET_BYTES


class NonFiniteUpdateError(RuntimeError):
    """A loss or gradient is not finite. The weights are no longer to be trusted; go back to a checkpoint."""


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

    Raises:
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
    ) -> None:
        spec = PolicySpec(
            path=model_path.resolve(),
            dtype=dtype,
            zero_stage=config.zero_stage,
            gradient_checkpointing=config.gradient_checkpointing,
            packing=config.packing,
            threads=cpus_per_rank,
        )
        self.config = config
        self.dtype = dtype
        self._version = 0
        self._updates = 0
        self._objective = ObjectiveConfig()
        self._trained: list[npt.NDArray[np.int64]] = []
        if gpus_per_rank is None:
            gpus_per_rank = int(ray.cluster_resources().get("GPU", 0) > 0)
        self._workers: list[Any] = []
        self._placement = place(config.ranks, cpus_per_rank, gpus_per_rank)
        try:
            self._workers = [
                start(LearnerWorker, self._placement, rank=rank, cpus=cpus_per_rank, gpus=gpus_per_rank)
                for rank in range(config.ranks)
            ]
            address, port = self._collect([self._workers[0].endpoint.remote()])[0]
            self._vocabulary: int = self._collect(
                [
                    worker.setup.remote(Rendezvous(rank, config.ranks, address, port), spec, CALL_TIMEOUT_SECONDS)
                    for rank, worker in enumerate(self._workers)
                ]
            )[0]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def version(self) -> int:
        """Of the weights that the engines serve; 0 are those of the model directory."""
        return self._version

    @property
    def updates(self) -> int:
        """Optimizer steps of the current stage."""
        return self._updates

    def begin_sft(self, optimizer: OptimizerConfig, total_updates: int) -> None:
        """Starts supervised learning with a new optimizer. ``total_updates`` is for the linear schedule."""
        self._begin(optimizer, total_updates, temperature=1.0)

    def begin_rl(
        self,
        objective: ObjectiveConfig,
        optimizer: OptimizerConfig,
        total_updates: int,
        temperature: float = 1.0,
    ) -> None:
        """Starts reinforcement learning with a new optimizer.

        Args:
            objective: Clip bounds and weights.
            optimizer: AdamW and schedule.
            total_updates: For the linear schedule.
            temperature: At which trajectories are sampled; log-probs are taken at the same.
        """
        self._begin(optimizer, total_updates, temperature)
        self._objective = objective

    def sft(self, sequences: Sequence[TrainingSequence]) -> dict[str, float]:
        """One optimizer step on demonstrations.

        Returns:
            ``loss`` per token, ``tokens`` in the loss, and what ``update`` also returns of speed and optimizer.

        Raises:
            NonFiniteUpdateError: the loss or the gradient is not finite.
        """
        started = time.monotonic()
        shares = self._plan(sequences)
        tokens = sum(sequence.loss_tokens for sequence in sequences)
        results = self._collect(
            [worker.update_sft.remote(share, tokens) for worker, share in zip(self._workers, shares, strict=True)]
        )
        return self._finish_update(sequences, shares, results, started)

    def update(self, sequences: Sequence[TrainingSequence]) -> dict[str, float]:
        """One optimizer step on a mini-batch of both levels.

        Returns:
            ``loss``; ``tokens``, ``episode_tokens`` and ``step_tokens`` in the loss; ``grad_norm`` before clipping;
            ``learning_rate``; ratio, clip and mismatch statistics (``PolicyStatistics.metrics``); ``seconds``,
            ``tokens_per_second`` of all tokens and ``padding``, the share of padding among those that went through.

        Raises:
            NonFiniteUpdateError: the loss or the gradient is not finite.
        """
        started = time.monotonic()
        shares = self._plan(sequences)
        counts = token_counts(sequences)
        divisors = denominators(counts, self._objective.denominator)
        results = self._collect(
            [
                worker.update_rl.remote(share, divisors, self._objective)
                for worker, share in zip(self._workers, shares, strict=True)
            ]
        )
        statistics = reduce(PolicyStatistics.merge, (result.statistics for result in results))
        return self._finish_update(sequences, shares, results, started) | {
            "episode_tokens": counts[GroupKind.EPISODE].tokens,
            "step_tokens": counts[GroupKind.STEP].tokens,
            **statistics.metrics(),
        }

    def log_probs(
        self, sequences: Sequence[TrainingSequence], temperature: float | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """Log-probs of the tokens in each sequence's loss mask under the current weights.

        Args:
            sequences: In any number.
            temperature: ``None`` for the stage's.

        Returns:
            For each sequence float32 ``[length]``, 0 where masked out.
        """
        shares = self._plan(sequences)
        answers = self._collect(
            [
                worker.compute_log_probs.remote(share, temperature)
                for worker, share in zip(self._workers, shares, strict=True)
            ]
        )
        found: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
        for share, answer in zip(shares, answers, strict=True):
            for batch, rows in zip(share, answer, strict=True):
                for position, row in zip(batch.positions, rows, strict=batch.filler is False):
                    found[position] = row[: len(sequences[position])]
        return found

    def with_proximal_log_probs(self, sequences: Sequence[TrainingSequence]) -> list[TrainingSequence]:
        """Attaches the proximal policy's log-probs, once before a round of several updates (spec D.4)."""
        log_probs = self.log_probs(sequences)
        return [sequence.with_proximal_log_probs(row) for sequence, row in zip(sequences, log_probs, strict=True)]

    def publish(self, engines: Sequence[Any], bucket_bytes: int = BUCKET_BYTES) -> WeightPublication:
        """Brings the current weights to the engines under the next version, and verifies that they serve them.

        Args:
            engines: Ray actor handles with ``update_weights(buckets, manifest)`` and ``probe(ids)``.
            bucket_bytes: Size of a bucket.

        Raises:
            WeightMismatchError: an engine does not serve what was published.
            ValueError: there are no engines, so nothing would be verified.
        """
        if not engines:
            raise ValueError("there are no engines to publish weights to")
        started = time.monotonic()
        published: PublishedWeights = self._collect(
            [worker.publish_weights.remote(self._version + 1, bucket_bytes) for worker in self._workers]
        )[0]
        manifest = published.manifest
        verify_receipts(
            manifest,
            wait_all([engine.update_weights.remote(published.buckets, manifest) for engine in engines], "engine"),
        )
        probe = probe_ids(self._trained, self._vocabulary)
        expected = self.log_probs([_whole(ids) for ids in probe], temperature=1.0)
        gap = verify_probe(
            [row[1:].tolist() for row in expected],
            wait_all([engine.probe.remote(probe) for engine in engines], "engine"),
            TOLERANCE[self.dtype],
        )
        self._version += 1
        return WeightPublication(self._version, time.monotonic() - started, gap, manifest.checksum, manifest.nbytes)

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all; the directory must lie on storage that all ranks share."""
        state = CheckpointState(self._version, self._updates, self.config.ranks, self.config.zero_stage, self.dtype)
        self._collect([worker.save.remote(path.resolve(), state) for worker in self._workers])

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint of the stage that was begun. Engines must be given the weights by ``publish``.

        Raises:
            CheckpointError: it is missing, damaged, or written by a group of another shape.
        """
        path = path.resolve()
        refuse_misfit(
            path, read_state(path), ranks=self.config.ranks, zero_stage=self.config.zero_stage, dtype=self.dtype
        )
        state: CheckpointState = self._collect([worker.load.remote(path) for worker in self._workers])[0]
        self._version, self._updates = state.version, state.updates

    def export(self, path: Path) -> None:
        """Writes a Hugging Face directory with weights, config and tokenizer."""
        self._collect([worker.export.remote(path.resolve()) for worker in self._workers])

    def close(self) -> None:
        """Ends the ranks and gives their resources back. May be called twice."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []
        if self._placement is not None:
            remove_placement_group(self._placement)
            self._placement = None

    def _begin(self, optimizer: OptimizerConfig, total_updates: int, temperature: float) -> None:
        self._collect(
            [worker.configure_optimizer.remote(optimizer, total_updates, temperature) for worker in self._workers]
        )
        self._updates = 0

    def _plan(self, sequences: Sequence[TrainingSequence]) -> tuple[tuple[MicroBatch, ...], ...]:
        config = self.config
        return plan(sequences, ranks=config.ranks, micro_batch_tokens=config.micro_batch_tokens, packing=config.packing)

    def _finish_update(
        self,
        sequences: Sequence[TrainingSequence],
        shares: Sequence[Sequence[MicroBatch]],
        results: Sequence[RankUpdate],
        started: float,
    ) -> dict[str, float]:
        loss, grad_norm = sum(result.loss for result in results), results[0].grad_norm
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            groups = ", ".join(sorted({sequence.group_uid for sequence in sequences}))
            raise NonFiniteUpdateError(f"loss {loss}, gradient norm {grad_norm} in an update on groups {groups}")
        self._updates += 1
        self._trained = [sequence.ids for sequence in sequences]
        seconds = time.monotonic() - started
        tokens = sum(len(sequence) for sequence in sequences)
        return {
            "loss": loss,
            "grad_norm": grad_norm,
            "learning_rate": results[0].learning_rate,
            "sequences": len(sequences),
            "tokens": sum(sequence.loss_tokens for sequence in sequences),
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "padding": 1 - tokens / sum(computed_tokens(share) for share in shares),
        }

    def _collect(self, references: Sequence[Any]) -> list[Any]:
        return wait_all(references, "learner rank")


def _whole(ids: Sequence[int]) -> TrainingSequence:
    """A sequence of which every token but the first is asked for."""
    mask = np.ones(len(ids), dtype=np.bool_)
    mask[0] = False
    return TrainingSequence(
        np.asarray(ids, dtype=np.int64), mask, np.zeros(len(ids), dtype=np.float32), 0.0, GroupKind.EPISODE, "probe"
    )
