"""Training sequences hold what was sampled, and let the loss see nothing else (invariants 1 and 2)."""

import numpy as np
import pytest

from learners.sequences import (
    DEMONSTRATION_UID,
    TrainingSequence,
    from_demonstration,
    from_groups,
    from_trajectory,
    token_counts,
)
from thor_ray.objectives import TokenCounts
from thor_ray.selection import SelectedGroup
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

EPISODE, STEP = GroupKind.EPISODE, GroupKind.STEP
FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError")


def sampled(reward: float = 1.0) -> Trajectory:
    """Prompt 1 1 1, thought 2 2, action 3, observation 4 4, answer 5 5."""
    builder = TrajectoryBuilder("t", "p", [1, 1, 1])
    builder.append_sampled(SpanKind.THOUGHT, [2, 2], [-0.1, -0.2], 7)
    action = builder.append_sampled(SpanKind.ACTION, [3], [-0.3], 7)
    seen = builder.append_written(SpanKind.OBSERVATION, [4, 4])
    builder.close_step(action, seen, "print(1)", FAILED)
    builder.append_sampled(SpanKind.ANSWER, [5, 5], [-0.4, -0.5], 7)
    return builder.finish(FinishReason.ANSWERED, reward=reward)


def written() -> Trajectory:
    builder = TrajectoryBuilder("d", "p", [1, 1, 1])
    builder.append_written(SpanKind.THOUGHT, [2, 2])
    builder.append_written(SpanKind.OBSERVATION, [4])
    builder.append_written(SpanKind.ANSWER, [5])
    return builder.finish(FinishReason.ANSWERED)


def test_the_loss_sees_sampled_tokens_alone():
    sequence = from_trajectory(sampled(), advantage=0.5, level=EPISODE, group_uid="g").load()
    assert sequence.ids.tolist() == [1, 1, 1, 2, 2, 3, 4, 4, 5, 5]
    assert sequence.ids[sequence.loss_mask].tolist() == [2, 2, 3, 5, 5]
    assert sequence.behaviour_log_probs[sequence.loss_mask].tolist() == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5])
    assert sequence.loss_tokens == 5


def test_a_branch_trains_only_what_it_regenerated():
    parent = sampled()
    builder = TrajectoryBuilder.branch("b", parent, 0, 4)
    builder.append_sampled(SpanKind.THOUGHT, [8], [-0.6], 9)
    builder.append_sampled(SpanKind.ACTION, [9], [-0.7], 9)
    branch = builder.finish(FinishReason.STEP_DONE)
    sequence = from_trajectory(branch, advantage=1, level=STEP, group_uid="s").load()
    assert sequence.ids.tolist() == [1, 1, 1, 2, 8, 9]
    assert sequence.ids[sequence.loss_mask].tolist() == [8, 9]


def test_tokens_that_nobody_sampled_are_no_reinforcement():
    with pytest.raises(ValueError, match="no policy sampled"):
        from_trajectory(written(), advantage=1, level=EPISODE, group_uid="g")


def test_demonstrations_mask_observations_unless_told_otherwise():
    masked, unmasked = (from_demonstration(written(), mask_observations=mask) for mask in (True, False))
    assert masked.ids[masked.loss_mask].tolist() == [2, 2, 5]
    assert unmasked.ids[unmasked.loss_mask].tolist() == [2, 2, 4, 5]
    assert masked.group_uid == DEMONSTRATION_UID


def test_groups_become_sequences_with_their_advantages():
    group = Group("g1", STEP, "p", (sampled(1.0), sampled(0.0)))
    sequences = from_groups([SelectedGroup(group, (0.7, -0.7))])
    assert [(one.advantage, one.level, one.group_uid) for one in sequences] == [(0.7, STEP, "g1"), (-0.7, STEP, "g1")]


def test_a_sequence_that_is_loaded_says_what_it_said_before():
    source = from_trajectory(sampled(), advantage=0.7, level=STEP, group_uid="g1")
    proximal, reference = (np.full(len(source), value, np.float32) for value in (-1, -2))
    attached = source.with_proximal_log_probs(proximal).with_reference_log_probs(reference)
    sequence = attached.load()
    for name in ("advantage", "level", "group_uid", "oldest_version", "loss_tokens"):
        assert getattr(sequence, name) == getattr(attached, name), name
    assert len(sequence) == len(attached)
    assert sequence.proximal_log_probs is proximal
    assert sequence.reference_log_probs is reference


def test_token_counts_are_per_level_and_tell_positives():
    group = Group("g", EPISODE, "p", (sampled(), sampled()))
    steps = Group("s", STEP, "p", (sampled(),))
    sequences = from_groups([SelectedGroup(group, (1.0, -1.0)), SelectedGroup(steps, (0.0,))])
    assert token_counts(sequences) == {EPISODE: TokenCounts(10, 5, 2), STEP: TokenCounts(5, 0, 1)}


@pytest.mark.parametrize(
    ("mask", "length", "message"),
    [([0, 0, 0], 3, "nothing to learn"), ([1, 1, 0], 3, "first token"), ([0, 1], 3, "different lengths")],
)
def test_impossible_sequences_are_refused(mask, length, message):
    with pytest.raises(ValueError, match=message):
        TrainingSequence(
            np.arange(length), np.array(mask, dtype=np.bool_), np.zeros(length, np.float32), 0.0, EPISODE, "g"
        )
