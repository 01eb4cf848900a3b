"""Every rule of selection on its own, and together (spec D.3, E.2, E.7)."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.config import FilterConfig
from thor_ray.selection import (
    GroupReject,
    TrajectoryReject,
    choose_failed_steps,
    failed_steps,
    has_failed_code,
    has_zero_variance,
    is_short,
    lacks_box_in_tail,
    reject_reason,
    select_groups,
    too_few_survive,
)
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

OK, FAILED, TIMEOUT, SILENT, INFRA = (
    ExecutionStatus.OK,
    ExecutionStatus.EXCEPTION,
    ExecutionStatus.TIMEOUT,
    ExecutionStatus.NO_OUTPUT,
    ExecutionStatus.INFRA_ERROR,
)
RULES = FilterConfig()


SERIAL = itertools.count()


def trajectory(
    *statuses: ExecutionStatus, reward: float | None = 1.0, name: str | None = None, answer: int = 2
) -> Trajectory:
    """Five prompt tokens, then thought, action and observation of two tokens each per step, then an answer."""
    builder = TrajectoryBuilder(name or f"t{next(SERIAL)}", "p", [1] * 5)
    for status in statuses:
        builder.append_sampled(SpanKind.THOUGHT, [2, 2], [-0.1, -0.1], 0)
        action = builder.append_sampled(SpanKind.ACTION, [3, 3], [-0.1, -0.1], 0)
        seen = builder.append_written(SpanKind.OBSERVATION, [4, 4])
        builder.close_step(action, seen, "print(1)", ExecutionResult(status, ""))
    builder.append_sampled(SpanKind.ANSWER, [9] * answer, [-0.1] * answer, 0)
    return builder.finish(FinishReason.ANSWERED, reward=reward)


def group(*members: Trajectory, kind: GroupKind = GroupKind.EPISODE, uid: str = "g") -> Group:
    return Group(uid, kind, "p", members)


class TestTrajectoryRules:
    @pytest.mark.parametrize(
        ("statuses", "failed"),
        [
            ((), False),
            ((OK, OK), False),
            ((OK, FAILED), True),
            ((TIMEOUT,), True),
            ((SILENT,), True),
            ((INFRA,), False),
        ],
    )
    def test_failed_code(self, statuses, failed):
        assert has_failed_code(trajectory(*statuses)) is failed

    def test_inherited_failures_are_not_held_against_a_branch(self):
        parent = trajectory(FAILED, OK)
        branch = TrajectoryBuilder.branch("b", parent, 1, parent.steps[1].thought.end)
        branch.append_sampled(SpanKind.ANSWER, [9], [-0.1], 0)
        assert not has_failed_code(branch.finish(FinishReason.STEP_DONE))

    @pytest.mark.parametrize(("minimum", "short"), [(0, False), (8, False), (9, True)])
    def test_short_response_counts_everything_after_the_prompt(self, minimum, short):
        assert is_short(trajectory(OK, answer=2), minimum) is short

    @pytest.mark.parametrize(("tail", "lacks"), [(2, False), (1, True), (100, False)])
    def test_box_in_tail(self, tail, lacks):
        pieces = {1: "prompt ", 9: r"\boxed{", 8: "7}"}
        builder = TrajectoryBuilder("t", "p", [1] * 5)
        builder.append_sampled(SpanKind.ANSWER, [9, 8], [-0.1, -0.1], 0)
        boxed = builder.finish(FinishReason.ANSWERED)
        assert lacks_box_in_tail(boxed, tail, lambda ids: "".join(pieces[token] for token in ids)) is lacks

    def test_a_box_in_the_prompt_does_not_count(self):
        assert lacks_box_in_tail(trajectory(), 7, lambda ids: r"\boxed{7}" if 1 in ids else "so it is seven")

    def test_an_empty_box_does_not_count(self):
        assert lacks_box_in_tail(trajectory(), 7, lambda _: r"\boxed{ }")

    def test_the_box_rule_without_a_tokenizer_is_refused(self):
        with pytest.raises(ValueError, match="boxed_tail_tokens"):
            reject_reason(trajectory(), GroupKind.EPISODE, FilterConfig(boxed_tail_tokens=100))

    @pytest.mark.parametrize("kind", GroupKind)
    def test_without_a_reward_nothing_trains(self, kind):
        assert reject_reason(trajectory(OK, reward=None), kind, RULES) is TrajectoryReject.NO_REWARD

    def test_failed_code_trains_at_the_step_level_and_where_the_rule_is_off(self):
        failed = trajectory(FAILED, reward=0.0)
        assert reject_reason(failed, GroupKind.EPISODE, RULES) is TrajectoryReject.FAILED_CODE
        assert reject_reason(failed, GroupKind.STEP, RULES) is None
        assert reject_reason(failed, GroupKind.EPISODE, FilterConfig(failed_code=False)) is None


class TestGroupRules:
    @pytest.mark.parametrize(
        ("survivors", "size", "share", "few"),
        [(8, 16, 0.5, False), (7, 16, 0.5, True), (4, 7, 0.5, False), (3, 7, 0.5, True), (0, 8, 0.0, True)],
    )
    def test_survival(self, survivors, size, share, few):
        assert too_few_survive(survivors, size, share) is few

    @pytest.mark.parametrize(
        ("rewards", "zero"), [([1, 1], True), ([0, 0, 0], True), ([0, 1], False), ([1], False), ([0], False)]
    )
    def test_zero_variance(self, rewards, zero):
        assert has_zero_variance(rewards) is zero


class TestSelectGroups:
    def test_survivors_get_the_advantages_of_survivors(self):
        members = [trajectory(OK, reward=1.0), trajectory(FAILED, reward=1.0), trajectory(OK, reward=0.0)]
        selection = select_groups([group(*members)], RULES)
        (kept,) = selection.kept
        assert [member.reward for member in kept.group.trajectories] == [1.0, 0.0]
        assert kept.advantages == pytest.approx((math.sqrt(0.5), -math.sqrt(0.5)), rel=1e-5)
        assert selection.trajectory_rejects == {TrajectoryReject.FAILED_CODE: 1}
        assert not selection.dropped

    def test_dropped_groups_stay_whole_and_say_why(self):
        few = group(trajectory(FAILED), trajectory(FAILED), trajectory(OK), uid="few")
        same = group(trajectory(OK), trajectory(OK), uid="same")
        selection = select_groups([few, same], RULES)
        assert [(dropped.uid, dropped.dropped, len(dropped.trajectories)) for dropped in selection.dropped] == [
            ("few", "too_few_survivors", 3),
            ("same", "zero_variance", 2),
        ]
        assert selection.group_rejects == {GroupReject.TOO_FEW_SURVIVORS: 1, GroupReject.ZERO_VARIANCE: 1}
        assert selection.trajectory_rejects == {TrajectoryReject.FAILED_CODE: 2}

    def test_infrastructure_errors_neither_train_nor_count_as_zeros(self):
        members = [trajectory(OK, reward=1.0), trajectory(INFRA, reward=None), trajectory(OK, reward=1.0)]
        selection = select_groups([group(*members)], RULES)
        assert selection.group_rejects == {GroupReject.ZERO_VARIANCE: 1}
        assert selection.trajectory_rejects == {TrajectoryReject.NO_REWARD: 1}

    def test_step_groups_learn_from_failures(self):
        members = [trajectory(OK, reward=1.0), trajectory(FAILED, reward=0.0)]
        (kept,) = select_groups([group(*members, kind=GroupKind.STEP)], RULES).kept
        assert len(kept.group.trajectories) == 2

    @given(
        st.lists(
            st.lists(st.tuples(st.sampled_from([OK, FAILED, INFRA]), st.sampled_from([0.0, 1.0, None])), min_size=1),
            max_size=6,
        )
    )
    def test_every_group_is_kept_or_dropped_once_and_counts_add_up(self, drawn):
        groups = [
            group(*[trajectory(status, reward=reward) for status, reward in members], uid=str(index))
            for index, members in enumerate(drawn)
        ]
        selection = select_groups(groups, RULES)
        uids = [kept.group.uid for kept in selection.kept] + [dropped.uid for dropped in selection.dropped]
        assert sorted(uids) == sorted(one.uid for one in groups)
        assert selection.group_rejects.total() == len(selection.dropped)
        assert all(dropped.dropped for dropped in selection.dropped)
        for kept in selection.kept:
            assert len(kept.advantages) == len(kept.group.trajectories)
            if len(kept.advantages) > 1:
                assert sum(kept.advantages) == pytest.approx(0, abs=1e-5)


class TestFailedSteps:
    def test_all_own_failures_and_no_others(self):
        parent = trajectory(OK, FAILED, INFRA, TIMEOUT, name="parent")
        branch = TrajectoryBuilder.branch("branch", parent, 3, parent.steps[3].thought.end)
        action = branch.append_sampled(SpanKind.ACTION, [3], [-0.1], 0)
        branch.close_step(action, None, "x", ExecutionResult(SILENT, ""))
        found = failed_steps([parent, branch.finish(FinishReason.STEP_DONE)])
        assert [(step.trajectory.id, step.step_index) for step in found] == [
            ("parent", 1),
            ("parent", 3),
            ("branch", 3),
        ]

    @pytest.mark.parametrize("statuses", [(), (OK,), (INFRA,)])
    def test_without_failures_nothing_is_resampled(self, statuses):
        assert choose_failed_steps([trajectory(*statuses)], 4, seed=0) == []

    def test_one_failure_is_enough(self):
        assert len(choose_failed_steps([trajectory(FAILED)], 4, seed=0)) == 1

    @given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32))
    def test_down_sampling(self, failures, limit, seed):
        members = [trajectory(FAILED, name=str(index)) for index in range(failures)]
        chosen = choose_failed_steps(members, limit, seed)
        names = [int(step.trajectory.id) for step in chosen]
        assert len(names) == min(failures, limit)
        assert names == sorted(set(names))
        assert choose_failed_steps(members, limit, seed) == chosen

    def test_the_seed_decides(self):
        members = [trajectory(FAILED, name=str(index)) for index in range(20)]
        draws = {tuple(step.trajectory.id for step in choose_failed_steps(members, 5, seed)) for seed in range(8)}
        assert len(draws) > 1

    def test_a_negative_limit_is_refused(self):
        with pytest.raises(ValueError, match="negative"):
            choose_failed_steps([], -1, seed=0)
