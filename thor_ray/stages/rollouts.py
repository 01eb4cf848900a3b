"""Where the groups of a round come from: sampled for it while the learner waits, or ahead of it.

Both are driven by the same loop (`hierarchical_rl`), which takes groups, says what became of them and publishes weights.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from actors.branching import Branching
from actors.family_tokens import store
from actors.generation import derive_seed
from actors.sampler import RolloutSettings
from actors.stream import LostEngine, RolloutDriver, SampledFamily
from actors.supervision import ActorHandle
from thor_ray.config import Recipe
from thor_ray.drop_record import DroppedProblem
from thor_ray.problems import Problem
from thor_ray.selection import (
    Selection,
    choose_failed_steps,
    rejected_trajectories,
    reward_missing_actions,
)
from thor_ray.stages.problem_sets import problem_batches
from thor_ray.stages.rollouts_checkpoint import Rejected, family_uid, restore_rollouts, save_rollouts
from thor_ray.stages.workers import Workers
from thor_ray.stream import (
    MOST_GROUPS,
    ConcurrencyRule,
    DroppedGroup,
    DropReason,
    EngineScheduler,
    ProblemCursor,
    RolloutCoordinator,
    StreamConfig,
    Ticket,
    TrajectoryStream,
    drop_counts,
    stream_state,
    version_counts,
)
from thor_ray.trajectory import Group

Select = Callable[[Sequence[Group], Rejected], Selection]

MEND_SECONDS: Final = 1.0
"""Between two looks, while the learner waits, at engines that are being started anew."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a round has to learn from.

    Attributes:
        episodes: G trajectories of each problem.
        steps: G continuations of each failed step that was resampled.
        problems: Those that were asked.
        seconds: Wall time in which all of it was sampled.
        waited: Wall time that the learner spent waiting for it, in seconds.
        rejected: Which of the trajectories may not train, whatever becomes of their groups.
        figures: Of the stream, for the round's metrics.
        drops: Groups that the stream dropped since the round before, whether or not they have trajectories.
    """

    episodes: list[Group]
    steps: list[Group]
    problems: list[Problem]
    seconds: float
    waited: float
    rejected: Rejected = field(default_factory=dict)
    figures: Mapping[str, float | int] = field(default_factory=dict)
    drops: Sequence[DroppedProblem] = ()

    @property
    def groups(self) -> list[Group]:
        """Of both levels."""
        return [*self.episodes, *self.steps]


class Rollouts(AbstractContextManager["Rollouts"]):
    """Groups for one round after another."""

    @abstractmethod
    def take(self, index: int) -> Sampled:
        """Waits for the groups of round ``index``."""

    @abstractmethod
    def settle(self, selection: Selection, unlearnt: Mapping[str, str]) -> None:
        """The learner is through with what was taken last.

        Args:
            selection: What became of the groups.
            unlearnt: Why the learner made nothing of a group that was selected, by its uid.
        """

    @abstractmethod
    def published(self, version: int) -> None:
        """All engines serve another version."""

    @abstractmethod
    def save(self, place: Path) -> None:
        """Writes what a resumed run needs, if it needs anything, into a new directory beside the learner's checkpoint."""

    @abstractmethod
    def busy_share(self) -> float:
        """Share of the engines' time since the last call in which they sampled, in [0, 1]."""


def rollouts_for(
    workers: Workers, problems: Sequence[Problem], recipe: Recipe, select: Select, done: int, saved: Path | None
) -> Rollouts:
    """As the recipe's ``rl.stream.max_staleness`` says: 0 samples each round by itself, more lets engines run ahead.

    Args:
        workers: Engines, and the learner whose weights they serve.
        problems: Training problems.
        recipe: Section ``rl`` decides.
        select: What of some groups may train.
        done: Rounds that need not be done again.
        saved: What ``save`` wrote after the last of them; ``None`` where the stage begins.
    """
    if recipe.rl.stream.max_staleness == 0:
        return SynchronousRollouts(workers, problems, recipe, done)
    return StreamedRollouts(workers, problems, recipe, select, saved)


class SynchronousRollouts(Rollouts):
    """A round's groups are all sampled by the weights that they will update, and in an order that repeats."""

    def __init__(self, workers: Workers, problems: Sequence[Problem], recipe: Recipe, done: int) -> None:
        config = recipe.rl
        self._workers, self._recipe = workers, recipe
        batches = problem_batches(problems, config.groups_per_round, config.rounds, recipe.seed)
        self._batches = islice(batches, done, None)
        self._busy_seconds, self._since = 0.0, time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is under way between two rounds."""

    def take(self, index: int) -> Sampled:
        batch, started = next(self._batches), time.monotonic()
        episodes = sample_episodes(self._workers, batch, self._recipe, index)
        steps = resample_failed_steps(self._workers, episodes, self._recipe, index)
        seconds = time.monotonic() - started
        self._busy_seconds += seconds
        rejected = rejected_trajectories([*episodes, *steps], self._recipe.rl.filters, self._workers.codec.decode)
        return Sampled(store(episodes), store(steps), batch, seconds, waited=seconds, rejected=rejected)

    def settle(self, selection: Selection, unlearnt: Mapping[str, str]) -> None:
        """The next round does not depend on it."""

    def published(self, version: int) -> None:
        """Engines know their version."""

    def save(self, place: Path) -> None:
        """The number of rounds says it all."""

    def busy_share(self) -> float:
        share = self._busy_seconds / (time.monotonic() - self._since)
        self._busy_seconds, self._since = 0.0, time.monotonic()
        return min(1.0, share)


class StreamedRollouts(Rollouts):
    """Groups are sampled while the learner works, by weights at most ``rl.stream.max_staleness`` versions old."""

    def __init__(
        self, workers: Workers, problems: Sequence[Problem], recipe: Recipe, select: Select, saved: Path | None
    ) -> None:
        config = recipe.rl
        self._workers, self._problems, self._recipe, self._select = workers, problems, recipe, select
        bounds = StreamConfig(
            groups_per_update=config.groups_per_round,
            max_staleness=config.stream.max_staleness,
            updates=config.rounds,
            over_sample=config.stream.over_sample,
            max_attempts=config.stream.max_attempts,
        )
        if saved is None:
            cursor = ProblemCursor(len(problems), recipe.seed)
            stream, families = TrajectoryStream(bounds, cursor, workers.learners.version), list[SampledFamily]()
            drops_told = 0
        else:
            judge = partial(rejected_trajectories, filters=config.filters, decode=workers.codec.decode)
            stream, families, drops_told = restore_rollouts(bounds, saved, judge)
        at_a_time = min(max(1, recipe.engine.max_sequences // config.group_size), MOST_GROUPS)
        # From there on each engine's limit follows what the engine says of its cache.
        rule = ConcurrencyRule(initial=at_a_time)
        self._driver = RolloutDriver(
            RolloutCoordinator(stream, EngineScheduler(rule)),
            self._engines(),
            self._request,
            self._reject,
            families,
            recipe.engine.liveness,
            self._replace,
        )
        self._taken: list[str] = []
        self._version = stream.version
        self._took_at = time.monotonic()
        self._drops_told = drops_told
        self._branching = branching(recipe)

    def __enter__(self) -> Self:
        self._driver.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._driver.__exit__(kind, error, traceback)

    def take(self, index: int) -> Sampled:
        started = time.monotonic()
        families = self._families()
        now, before = time.monotonic(), self._took_at
        self._took_at = now
        self._taken = [family.uid for family in families if not family.filtered]
        drops = self._new_drops()
        return Sampled(
            episodes=[family.groups[0] for family in families],
            steps=[step for family in families for step in family.groups[1:]],
            problems=[self._problems[family.problem] for family in families],
            seconds=now - before,
            waited=now - started,
            rejected={uid: reason for family in families for uid, reason in family.rejected.items()},
            figures=self._figures(families, drops),
            drops=[DroppedProblem(d.uid, self._problems[d.problem].id, d.reason, d.version) for d in drops],
        )

    def settle(self, selection: Selection, unlearnt: Mapping[str, str]) -> None:
        trained = {family_uid(each.group.uid) for each in selection.kept if each.group.uid not in unlearnt}
        reasons = {family_uid(group.uid): str(group.dropped) for group in selection.dropped}
        reasons |= {family_uid(uid): reason for uid, reason in unlearnt.items()}
        self._driver.settle({uid: reasons[uid] for uid in self._taken if uid not in trained})

    def published(self, version: int) -> None:
        self._driver.published(version)
        self._driver.join(self._engines())
        self._version = version

    def save(self, place: Path) -> None:
        state, families = self._driver.snapshot(lambda coordinator: stream_state(coordinator.stream))
        save_rollouts(place, {"drops_told": self._drops_told, **state}, families)

    def busy_share(self) -> float:
        return self._driver.busy_share()

    def _families(self) -> list[SampledFamily]:
        """Waits for the next ones, and meanwhile sees to it that there are engines to sample them."""
        while not (families := self._driver.take(MEND_SECONDS)):
            self._workers.fleet.supervisor.mend()
            self._driver.join(self._engines())
        return families

    def _engines(self) -> dict[str, ActorHandle]:
        return {engine.name: engine.actor for engine in self._workers.fleet.supervisor.serving}

    def _replace(self, lost: LostEngine) -> bool:
        """Whether any engine is left, or will be."""
        supervisor = self._workers.fleet.supervisor
        supervisor.lost(lost.name, lost.reason)
        return supervisor.hopeful

    def _request(self, ticket: Ticket) -> Mapping[str, Any]:
        return {
            "problem": self._problems[ticket.problem],
            "group_size": self._recipe.rl.group_size,
            "branching": self._branching,
            "settings": RolloutSettings.for_training(self._recipe),
            "seed": self._recipe.seed,
            "filters": self._recipe.rl.filters,
            "no_action_reward": self._recipe.rl.no_action_reward,
        }

    def _reject(self, family: SampledFamily) -> str | None:
        """Why nothing of a family may train, where the recipe wants another one instead."""
        if not self._recipe.rl.stream.refill:
            return None
        selection = self._select(family.groups, family.rejected)
        return None if selection.kept else str(selection.dropped[0].dropped)

    def _new_drops(self) -> list[DroppedGroup]:
        """Those that the stream has dropped since this was asked last, before a resume included."""
        drops, _ = self._driver.snapshot(lambda coordinator: list(coordinator.stream.drops[self._drops_told :]))
        self._drops_told += len(drops)
        return drops

    def _figures(self, families: Sequence[SampledFamily], drops: Sequence[DroppedGroup]) -> dict[str, float | int]:
        taken = [family for family in families if not family.filtered]
        lags = [self._version - min(min(version_counts(g)) for g in family.groups) for family in taken]
        counts = drop_counts(drops)
        return {
            "staleness_mean": sum(lags) / len(lags),
            "staleness_worst": max(lags),
            "refilled": len(families) - len(taken),
            **{f"lost_groups/{reason}": counts.get(reason, 0) for reason in DropReason},
        }


def branching(recipe: Recipe) -> Branching | None:
    """As many step groups in the long run as synchronous rounds have at the most (spec E.1)."""
    config = recipe.rl
    if not config.step_level:
        return None
    most = min(config.step_groups_per_round, config.groups_per_round)
    return Branching(most / config.groups_per_round, most, config.suffix_tokens, config.step_group_size)


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
