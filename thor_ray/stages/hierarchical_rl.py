"""Hierarchical RL: is the answer right, and does the code run? (paper section 2.3; spec sections D, E).

One round takes G trajectories per problem, and G continuations of thoughts whose code failed, and makes K optimizer
steps on ``L = w_episode L_episode + w_step L_step``. The engines then get the weights. What it takes was sampled for it
while the learner waited, or while the learner was busy with earlier rounds (`rollouts`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from learners.guards import SkippedUpdate
from learners.publish import WeightPublication
from learners.sequences import SampledSequence, from_groups
from thor_ray.config import Recipe, RLConfig
from thor_ray.drop_record import append_drops
from thor_ray.metrics import round_metrics
from thor_ray.records import Learned, Stage
from thor_ray.run_directory import MetricsLine
from thor_ray.runlog import RunLog
from thor_ray.selection import GroupReject, SelectedGroup, Selection, TrajectoryReject, select_groups
from thor_ray.stages.evaluate import evaluate
from thor_ray.stages.problem_sets import ProblemSets
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.rollouts import Rollouts, Sampled, rollouts_for
from thor_ray.stages.rollouts_checkpoint import Rejected
from thor_ray.stages.stopping import OrderlyStop
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import Group

OnRound = Callable[[int, Mapping[str, Any]], None]
"""Called with the number of rounds done and the last one's metrics."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round sampled and what the learner made of it."""

    index: int
    sampled: Sampled
    selection: Selection
    updates: list[dict[str, float]]
    publication: WeightPublication | None
    """``None`` where every group was dropped, so that there was nothing to learn and nothing to publish."""
    skipped: tuple[SkippedUpdate, ...] = ()
    """Updates that were not made."""
    mismatch: Mapping[str, float] = field(default_factory=dict)
    """Where engines and learner disagree about what was sampled."""


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
    config, learners = recipe.rl, workers.learners
    workers.learners_turn()
    learners.begin_rl(
        config.objective, config.optimizer, config.rounds * config.updates_per_round, config.sampling.temperature
    )
    checkpoints = StageCheckpoints(log, Stage.RL, recipe.learner)
    done = checkpoints.resume(workers)
    workers.engines_turn()
    choose = partial(select, config=config)
    with (
        rollouts_for(workers, problems.train, recipe, choose, done, checkpoints.rollouts(done)) as rollouts,
        OrderlyStop(lambda finished: checkpoints.keep(learners, finished, rollouts.save), done) as stop,
    ):
        for index in rounds(log, config, done):
            started = time.monotonic()
            sampled = rollouts.take(index)
            with stop.finishing(index + 1):
                selection = choose(sampled.groups, sampled.rejected)
                outcome = learn(workers, rollouts, index, sampled, selection, recipe)
                idle = idle_shares(sampled.waited, time.monotonic() - started, rollouts.busy_share())
                on_round(index + 1, record(log, outcome, idle))
            if config.evaluate_every and (index + 1) % config.evaluate_every == 0:
                evaluate(workers, problems.heldout, recipe, log, Stage.EVALUATE_DURING_RL, round_index=index)
            with stop.finishing(index + 1):
                checkpoints.take(learners, index + 1, index + 1, rollouts.save)


def rounds(log: RunLog, config: RLConfig, done: int) -> Iterator[int]:
    """Numbers of the rounds that are left to do, until ``config.token_budget`` is spent."""
    for index in range(done, config.rounds):
        if config.token_budget is not None and sampled_tokens(log, index) >= config.token_budget:
            return
        yield index


def sampled_tokens(log: RunLog, done: int) -> int:
    """Tokens that the first ``done`` rounds have sampled; of a round that was done again, the last time counts."""
    by_round = {line.round: line.metrics["sampled_tokens"] for line in log.metrics(Stage.RL) if _is_round(line)}
    return sum(tokens for number, tokens in by_round.items() if number is not None and number < done)


def _is_round(line: MetricsLine) -> bool:
    return line.round is not None and "sampled_tokens" in line.metrics


def learn(
    workers: Workers, rollouts: Rollouts, index: int, sampled: Sampled, selection: Selection, recipe: Recipe
) -> Round:
    """Makes a round's updates on what was selected, and gives the engines the weights."""
    config, learners = recipe.rl, workers.learners
    workers.learners_turn()
    dealt = list(minibatches(workers, selection.kept, config.updates_per_round, recipe.seed + index))
    mismatch = learners.mismatch([sequence for minibatch in dealt for sequence in minibatch])
    updates, skipped = [], list[SkippedUpdate]()
    for minibatch in dealt:
        updates.append(learners.update(minibatch))
        skipped += learners.skipped[-1:]
    rollouts.settle(selection, skip_reasons(skipped))
    publication = workers.publish() if updates else None
    workers.engines_turn()
    if publication is not None:
        rollouts.published(publication.version)
    return Round(index, sampled, selection, updates, publication, tuple(skipped), mismatch)


def select(groups: Sequence[Group], rejected: Rejected, config: RLConfig) -> Selection:
    """What of a round may train, and with which advantages (spec D.3, E.4)."""
    return select_groups(groups, rejected, config.filters, divide_by_deviation=config.objective.normalise_advantages)


def minibatches(
    workers: Workers, groups: Sequence[SelectedGroup], count: int, seed: int
) -> Iterator[list[SampledSequence]]:
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


def record(log: RunLog, outcome: Round, idle: Mapping[str, float]) -> dict[str, Any]:
    """Writes a round's trajectories and metrics, and returns the metrics; ``idle`` are `idle_shares`."""
    sampled, selection = outcome.sampled, outcome.selection
    dropped = {group.uid: group.dropped for group in selection.dropped}
    unlearnt = skip_reasons(outcome.skipped)
    learned = {uid: Learned(excluded=reason.value) for uid, reason in selection.rejected.items()} | {
        trajectory.id: Learned(advantage=advantage, excluded=unlearnt.get(selected.group.uid))
        for selected in selection.kept
        for trajectory, advantage in zip(selected.group.trajectories, selected.advantages, strict=True)
    }
    groups = [replace(group, dropped=dropped.get(group.uid)) for group in sampled.groups]
    gold = {problem.id: problem.answer for problem in sampled.problems}
    log.record_groups(groups, Stage.RL, outcome.index, gold_answers=gold, learned=learned)
    append_drops(log.logs, log.state().attempt, outcome.index, sampled.drops)
    metrics = round_metrics(groups, sampled.seconds) | {
        "sampling_seconds": sampled.seconds,
        **{f"rejected/{reason}": selection.trajectory_rejects[reason] for reason in TrajectoryReject},
        **{f"dropped/{reason}": selection.group_rejects[reason] for reason in GroupReject},
        **mean_metrics(outcome.updates),
        **sampled.figures,
        **outcome.mismatch,
        **idle,
    }
    log.record_metrics(Stage.RL, outcome.index, metrics)
    if (published := outcome.publication) is not None:
        log.record_publication(Stage.RL, outcome.index, published.version, True, published.max_logprob_gap)
    return metrics


def skip_reasons(skipped: Sequence[SkippedUpdate]) -> dict[str, str]:
    """By group, why the learner made nothing of it: its loss was not finite, or that of another in its mini-batch."""
    reasons = {uid: "skipped_update" for update in skipped for uid in update.groups}
    return reasons | {uid: "non_finite_loss" for update in skipped for uid in update.suspects}


def idle_shares(waited: float, seconds: float, engines_busy: float) -> dict[str, float]:
    """Of a round's time, that in which the learner waited for groups, and that in which engines had none to sample."""
    return {"idle/learner": min(1.0, waited / seconds), "idle/engines": 1 - engines_busy}


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
