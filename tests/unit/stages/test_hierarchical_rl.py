"""How a round is dealt out to updates, and how it is recorded (spec D.4; invariants 2 and 6)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.guards import SkippedUpdate
from learners.publish import WeightPublication
from learners.sequences import SampledSequence
from tests.support.runs import FAILED, OK, TOKENIZER, continuation, trajectory
from tests.support.selection import select
from thor_ray.config import FilterConfig, Recipe, RLConfig
from thor_ray.problems import Problem
from thor_ray.records import Record, Stage, read_records
from thor_ray.run_directory import WEIGHTS_GAP, WEIGHTS_VERIFIED, WEIGHTS_VERSION
from thor_ray.runlog import RunLog
from thor_ray.selection import SelectedGroup
from thor_ray.stages.hierarchical_rl import Round, mean_metrics, minibatches, record, rounds, skip_reasons
from thor_ray.stages.rollouts import Sampled
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

PROMPT = (1, 2, 3)
BROKEN = ExecutionResult(ExecutionStatus.INFRA_ERROR, "")


class ProximalPolicy:
    """The one operation of a learner that dealing out needs: log-probs that tell whose they are."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def with_proximal_log_probs(self, sequences: Sequence[SampledSequence]) -> list[SampledSequence]:
        self.asked.append(len(sequences))
        return [sequence.with_proximal_log_probs(expected_log_probs(sequence)) for sequence in sequences]


def expected_log_probs(sequence: SampledSequence) -> Any:
    return np.full(len(sequence), -float(sequence.tokens.load().ids[-1]), dtype=np.float32)


def deal(groups: Sequence[SelectedGroup], count: int, seed: int = 0) -> tuple[list[list[SampledSequence]], list[int]]:
    learners = ProximalPolicy()
    workers = Workers(cast("Any", None), cast("Any", None), cast("Any", learners))
    return list(minibatches(workers, groups, count, seed)), learners.asked


@st.composite
def selected_groups(draw: st.DrawFn) -> list[SelectedGroup]:
    """Groups of both levels, of 1 to 5 survivors; every trajectory ends with a token of its own."""
    serial = iter(range(100, 10_000))
    kinds = draw(st.lists(st.tuples(st.sampled_from(GroupKind), st.integers(1, 5)), max_size=12))
    return [
        SelectedGroup(
            Group(f"g{index}", kind, "p", tuple(one_answer(f"g{index}/{n}", next(serial)) for n in range(size))),
            tuple(float(n) for n in range(size)),
        )
        for index, (kind, size) in enumerate(kinds)
    ]


def one_answer(name: str, token: int) -> Trajectory:
    builder = TrajectoryBuilder(name, "p", PROMPT)
    builder.append_sampled(SpanKind.ANSWER, [token] * (token % 3 + 1), [-0.5] * (token % 3 + 1), 0)
    return builder.finish(FinishReason.ANSWERED, reward=0.0)


counts, seeds = st.integers(1, 6), st.integers(0, 3)


@given(selected_groups(), counts, seeds)
def test_every_group_is_in_exactly_one_mini_batch_and_whole(groups, count, seed):
    dealt, _ = deal(groups, count, seed)
    homes = [(sequence.group_uid, index) for index, batch in enumerate(dealt) for sequence in batch]
    assert Counter(uid for uid, _ in homes) == {each.group.uid: len(each.group.trajectories) for each in groups}
    assert len(set(homes)) == len(groups), "a group lies in two mini-batches"


@given(selected_groups(), counts, seeds)
def test_there_are_at_most_as_many_as_asked_for_and_none_is_empty(groups, count, seed):
    dealt, _ = deal(groups, count, seed)
    assert len(dealt) == min(count, len(groups))
    sizes = [len({sequence.group_uid for sequence in batch}) for batch in dealt]
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(selected_groups(), counts, seeds)
def test_each_sequence_keeps_its_ids_advantage_and_level_and_gets_its_own_proximal_log_probs(groups, count, seed):
    given_ = {
        trajectory.ids: (advantage, each.group.kind)
        for each in groups
        for trajectory, advantage in zip(each.group.trajectories, each.advantages, strict=True)
    }
    dealt, _ = deal(groups, count, seed)
    for sequence in (sequence for batch in dealt for sequence in batch):
        assert given_.pop(sequence.tokens.load().ids) == (sequence.advantage, sequence.level)
        proximal = sequence.load().proximal_log_probs
        assert proximal is not None
        assert (proximal == expected_log_probs(sequence)).all()
    assert not given_


@given(selected_groups(), counts, seeds)
def test_the_proximal_policy_is_asked_once_for_all_of_the_round(groups, count, seed):
    """A second time would be after the first update, and so another policy."""
    _, asked = deal(groups, count, seed)
    assert asked == ([sum(len(each.group.trajectories) for each in groups)] if groups else [])


def test_the_proximal_policy_is_asked_before_the_first_update_is_taken():
    learners = ProximalPolicy()
    workers = Workers(cast("Any", None), cast("Any", None), cast("Any", learners))
    groups = [chosen(f"g{index}", GroupKind.EPISODE) for index in range(4)]
    dealing = minibatches(workers, groups, 2, 0)
    assert learners.asked == []
    next(dealing)
    assert learners.asked == [8]
    next(dealing)
    assert learners.asked == [8]


def chosen(uid: str, kind: GroupKind) -> SelectedGroup:
    serial = sum(map(ord, uid))
    return SelectedGroup(
        Group(uid, kind, "p", (one_answer(f"{uid}/0", serial), one_answer(f"{uid}/1", serial + 7))), (1.0, -1.0)
    )


def test_both_levels_meet_in_one_mini_batch():
    groups = [chosen("a", GroupKind.EPISODE), chosen("b", GroupKind.STEP)]
    ((batch,), _) = deal(groups, 1)
    assert {sequence.level for sequence in batch} == set(GroupKind)


def test_the_seed_decides_who_is_dealt_together():
    groups = [chosen(f"g{index}", GroupKind.EPISODE) for index in range(8)]

    def dealt(seed: int) -> list[list[str]]:
        return [[sequence.group_uid for sequence in batch] for batch in deal(groups, 2, seed)[0]]

    assert dealt(1) == dealt(1)
    assert dealt(1) != dealt(2)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    with RunLog.create(tmp_path / "run", Recipe(name="run"), "train") as run:
        run.keep_tokenizer(tmp_path)
        with run.stage(Stage.RL):
            yield run


PROBLEMS = [Problem(name, "Find the greatest common divisor of 36 and 108.", "36", "test") for name in ("a", "b")]
PUBLICATION = WeightPublication(version=5, seconds=0.1, max_logprob_gap=2e-6, checksum="c", nbytes=8)


MADE = {"skipped": 0.0}


def a_round(filters: FilterConfig, publication: WeightPublication | None = PUBLICATION) -> Round:
    """An episode group that trains, one whose rewards are all the same, and a step group with a lost continuation."""
    mixed = [
        trajectory("e0/0", "a", (OK,), "36"),
        trajectory("e0/1", "a", (FAILED, OK), "36"),
        trajectory("e0/2", "a", (OK,), "9"),
        trajectory("e0/3", "a", (OK,), "36").with_reward(None),
    ]
    alike = [trajectory(f"e1/{n}", "b", (FAILED,), "9") for n in range(2)]
    branches = [continuation(f"s0/{n}", alike[0]) for n in range(3)]
    rewards = (1.0, 0.0, None)
    episodes = [
        Group("e0", GroupKind.EPISODE, "a", tuple(mixed)),
        Group("e1", GroupKind.EPISODE, "b", tuple(alike)),
    ]
    steps = [
        Group("s0", GroupKind.STEP, "b", tuple(b.with_reward(r) for b, r in zip(branches, rewards, strict=True))),
    ]
    updates = (
        []
        if publication is None
        else [{**MADE, "loss": 1.0, "grad_norm": 2.0}, {**MADE, "loss": 3.0, "grad_norm": 0.0}]
    )
    sampled = Sampled(episodes, steps, PROBLEMS, seconds=0.5, waited=0.5)
    return Round(2, sampled, select(sampled.groups, filters), updates, publication)


def recorded(log: RunLog) -> dict[str, Record]:
    (path,) = log.record_files(Stage.RL)
    return {row.trajectory.id: row for row in read_records([path])}


def test_every_trajectory_of_a_round_is_recorded_with_what_became_of_it(log):
    record(log, a_round(FilterConfig(failed_code=True, min_survivors=0.5)), {})
    rows = recorded(log)
    assert set(rows) == {f"e0/{n}" for n in range(4)} | {"e1/0", "e1/1"} | {f"s0/{n}" for n in range(3)}
    assert {row.group_uid: row.group_dropped for row in rows.values()} == {
        "e0": None,
        "e1": "too_few_survivors",
        "s0": None,
    }
    assert {name: row.learned.excluded for name, row in rows.items() if row.learned.excluded} == {
        "e0/1": "failed_code",
        "e0/3": "no_reward",
        "e1/0": "failed_code",
        "e1/1": "failed_code",
        "s0/2": "no_reward",
    }
    advantages = {name: row.learned.advantage for name, row in rows.items() if row.learned.advantage is not None}
    assert set(advantages) == {"e0/0", "e0/2", "s0/0", "s0/1"}
    assert advantages["e0/0"] == -advantages["e0/2"] == advantages["s0/0"] == -advantages["s0/1"] > 0
    assert {row.gold_answer for row in rows.values()} == {"36"}
    assert {(row.stage, row.round) for row in rows.values()} == {(Stage.RL, 2)}
    assert all(row.texts for row in rows.values())


def test_a_group_without_variance_is_recorded_as_such(log):
    record(log, a_round(FilterConfig(failed_code=False)), {})
    rows = recorded(log)
    assert rows["e1/0"].group_dropped == "zero_variance"
    assert rows["e1/0"].learned.advantage is None
    assert rows["e1/0"].learned.excluded is None
    assert rows["e0/1"].learned.advantage is not None


def test_the_metrics_count_what_fell_out_and_average_the_updates(log):
    metrics = record(log, a_round(FilterConfig(failed_code=True)), {})
    assert metrics["rejected/failed_code"] == 3
    assert metrics["rejected/no_reward"] == 2
    assert metrics["dropped/too_few_survivors"] == 1
    assert (metrics["learner/loss"], metrics["learner/grad_norm"]) == (2.0, 1.0)
    assert (metrics["episodes"], metrics["steps"], metrics["step_reward"]) == (6, 3, 0.5)
    assert metrics["sampling_seconds"] == 0.5
    lines = log.metrics("rl")
    assert [line.round for line in lines] == [2, 2]
    assert lines[0].metrics == metrics
    assert lines[1].metrics == {WEIGHTS_VERSION: 5, WEIGHTS_VERIFIED: 1, WEIGHTS_GAP: 2e-6}


def test_a_round_that_taught_nothing_is_recorded_without_a_publication(log):
    metrics = record(log, a_round(FilterConfig(), publication=None), {})
    assert not [name for name in metrics if name.startswith("learner/")]
    assert [WEIGHTS_VERSION in line.metrics for line in log.metrics("rl")] == [False]


def test_an_infrastructure_error_is_excluded_and_never_a_zero(log):
    """Invariant 4: our failure is neither a reward nor an advantage."""
    lost = trajectory("lost", "a", (BROKEN,), "9").with_reward(None)
    members = (trajectory("right", "a", (OK,), "36"), trajectory("wrong", "a", (OK,), "9"), lost)
    group = Group("e0", GroupKind.EPISODE, "a", members)
    sampled = Sampled([group], [], PROBLEMS, seconds=1.0, waited=1.0)
    outcome = Round(0, sampled, select([group], FilterConfig(failed_code=False)), [], None)
    metrics = record(log, outcome, {})
    rows = recorded(log)
    assert rows["lost"].trajectory.reward is None
    assert (rows["lost"].learned.advantage, rows["lost"].learned.excluded) == (None, "no_reward")
    assert metrics["reward"] == 0.5
    assert metrics["infra_errors"] == 1


@given(st.lists(st.fixed_dictionaries({"loss": st.floats(-10, 10), "skipped": st.just(0.0)}), max_size=5))
def test_mean_metrics_are_means_of_each_figure(updates):
    means = mean_metrics(updates)
    assert set(means) == ({"learner/loss", "learner/skipped"} if updates else set())
    for name, value in means.items():
        assert value == pytest.approx(np.mean([update[name.removeprefix("learner/")] for update in updates]))


def test_updates_that_were_skipped_count_as_such_and_in_no_mean():
    made, skipped = {**MADE, "loss": 2.0, "ratio_mean": 1.0}, {"skipped": 1.0, "loss": float("nan")}
    assert mean_metrics([skipped, made]) == {"learner/loss": 2, "learner/ratio_mean": 1, "learner/skipped": 0.5}
    assert mean_metrics([skipped]) == {"learner/skipped": 1}


def test_what_a_skipped_update_held_is_recorded_as_not_learnt(log):
    skipped = SkippedUpdate(float("nan"), float("nan"), groups=("e0",), suspects=("e0",))
    outcome = replace(a_round(FilterConfig(failed_code=False)), skipped=(skipped,))
    record(log, outcome, {})
    rows = recorded(log)
    assert rows["e0/0"].learned.excluded == "non_finite_loss"
    assert rows["e0/3"].learned.excluded == "no_reward"
    assert rows["s0/0"].learned.excluded is None


def test_blame_lies_with_the_groups_whose_loss_is_not_finite():
    skipped = SkippedUpdate(float("nan"), float("nan"), groups=("a", "b"), suspects=("b",))
    assert skip_reasons([skipped]) == {"a": "skipped_update", "b": "non_finite_loss"}


def test_rounds_end_once_the_budget_is_spent_and_a_round_that_is_done_again_counts_once(tmp_path):
    config = RLConfig(rounds=9, token_budget=250)
    with RunLog.create(tmp_path / "run", Recipe(), "train") as log:
        for number in (0, 1, 1):
            log.record_metrics(Stage.RL, number, {"sampled_tokens": 100})
        left = rounds(log, config, 2)
        assert next(left) == 2
        log.record_metrics(Stage.RL, 2, {"sampled_tokens": 100})
        assert list(left) == []
        # Resumed from before the second round, it has spent what the first has, and no more.
        assert next(rounds(log, RLConfig(rounds=9, token_budget=101), 1)) == 1
        assert list(rounds(log, RLConfig(rounds=9, token_budget=100), 1)) == []
        assert list(rounds(log, RLConfig(rounds=4), 2)) == [2, 3]
