"""Hierarchical RL: is the answer right, and does the code run? (paper section 2.3; spec sections D, E).

One round samples G trajectories per problem, backs up into the thoughts whose code failed and samples G continuations
of each, and takes K optimizer steps on ``L = w_episode L_episode + w_step L_step``. The engines then get the weights.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any

from actors.generation import derive_seed
from actors.sampler import RolloutSettings
from learners.guards import SkippedUpdate
from learners.publish import WeightPublication
from learners.sequences import TrainingSequence, from_groups
from thor_ray.config import Recipe, RLConfig
from thor_ray.metrics import round_metrics
from thor_ray.problems import Problem
from thor_ray.records import Learned, Stage
from thor_ray.runlog import RunLog
from thor_ray.selection import (
    GroupReject,
    SelectedGroup,
    Selection,
    TrajectoryReject,
    choose_failed_steps,
    reward_missing_actions,
    select_groups,
)
from thor_ray.stages.evaluate import evaluate
from thor_ray.stages.problem_sets import ProblemSets, problem_batches
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import Group

OnRound = Callable[[int, Mapping[str, Any]], None]
"""Called with the number of rounds done and the last one's metrics."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round sampled and what the learner made of it."""

    index: int
    episodes: list[Group]
    steps: list[Group]
    sampling_seconds: float
    selection: Selection
    updates: list[dict[str, float]]
    publication: WeightPublication | None
    """``None`` where every group was dropped, so that there was nothing to learn and nothing to publish."""
    skipped: tuple[SkippedUpdate, ...] = ()
    """Updates that were not made."""


def hierarchical_rl(workers: Workers, problems: ProblemSets, recipe: Recipe, log: RunLog, on_round: OnRound) -> None:
    """Trains the policy that ``workers`` hold, for ``recipe.rl.rounds`` rounds, those included that a checkpoint holds.

    Args:
        workers: Rollout actors and learners that serve the same weights.
        problems: Training problems, and those of the evaluations in between.
        recipe: Section ``rl`` decides.
        log: Gets every trajectory, the metrics of each round and of each publication.
        on_round: Called once a round is recorded.

    Raises:
        CheckpointError: the stage was begun before, and cannot be gone on with.
        WeightMismatchError: an engine does not serve what was published.
        NonFiniteUpdateError: losses or gradients are not finite, time and again.
    """
    config, learners, fleet = recipe.rl, workers.learners, workers.fleet
    learners.begin_rl(
        config.objective, config.optimizer, config.rounds * config.updates_per_round, config.sampling.temperature
    )
    checkpoints = StageCheckpoints(log, Stage.RL, recipe.learner)
    done = checkpoints.resume(workers)
    batches = problem_batches(problems.train, config.groups_per_round, config.rounds, recipe.seed)
    for index, batch in islice(enumerate(batches), done, None):
        started = time.monotonic()
        episodes = sample_episodes(workers, batch, recipe, index)
        steps = resample_failed_steps(workers, episodes, recipe, index)
        sampling_seconds = time.monotonic() - started
        selection = select(workers, [*episodes, *steps], config)
        updates, skipped = [], list[SkippedUpdate]()
        for minibatch in minibatches(workers, selection.kept, config.updates_per_round, recipe.seed + index):
            updates.append(learners.update(minibatch))
            skipped += learners.skipped[-1:]
        publication = learners.publish(fleet.actors) if updates else None
        outcome = Round(index, episodes, steps, sampling_seconds, selection, updates, publication, tuple(skipped))
        on_round(index + 1, record(log, outcome, batch))
        if config.evaluate_every and (index + 1) % config.evaluate_every == 0:
            evaluate(workers, problems.heldout, recipe, log, Stage.EVALUATE_DURING_RL, round_index=index)
        checkpoints.take(learners, index + 1, index + 1)


def sample_episodes(workers: Workers, batch: Sequence[Problem], recipe: Recipe, round_index: int) -> list[Group]:
    """G trajectories for each problem, rewarded 1 for a right answer (spec D)."""
    return workers.fleet.episode_groups(
        batch,
        [f"rl{round_index}/e{index}" for index in range(len(batch))],
        group_size=recipe.rl.group_size,
        settings=RolloutSettings.for_training(recipe),
        seed=recipe.seed,
    )


def resample_failed_steps(workers: Workers, episodes: Sequence[Group], recipe: Recipe, round_index: int) -> list[Group]:
    """G continuations of failed steps' prefixes, rewarded 1 for code that runs (spec E).

    There are never more of these groups than of episodes, since early in training most code fails (spec E.1).
    """
    config = recipe.rl
    if not config.step_level:
        return []
    failures = choose_failed_steps(
        (trajectory for group in episodes for trajectory in group.trajectories),
        min(config.step_groups_per_round, len(episodes)),
        derive_seed(recipe.seed, "failed steps", round_index),
    )
    groups = workers.fleet.step_groups(
        failures,
        [f"rl{round_index}/s{index}" for index in range(len(failures))],
        suffix_tokens=config.suffix_tokens,
        group_size=config.step_group_size,
        settings=RolloutSettings.for_training(recipe),
        seed=recipe.seed,
    )
    return reward_missing_actions(groups, config.no_action_reward)


def select(workers: Workers, groups: Sequence[Group], config: RLConfig) -> Selection:
    """What of a round may train, and with which advantages (spec D.3, E.4)."""
    return select_groups(
        groups,
        config.filters,
        workers.codec.decode,
        divide_by_deviation=config.objective.normalise_advantages,
    )


def minibatches(
    workers: Workers, groups: Sequence[SelectedGroup], count: int, seed: int
) -> Iterator[list[TrainingSequence]]:
    """Deals whole groups of both levels into at most ``count`` disjoint mini-batches (spec D.4).

    The proximal policy is the learner's before the first of them, so its log-probs are attached once, here.
    """
    if not groups:
        return
    shuffled = Random(seed).sample(list(groups), len(groups))
    shares = [shuffled[start::count] for start in range(min(count, len(groups)))]
    sequences = iter(workers.learners.with_proximal_log_probs([s for share in shares for s in from_groups(share)]))
    for share in shares:
        yield [next(sequences) for selected in share for _ in selected.group.trajectories]


def record(log: RunLog, outcome: Round, batch: Sequence[Problem]) -> dict[str, Any]:
    """Writes a round's trajectories and metrics, and returns the metrics."""
    selection = outcome.selection
    dropped = {group.uid: group.dropped for group in selection.dropped}
    unlearnt = skip_reasons(outcome.skipped)
    learned = {uid: Learned(excluded=reason.value) for uid, reason in selection.rejected.items()} | {
        trajectory.id: Learned(advantage=advantage, excluded=unlearnt.get(selected.group.uid))
        for selected in selection.kept
        for trajectory, advantage in zip(selected.group.trajectories, selected.advantages, strict=True)
    }
    groups = [replace(group, dropped=dropped.get(group.uid)) for group in (*outcome.episodes, *outcome.steps)]
    gold = {problem.id: problem.answer for problem in batch}
    log.record_groups(groups, Stage.RL, outcome.index, gold_answers=gold, learned=learned)
    metrics = round_metrics(groups, outcome.sampling_seconds) | {
        "sampling_seconds": outcome.sampling_seconds,
        **{f"rejected/{reason}": selection.trajectory_rejects[reason] for reason in TrajectoryReject},
        **{f"dropped/{reason}": selection.group_rejects[reason] for reason in GroupReject},
        **mean_metrics(outcome.updates),
    }
    log.record_metrics(Stage.RL, outcome.index, metrics)
    if (published := outcome.publication) is not None:
        log.record_publication(Stage.RL, outcome.index, published.version, True, published.max_logprob_gap)
    return metrics


def skip_reasons(skipped: Sequence[SkippedUpdate]) -> dict[str, str]:
    """By group, why the learner made nothing of it: its loss was not finite, or that of another in its mini-batch."""
    reasons = {uid: "skipped_update" for update in skipped for uid in update.groups}
    return reasons | {uid: "non_finite_loss" for update in skipped for uid in update.suspects}


def mean_metrics(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over the updates of a round that have it, named ``learner/...``.

    ``learner/skipped`` is the share of updates that were skipped; of their own figures nothing else is looked at.
    """
    if not updates:
        return {}
    made = [update for update in updates if not update["skipped"]]
    names = made[0] if made else ()
    means = {f"learner/{name}": sum(update[name] for update in made) / len(made) for name in names}
    return means | {"learner/skipped": sum(update["skipped"] for update in updates) / len(updates)}
