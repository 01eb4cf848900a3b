"""Selection as the loop uses it: every option of the recipe reaches what the learner is given, and the metrics."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from learners.sequences import SampledSequence
from tests.support.runs import FAILED, GOLD, OK, TOKENIZER, continuation, say, trajectory
from thor_ray.config import Recipe, validate_recipe
from thor_ray.problems import Problem
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.selection import GroupReject, TrajectoryReject, rejected_trajectories
from thor_ray.stages.hierarchical_rl import Round, minibatches, record, select
from thor_ray.stages.rollouts import Sampled, resample_failed_steps, sample_episodes
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, Trajectory, TrajectoryBuilder

PROBLEMS = [
    Problem(f"gcd-{index}", "Find the greatest common divisor of 36 and 108.", "36", "test") for index in (0, 1)
]


def without_action(name: str, parent: Trajectory) -> Trajectory:
    builder = TrajectoryBuilder.branch(name, parent, 0, parent.steps[0].thought.end - 8)
    say(builder, SpanKind.ANSWER, "It is 36.")
    return builder.finish(FinishReason.ANSWERED)


class Fleet:
    """Rollout actors that always play the same: of four episodes one is right, in two the code fails."""

    def __init__(self) -> None:
        self.resampled: list[str] = []

    def episode_groups(self, batch: Sequence[Problem], uids: Sequence[str], **_: Any) -> list[Group]:
        return [
            Group(
                uid,
                GroupKind.EPISODE,
                problem.id,
                (
                    trajectory(f"{uid}/0", problem.id, (OK,), "36"),
                    trajectory(f"{uid}/1", problem.id, (FAILED,), "9"),
                    trajectory(f"{uid}/2", problem.id, (FAILED,), "9"),
                    trajectory(f"{uid}/3", problem.id, (OK,), "9"),
                ),
            )
            for problem, uid in zip(batch, uids, strict=True)
        ]

    def step_groups(self, failures: Iterable[tuple[Trajectory, int]], uids: Sequence[str], **_: Any) -> list[Group]:
        groups = []
        for (parent, _step), uid in zip(failures, uids, strict=True):
            self.resampled.append(parent.id)
            members = (continuation(f"{uid}/0", parent), without_action(f"{uid}/1", parent))
            groups.append(Group(uid, GroupKind.STEP, parent.problem_id, members))
        return groups


class Learners:
    """Says that nothing is stale."""

    def with_proximal_log_probs(self, sequences: Sequence[SampledSequence]) -> list[SampledSequence]:
        return [sequence.with_proximal_log_probs(sequence.tokens.load().log_probs) for sequence in sequences]


class Codec:
    def decode(self, ids: Sequence[int]) -> str:
        return str(TOKENIZER.decode(list(ids)))


class Loop:
    """One round, as the loop puts it together; everything but engines and learners is real."""

    def __init__(self, log: RunLog) -> None:
        self.log, self.fleet = log, Fleet()
        self.given: list[SampledSequence] = []
        self.metrics: dict[str, Any] = {}

    def run(self, **rl: Any) -> None:
        recipe: Recipe = validate_recipe({"rl": {"rounds": 1, "groups_per_round": 2} | rl}, "test")
        workers = Workers(cast("Any", self.fleet), cast("Any", Codec()), cast("Any", Learners()))
        episodes = sample_episodes(workers, PROBLEMS, recipe, 0)
        steps = resample_failed_steps(workers, episodes, recipe, 0)
        rejected = rejected_trajectories([*episodes, *steps], recipe.rl.filters, Codec().decode)
        selection = select([*episodes, *steps], rejected, recipe.rl)
        self.given = [one for batch in minibatches(workers, selection.kept, 2, seed=0) for one in batch]
        sampled = Sampled(episodes, steps, PROBLEMS, seconds=1.0, waited=1.0)
        self.metrics = record(self.log, Round(0, sampled, selection, updates=[], publication=None), {})

    def advantages(self, level: GroupKind) -> list[float]:
        return sorted(round(one.advantage, 3) for one in self.given if one.level is level)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    assert all(problem.id in GOLD for problem in PROBLEMS)
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    with RunLog.create(tmp_path / "run", Recipe(name="run"), "train") as log:
        log.keep_tokenizer(tmp_path)
        with log.stage(Stage.RL):
            yield Loop(log)


EVERYTHING = {"failed_code": False}


def test_defaults_train_on_survivors_without_failed_code(loop):
    loop.run()
    assert loop.advantages(GroupKind.EPISODE) == [-0.707, -0.707, 0.707, 0.707]
    assert loop.metrics["rejected/failed_code"] == 4
    assert loop.metrics["rejected/no_reward"] == 2


def test_every_reason_is_counted_even_where_it_is_zero(loop):
    loop.run(filters=EVERYTHING)
    assert {name: loop.metrics[name] for name in loop.metrics if name.startswith(("rejected/", "dropped/"))} == {
        "rejected/no_reward": 2,
        **{f"rejected/{reason}": 0 for reason in TrajectoryReject if reason is not TrajectoryReject.NO_REWARD},
        **{f"dropped/{reason}": 0 for reason in GroupReject},
    }


def test_dr_grpo_reaches_the_learner(loop):
    loop.run(filters=EVERYTHING, objective={"normalise_advantages": False})
    assert loop.advantages(GroupKind.EPISODE) == [-0.25] * 6 + [0.75] * 2


def test_failed_steps_are_never_more_than_problems(loop):
    """Spec E.1: four steps failed in trajectories of two problems."""
    loop.run(step_groups_per_round=16)
    assert len(loop.fleet.resampled) == 2


def test_fewer_failed_steps_may_be_asked_for(loop):
    loop.run(step_groups_per_round=1)
    assert len(loop.fleet.resampled) == 1


def test_continuations_without_action_are_left_out_or_count_as_failures(loop):
    loop.run()
    # The single survivor of each step group has mean 0 and deviation 1.
    assert loop.advantages(GroupKind.STEP) == [1.0, 1.0]


def test_a_reward_for_continuations_without_action_reaches_the_learner_and_the_metrics(loop):
    loop.run(no_action_reward=0.0)
    assert loop.advantages(GroupKind.STEP) == [-0.707, -0.707, 0.707, 0.707]
    assert loop.metrics["rejected/no_reward"] == 0
    assert loop.metrics["step_reward"] == 0.5


@pytest.mark.parametrize(
    ("filters", "name", "count"),
    [
        ({"min_response_tokens": 10_000}, "rejected/short_response", 8),
        ({"boxed_tail_tokens": 3}, "rejected/box_not_in_tail", 8),
        ({"boxed_tail_tokens": 30}, "rejected/box_not_in_tail", 0),
        ({"min_survivors": 1.0, "failed_code": True}, "dropped/too_few_survivors", 4),
    ],
)
def test_each_filter_reads_what_was_sampled(loop, filters, name, count):
    loop.run(filters=EVERYTHING | filters)
    assert loop.metrics[name] == count
