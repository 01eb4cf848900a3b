"""The cold start: supervised learning on demonstrations (paper section 2.2, equation 3; spec section C)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from learners.sequences import TrainingSequence, from_demonstration
from thor_ray.config import ColdStartConfig, Recipe
from thor_ray.problems import Problem
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.evaluate import evaluate
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import Trajectory

OnUpdate = Callable[[int, Mapping[str, Any], int], None]
"""Called with the number of updates done, the last one's metrics, and the number of updates in all."""


def cold_start(
    workers: Workers,
    demonstrations: Sequence[Trajectory],
    recipe: Recipe,
    log: RunLog,
    on_update: OnUpdate,
    heldout: Sequence[Problem] = (),
) -> None:
    """Fine-tunes the policy on the demonstrations and brings the weights to the engines.

    Goes on after the last update that a checkpoint holds.

    Args:
        workers: Rollout actors and learners.
        demonstrations: As TIRGen made them.
        recipe: Section ``cold_start`` decides.
        log: Gets the metrics of each update.
        on_update: Called after each update.
        heldout: Problems to evaluate on now and then, if ``cold_start.evaluate_every`` says so.

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
    workers.learners_turn()
    learners.begin_sft(config.optimizer, total)
    checkpoints = StageCheckpoints(log, Stage.COLD_START, recipe.learner)
    done = checkpoints.resume(workers)
    batches = epochs(sequences, config.epochs, config.batch_size, recipe.seed)
    for index, batch in islice(enumerate(batches), done, None):
        workers.learners_turn()
        metrics = learners.sft(batch)
        log.record_metrics(Stage.COLD_START, index, metrics)
        on_update(index + 1, metrics, total)
        pause = pause_after(index + 1, batches_per_epoch, config)
        if pause.evaluates:
            _publish(workers, log, index)
            evaluate(workers, heldout, recipe, log, Stage.EVALUATE_DURING_COLD_START, round_index=index)
        if pause.checkpoint_due is not None:
            checkpoints.take(learners, index + 1, pause.checkpoint_due)
    _publish(workers, log, total)


@dataclass(frozen=True, slots=True)
class Pause:
    """What is done between two updates.

    Attributes:
        evaluates: Held-out problems are sampled.
        checkpoint_due: In the unit of ``learner.checkpoint_every``, which has the last word; ``None`` is no checkpoint.
    """

    evaluates: bool
    checkpoint_due: int | None


def pause_after(done: int, updates_per_epoch: int, config: ColdStartConfig) -> Pause:
    """What is done after so many updates; nothing after the last one, when the stage is over anyway.

    Args:
        done: Updates.
        updates_per_epoch: Of all ``config.epochs``.
        config: How often it asks for what.
    """
    if done == config.epochs * updates_per_epoch:
        return Pause(evaluates=False, checkpoint_due=None)
    evaluates = config.evaluate_every > 0 and done % config.evaluate_every == 0
    if config.checkpoint_every:
        # 0 is a multiple of whatever learner.checkpoint_every says, unless it says that there are none.
        return Pause(evaluates, 0 if done % config.checkpoint_every == 0 else None)
    epochs_done, within = divmod(done, updates_per_epoch)
    return Pause(evaluates, epochs_done if within == 0 else None)


def _publish(workers: Workers, log: RunLog, index: int) -> None:
    published = workers.publish()
    log.record_publication(Stage.COLD_START, index, published.version, True, published.max_logprob_gap)


def epochs(
    sequences: Sequence[TrainingSequence], count: int, batch_size: int, seed: int
) -> Iterator[list[TrainingSequence]]:
    """Batches of ``count`` passes, each in an order of its own; the last batch of a pass may be smaller."""
    for epoch in range(count):
        shuffled = Random(f"{seed}:{epoch}").sample(list(sequences), len(sequences))
        for start in range(0, len(shuffled), batch_size):
            yield shuffled[start : start + batch_size]
