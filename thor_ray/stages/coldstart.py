"""The cold start: supervised learning on demonstrations (paper section 2.2, equation 3; spec section C)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from learners.sequences import TrainingSequence, from_demonstration
from thor_ray.config import Recipe
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import Trajectory

OnUpdate = Callable[[int, Mapping[str, Any], int], None]
"""Called with the number of updates done, the last one's metrics, and the number of updates in all."""


def cold_start(
    workers: Workers, demonstrations: Sequence[Trajectory], recipe: Recipe, log: RunLog, on_update: OnUpdate
) -> None:
    """Fine-tunes the policy on the demonstrations and brings the weights to the engines.

    Goes on after the last epoch that a checkpoint holds.

    Args:
        workers: Rollout actors and learners.
        demonstrations: As TIRGen made them.
        recipe: Section ``cold_start`` decides.
        log: Gets the metrics of each update.
        on_update: Called after each update.

    Raises:
        CheckpointError: the stage was begun before, and cannot be gone on with.
        WeightMismatchError: an engine does not serve what was published.
        NonFiniteUpdateError: losses or gradients are not finite, time and again.
    """
    config, learners = recipe.cold_start, workers.learners
    sequences = [
        from_demonstration(demonstration, mask_observations=config.mask_observations)
        for demonstration in demonstrations
    ]
    batches_per_epoch = math.ceil(len(sequences) / config.batch_size)
    total = config.epochs * batches_per_epoch
    learners.begin_sft(config.optimizer, total)
    checkpoints = StageCheckpoints(log, Stage.COLD_START, recipe.learner)
    done = checkpoints.resume(workers)
    batches = epochs(sequences, config.epochs, config.batch_size, recipe.seed)
    for index, batch in islice(enumerate(batches), done, None):
        metrics = learners.sft(batch)
        log.record_metrics(Stage.COLD_START, index, metrics)
        on_update(index + 1, metrics, total)
        finished, within = divmod(index + 1, batches_per_epoch)
        if within == 0 and finished < config.epochs:
            checkpoints.take(learners, index + 1, finished)
    published = learners.publish(workers.fleet.actors)
    log.record_publication(Stage.COLD_START, total, published.version, True, published.max_logprob_gap)


def epochs(
    sequences: Sequence[TrainingSequence], count: int, batch_size: int, seed: int
) -> Iterator[list[TrainingSequence]]:
    """Batches of ``count`` passes, each in an order of its own; the last batch of a pass may be smaller."""
    for epoch in range(count):
        shuffled = Random(f"{seed}:{epoch}").sample(list(sequences), len(sequences))
        for start in range(0, len(shuffled), batch_size):
            yield shuffled[start : start + batch_size]
