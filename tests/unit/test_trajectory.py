"""Trajectories keep their invariants however they are built (architecture, invariants 1 to 3)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.trajectory import (
    NO_VERSION,
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Span,
    SpanKind,
    Step,
    Trajectory,
    TrajectoryBuilder,
    backtrack_cut,
)

FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError: name 'x' is not defined", "NameError")
PASSED = ExecutionResult(ExecutionStatus.OK, "12")

token_runs = st.lists(st.integers(0, 999), min_size=1, max_size=12)
loops = st.lists(st.tuples(token_runs, token_runs, token_runs, st.booleans()), max_size=4)


def sample(builder: TrajectoryBuilder, kind: SpanKind, ids: list[int], version: int = 3) -> Span:
    return builder.append_sampled(kind, ids, [-0.5] * len(ids), version)


def build(steps: list[tuple[list[int], list[int], list[int], bool]], prompt: int = 4) -> Trajectory:
    builder = TrajectoryBuilder("t0", "p0", list(range(prompt)))
    for thought, action, observation, passed in steps:
        sample(builder, SpanKind.THOUGHT, thought)
        act = sample(builder, SpanKind.ACTION, action)
        seen = builder.append_written(SpanKind.OBSERVATION, observation)
        builder.close_step(act, seen, "print(1)", PASSED if passed else FAILED)
    sample(builder, SpanKind.ANSWER, [7, 8, 9])
    return builder.finish(FinishReason.ANSWERED)


@given(loops)
def test_spans_tile_the_ids(steps):
    trajectory = build(steps)
    assert trajectory.spans[0].start == 0
    assert trajectory.spans[-1].end == len(trajectory.ids)
    assert all(left.end == right.start for left, right in zip(trajectory.spans, trajectory.spans[1:], strict=False))


@given(loops)
def test_the_loss_sees_exactly_what_the_policy_sampled(steps):
    trajectory = build(steps)
    sampled = sum(len(thought) + len(action) for thought, action, _, _ in steps) + 3
    assert trajectory.loss_mask().sum() == sampled
    assert np.array_equal(trajectory.loss_mask(), trajectory.versions != NO_VERSION)
    assert np.array_equal(trajectory.loss_mask(), trajectory.log_probs != 0)
    for step, (_, _, observation, _) in zip(trajectory.steps, steps, strict=True):
        assert step.observation is not None
        assert list(trajectory.ids[step.observation.start : step.observation.end]) == observation


@given(loops.filter(len), st.integers(0, 40), st.data())
def test_a_failed_step_is_cut_inside_its_own_thought(steps, suffix, data):
    trajectory = build(steps)
    index = data.draw(st.integers(0, len(steps) - 1))
    step = trajectory.steps[index]
    cut = backtrack_cut(step, suffix)
    border = trajectory.prompt_length if index == 0 else trajectory.steps[index - 1].observation.end
    assert cut == max(border, step.thought.end - suffix)


@given(loops.filter(len), st.integers(0, 40), st.data())
def test_a_branch_trains_on_nothing_of_its_prefix(steps, suffix, data):
    parent = build(steps)
    index = data.draw(st.integers(0, len(steps) - 1))
    cut = backtrack_cut(parent.steps[index], suffix)
    builder = TrajectoryBuilder.branch("t1", parent, index, cut)
    sample(builder, SpanKind.THOUGHT, [5, 6], version=9)
    action = sample(builder, SpanKind.ACTION, [1, 2, 3], version=9)
    builder.close_step(action, None, "print(2)", PASSED)
    branch = builder.finish(FinishReason.STEP_DONE)
    assert branch.ids[:cut] == parent.ids[:cut]
    assert branch.loss_mask().sum() == 5
    assert not branch.loss_mask()[:cut].any()
    assert branch.calls == 1
    assert branch.all_calls_succeeded
    assert len(branch.steps) == index + 1
    assert branch.steps[-1].thought == Span(SpanKind.THOUGHT, parent.steps[index].thought.start, cut + 2)


def test_cutting_back_keeps_the_prefix_and_counts_what_was_thrown_away():
    builder = TrajectoryBuilder("t0", "p0", [0, 1])
    sample(builder, SpanKind.THOUGHT, [10, 11, 12])
    sample(builder, SpanKind.ACTION, [20, 21])
    builder.cut_back(3, 0, "bad()", FAILED)
    sample(builder, SpanKind.THOUGHT, [13])
    trajectory = builder.finish(FinishReason.LENGTH)
    assert trajectory.ids == (0, 1, 10, 13)
    assert [span.kind for span in trajectory.spans] == [SpanKind.PROMPT, SpanKind.THOUGHT]
    assert trajectory.discarded[0].ids == (11, 12, 20, 21)
    assert trajectory.cost.discarded_tokens == 4


def test_cutting_back_never_crosses_an_observation():
    builder = TrajectoryBuilder("t0", "p0", [0, 1])
    sample(builder, SpanKind.THOUGHT, [10])
    action = sample(builder, SpanKind.ACTION, [20])
    builder.close_step(action, builder.append_written(SpanKind.OBSERVATION, [30, 31]), "print(1)", PASSED)
    sample(builder, SpanKind.THOUGHT, [11])
    with pytest.raises(ValueError, match="observation"):
        builder.cut_back(5, 1, "bad()", FAILED)


def test_a_step_without_thought_has_an_empty_one_at_the_action():
    builder = TrajectoryBuilder("t0", "p0", [0, 1])
    action = sample(builder, SpanKind.ACTION, [20])
    builder.close_step(action, None, "print(1)", FAILED)
    step = builder.finish(FinishReason.FAILED_CODE_STOP).steps[0]
    assert step.thought == Span(SpanKind.THOUGHT, 2, 2)
    assert backtrack_cut(step, 100) == 2


def test_infrastructure_errors_are_not_the_codes_failure():
    assert not ExecutionStatus.INFRA_ERROR.failed
    assert not ExecutionStatus.OK.failed
    assert ExecutionStatus.NO_OUTPUT.failed
    assert ExecutionStatus.TIMEOUT.failed


def test_no_call_is_not_a_success():
    assert not build([]).all_calls_succeeded
    assert build([([1], [2], [3], True)]).all_calls_succeeded
    assert not build([([1], [2], [3], True), ([1], [2], [3], False)]).all_calls_succeeded


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.append_sampled(SpanKind.OBSERVATION, [1], [0.0], 0), "not sampled"),
        (lambda b: b.append_sampled(SpanKind.THOUGHT, [1], [], 0), "log-probs"),
        (lambda b: b.append_sampled(SpanKind.THOUGHT, [1], [0.0], NO_VERSION), "negative"),
        (lambda b: b.append_written(SpanKind.PROMPT, [1]), "prompt"),
        (lambda b: b.relabel_last(SpanKind.ANSWER), "thought"),
    ],
)
def test_calls_that_break_an_invariant_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(TrajectoryBuilder("t0", "p0", [0]))


def test_a_cut_outside_the_failed_thought_is_refused():
    parent = build([([1, 2], [3], [4], False)])
    step = parent.steps[0]
    for cut in (step.thought.start - 1, step.thought.end + 1):
        with pytest.raises(ValueError, match="outside the thought"):
            TrajectoryBuilder.branch("t1", parent, 0, cut)
    with pytest.raises(ValueError, match="no step 1"):
        TrajectoryBuilder.branch("t1", parent, 1, step.thought.start)
    assert isinstance(step, Step)
