"""Every rule of selection on its own, and together (spec D.3, E.2, E.7)."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.selection import select
from thor_ray.config import FilterConfig
from thor_ray.selection import (
    Decode,
    GroupReject,
    TrajectoryReject,
    active_rules,
    choose_failed_steps,
    failed_steps,
    group_reject_reason,
    has_failed_code,
    has_void_turn,
    has_zero_variance,
    is_repetitive,
    is_short,
    lacks_box_in_tail,
    reject_reason,
    reward_missing_actions,
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


def rejected_as(
    member: Trajectory, kind: GroupKind = GroupKind.EPISODE, filters: FilterConfig = RULES, decode: Decode | None = None
) -> TrajectoryReject | None:
    return reject_reason(member, active_rules(kind, filters, decode))


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

    @pytest.mark.parametrize(
        ("rule", "said"), [({"boxed_tail_tokens": 100}, "boxed_tail_tokens"), ({"repetition": True}, "repetition")]
    )
    def test_rules_that_read_text_are_refused_without_a_tokenizer(self, rule, said):
        with pytest.raises(ValueError, match=said):
            select([], FilterConfig(**rule))

    def test_repetition_of_the_policy_is_rejected(self):
        assert is_repetitive(trajectory(), lambda _: "so " * 40)
        assert not is_repetitive(trajectory(), lambda _: "so it is seven")

    def test_repetition_in_an_observation_is_not_the_policys(self):
        looping_tool = {1: "", 2: "think", 3: "code", 4: "ha " * 100, 9: "7"}
        assert not is_repetitive(trajectory(OK), lambda ids: "".join(looping_tool[token] for token in ids))

    def test_repetition_across_the_policys_spans_is_seen(self):
        pieces = {1: "", 2: "0123456789" * 3, 3: "0123456789" * 3, 4: "seen", 9: "7"}
        looping = trajectory(*[OK] * 8)
        assert is_repetitive(looping, lambda ids: "".join(pieces[token] for token in ids))

    @pytest.mark.parametrize("kind", GroupKind)
    def test_without_a_reward_nothing_trains(self, kind):
        assert rejected_as(trajectory(OK, reward=None), kind) is TrajectoryReject.NO_REWARD

    def test_failed_code_trains_at_the_step_level_and_where_the_rule_is_off(self):
        failed = trajectory(FAILED, reward=0.0)
        assert rejected_as(failed) is TrajectoryReject.FAILED_CODE
        assert rejected_as(failed, GroupKind.STEP) is None
        assert rejected_as(failed, filters=FilterConfig(failed_code=False)) is None

    def test_every_rule_can_be_switched_on_by_itself(self):
        off = {"failed_code": False}
        failed, empty = trajectory(FAILED, answer=1), "nothing boxed"
        rules = {
            TrajectoryReject.FAILED_CODE: FilterConfig(),
            TrajectoryReject.SHORT_RESPONSE: FilterConfig(**off, min_response_tokens=50),
            TrajectoryReject.BOX_NOT_IN_TAIL: FilterConfig(**off, boxed_tail_tokens=5),
            TrajectoryReject.VOID_TURN: FilterConfig(**off, void_turns=True),
        }
        assert rejected_as(failed, filters=FilterConfig(**off)) is None
        for reason, filters in rules.items():
            assert rejected_as(failed, filters=filters, decode=lambda _: empty) is reason
        repetitive = FilterConfig(**off, repetition=True)
        assert rejected_as(failed, filters=repetitive, decode=lambda _: "so " * 40) is TrajectoryReject.REPETITION

    def test_the_first_rule_gives_the_reason(self):
        filters = FilterConfig(min_response_tokens=50, void_turns=True)
        assert rejected_as(trajectory(FAILED), filters=filters) is TrajectoryReject.FAILED_CODE
        assert rejected_as(trajectory(OK), filters=filters) is TrajectoryReject.SHORT_RESPONSE


class TestVoidTurns:
    """A turn is void that brought neither a program nor an answer."""

    def ended(
        self, finish: FinishReason, *, box: str | None = None, code: str | None = None, thoughts: int = 2
    ) -> Trajectory:
        """At most one step, whose program is ``code``, then a thought of ``thoughts`` tokens."""
        builder = TrajectoryBuilder("t", "p", [1] * 5)
        if code is not None:
            action = builder.append_sampled(SpanKind.ACTION, [3], [-0.1], 0)
            builder.close_step(action, builder.append_written(SpanKind.OBSERVATION, [4]), code, ExecutionResult(OK, ""))
        if thoughts:
            builder.append_sampled(SpanKind.THOUGHT, [2] * thoughts, [-0.1] * thoughts, 0)
        return builder.finish(finish, answer=box)

    @pytest.mark.parametrize(
        ("finish", "box", "code", "thoughts", "void"),
        [
            (FinishReason.ANSWERED, "7", None, 2, False),
            (FinishReason.ANSWERED, None, None, 2, True),  # talk alone
            (FinishReason.ANSWERED, None, None, 0, True),  # an end at once
            (FinishReason.ANSWERED, None, "print(1)", 2, True),  # code, then talk alone
            (FinishReason.ANSWERED, None, "print(1)", 0, True),  # code, then an end at once
            (FinishReason.ANSWERED, "7", "print(1)", 2, False),
            (FinishReason.ANSWERED, "7", " \n", 2, True),  # an empty program
            (FinishReason.LENGTH, None, None, 2, True),  # cut off
            (FinishReason.LENGTH, None, "print(1)", 0, False),  # the observation filled the context
            (FinishReason.LENGTH, "7", None, 2, False),
            (FinishReason.ROUNDS_EXHAUSTED, None, "print(1)", 2, False),  # asked for a program
            (FinishReason.FAILED_CODE_STOP, None, "print(1)", 0, False),
        ],
    )
    def test_table(self, finish, box, code, thoughts, void):
        assert has_void_turn(self.ended(finish, box=box, code=code, thoughts=thoughts)) is void

    def test_an_inherited_empty_program_is_not_held_against_a_branch(self):
        with_failure = TrajectoryBuilder("t", "p", [1] * 5)
        for code in (" ", "print(1)"):
            with_failure.append_sampled(SpanKind.THOUGHT, [2, 2], [-0.1, -0.1], 0)
            action = with_failure.append_sampled(SpanKind.ACTION, [3], [-0.1], 0)
            seen = with_failure.append_written(SpanKind.OBSERVATION, [4])
            with_failure.close_step(action, seen, code, ExecutionResult(OK, ""))
        parent = with_failure.finish(FinishReason.ANSWERED, answer="7")
        branch = TrajectoryBuilder.branch("b", parent, 1, parent.steps[1].thought.end)
        branch.append_sampled(SpanKind.ANSWER, [9], [-0.1], 0)
        assert has_void_turn(parent)
        assert not has_void_turn(branch.finish(FinishReason.ANSWERED, answer="7"))


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

    @pytest.mark.parametrize(
        ("rewards", "size", "filters", "reason"),
        [
            ([1.0, 0.0], 4, FilterConfig(), None),
            ([1.0], 4, FilterConfig(), GroupReject.TOO_FEW_SURVIVORS),
            ([1.0, 1.0], 4, FilterConfig(), GroupReject.ZERO_VARIANCE),
            ([1.0, 1.0], 4, FilterConfig(zero_variance=False), None),
            ([1.0], 4, FilterConfig(min_survivors=0), None),
            ([], 4, FilterConfig(min_survivors=0, zero_variance=False), GroupReject.TOO_FEW_SURVIVORS),
        ],
    )
    def test_reasons(self, rewards, size, filters, reason):
        assert group_reject_reason(rewards, size, filters) is reason


class TestSelectGroups:
    def test_survivors_get_the_advantages_of_survivors(self):
        members = [trajectory(OK, reward=1.0), trajectory(FAILED, reward=1.0), trajectory(OK, reward=0.0)]
        selection = select([group(*members)], RULES)
        (kept,) = selection.kept
        assert [member.reward for member in kept.group.trajectories] == [1.0, 0.0]
        assert kept.advantages == pytest.approx((math.sqrt(0.5), -math.sqrt(0.5)), rel=1e-5)
        assert selection.trajectory_rejects == {TrajectoryReject.FAILED_CODE: 1}
        assert not selection.dropped

    def test_dr_grpo_leaves_the_deviation_out(self):
        members = [trajectory(reward=reward) for reward in (1.0, 0.0, 0.0, 0.0)]
        (kept,) = select([group(*members)], RULES, divide_by_deviation=False).kept
        assert kept.advantages == (0.75, -0.25, -0.25, -0.25)

    def test_groups_without_variance_may_stay_and_teach_nothing(self):
        members = [trajectory(reward=1.0), trajectory(reward=1.0)]
        (kept,) = select([group(*members)], FilterConfig(zero_variance=False)).kept
        assert kept.advantages == (0, 0)

    def test_dropped_groups_stay_whole_and_say_why(self):
        few = group(trajectory(FAILED), trajectory(FAILED), trajectory(OK), uid="few")
        same = group(trajectory(OK), trajectory(OK), uid="same")
        selection = select([few, same], RULES)
        assert [(dropped.uid, dropped.dropped, len(dropped.trajectories)) for dropped in selection.dropped] == [
            ("few", "too_few_survivors", 3),
            ("same", "zero_variance", 2),
        ]
        assert selection.group_rejects == {GroupReject.TOO_FEW_SURVIVORS: 1, GroupReject.ZERO_VARIANCE: 1}
        assert selection.trajectory_rejects == {TrajectoryReject.FAILED_CODE: 2}

    def test_infrastructure_errors_neither_train_nor_count_as_zeros(self):
        members = [trajectory(OK, reward=1.0), trajectory(INFRA, reward=None), trajectory(OK, reward=1.0)]
        selection = select([group(*members)], RULES)
        assert selection.group_rejects == {GroupReject.ZERO_VARIANCE: 1}
        assert selection.trajectory_rejects == {TrajectoryReject.NO_REWARD: 1}

    def test_step_groups_learn_from_failures(self):
        members = [trajectory(OK, reward=1.0), trajectory(FAILED, reward=0.0)]
        (kept,) = select([group(*members, kind=GroupKind.STEP)], RULES).kept
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
        selection = select(groups, RULES)
        uids = [kept.group.uid for kept in selection.kept] + [dropped.uid for dropped in selection.dropped]
        assert sorted(uids) == sorted(one.uid for one in groups)
        assert selection.group_rejects.total() == len(selection.dropped)
        assert all(dropped.dropped for dropped in selection.dropped)
        for kept in selection.kept:
            assert len(kept.advantages) == len(kept.group.trajectories)
            if len(kept.advantages) > 1:
                assert sum(kept.advantages) == pytest.approx(0, abs=1e-5)


class TestMissingActions:
    def step_group(self) -> Group:
        parent = trajectory(FAILED)
        talked, lost = (
            TrajectoryBuilder.branch(name, parent, 0, parent.steps[0].thought.end) for name in ("talked", "lost")
        )
        talked.append_sampled(SpanKind.ANSWER, [9], [-0.1], 0)
        return group(
            trajectory(OK, reward=1.0),
            trajectory(INFRA, reward=None),
            talked.finish(FinishReason.ANSWERED),
            lost.finish(FinishReason.ABORTED),
            kind=GroupKind.STEP,
        )

    def rewards(self, groups: list[Group]) -> list[float | None]:
        return [member.reward for each in groups for member in each.trajectories]

    def test_only_what_the_policy_left_out_is_rewarded(self):
        assert self.rewards(reward_missing_actions([self.step_group()], 0.0)) == [1.0, None, 0.0, None]

    def test_without_a_reward_they_stay_excluded(self):
        assert self.rewards(reward_missing_actions([self.step_group()], None)) == [1.0, None, None, None]

    def test_episodes_are_left_alone(self):
        episodes = [group(trajectory(reward=None))]
        assert reward_missing_actions(episodes, -1.0) == episodes


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
