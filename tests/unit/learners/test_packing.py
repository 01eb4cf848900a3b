"""Mini-batches are split so that every sequence trains exactly once, whatever the split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.packing import PlannedBatch, computed_tokens, plan
from learners.sequences import TrainingSequence
from thor_ray.objectives import LEVELS
from thor_ray.trajectory import GroupKind

BUDGET = 64


def sequence(length: int, index: int, *, proximal: bool = False) -> TrainingSequence:
    """Its values are functions of its index, so that a mix-up shows."""
    mask = np.zeros(length, dtype=np.bool_)
    mask[1 + index % (length - 1) :] = True
    values = np.where(mask, -0.25 - np.arange(length) / 8 - index, 0).astype(np.float32)
    return TrainingSequence(
        ids=np.arange(length) + 100 * (index + 1),
        loss_mask=mask,
        behaviour_log_probs=values,
        advantage=index - 2.5,
        level=LEVELS[index % 2],
        group_uid=f"g{index}",
        proximal_log_probs=values - 1 if proximal else None,
    )


mini_batches = st.lists(st.integers(2, BUDGET), min_size=1, max_size=30)


@given(mini_batches, st.integers(1, 4), st.booleans(), st.booleans())
def test_every_sequence_arrives_exactly_once_and_whole(lengths, ranks, proximal, packing):
    sequences = [sequence(length, index, proximal=proximal) for index, length in enumerate(lengths)]
    seen = []
    shares = plan(sequences, ranks=ranks, micro_batch_tokens=BUDGET, packing=packing)
    for batch in (planned.load() for share in shares for planned in share):
        assert batch.packed is packing
        for row, position in enumerate(batch.positions):
            origin = sequences[position]
            length = len(origin)
            seen.append(position)
            assert batch.lengths[row] == length
            assert np.array_equal(batch.ids[row, :length], origin.ids)
            assert np.array_equal(batch.loss_mask[row, :length], origin.loss_mask)
            assert np.array_equal(batch.behaviour_log_probs[row, :length], origin.behaviour_log_probs)
            if proximal:
                assert batch.proximal_log_probs is not None
                assert np.array_equal(batch.proximal_log_probs[row, :length], origin.proximal_log_probs)
            else:
                assert batch.proximal_log_probs is None
            assert batch.advantages[row] == origin.advantage
            assert LEVELS[batch.levels[row]] is origin.level
            assert not batch.loss_mask[row, length:].any()
    assert sorted(seen) == list(range(len(sequences)))


@given(mini_batches, st.integers(1, 4), st.booleans())
def test_ranks_get_equally_many_micro_batches_within_the_budget(lengths, ranks, packing):
    sequences = [sequence(length, index) for index, length in enumerate(lengths)]
    shares = plan(sequences, ranks=ranks, micro_batch_tokens=BUDGET, packing=packing)
    assert len(shares) == ranks
    assert len({len(share) for share in shares}) == 1
    for batch in (batch for share in shares for batch in share):
        assert batch.computed_tokens == batch.load().computed_tokens <= BUDGET


@given(mini_batches, st.integers(1, 4))
def test_packing_computes_no_padding_in_no_more_micro_batches(lengths, ranks):
    sequences = [sequence(length, index) for index, length in enumerate(lengths)]
    packed, padded = (
        plan(sequences, ranks=ranks, micro_batch_tokens=BUDGET, packing=packing) for packing in (True, False)
    )
    real = [batch for share in packed for batch in share if not batch.filler]
    assert computed_tokens(real) == sum(lengths)
    assert len(packed[0]) <= len(padded[0])


@given(mini_batches)
def test_packed_micro_batches_are_filled(lengths):
    """No two of them would fit into one."""
    sequences = [sequence(length, index) for index, length in enumerate(lengths)]
    (share,) = plan(sequences, ranks=1, micro_batch_tokens=BUDGET, packing=True)
    smallest = sorted(batch.computed_tokens for batch in share)[:2]
    assert len(smallest) < 2 or sum(smallest) > BUDGET


@given(mini_batches, st.integers(1, 4))
def test_no_rank_has_more_work_than_another_by_more_than_one_sequence(lengths, ranks):
    shares = plan(
        [sequence(length, index) for index, length in enumerate(lengths)], ranks=ranks, micro_batch_tokens=BUDGET
    )
    loads = [sum(lengths[position] for batch in share for position in batch.positions) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)


def flatten(shares: tuple[tuple[PlannedBatch, ...], ...]) -> list[list[int]]:
    return [list(batch.positions) for share in shares for batch in share]


@given(mini_batches, st.integers(1, 4))
def test_the_same_mini_batch_is_split_the_same_way(lengths, ranks):
    sequences = [sequence(length, index) for index, length in enumerate(lengths)]
    first, second = (plan(sequences, ranks=ranks, micro_batch_tokens=BUDGET) for _ in range(2))
    assert flatten(first) == flatten(second)


def test_filler_weighs_nothing_but_reaches_the_model():
    (_, idle) = plan([sequence(8, 0)], ranks=2, micro_batch_tokens=BUDGET)
    (filler,) = idle
    assert filler.filler
    assert filler.computed_tokens == filler.load().computed_tokens
    assert len(filler.positions) == 0
    assert filler.load().loss_mask.sum() == 1


def test_neighbours_in_length_share_a_micro_batch():
    lengths = [4, 32, 4, 32, 4, 32, 4, 32]
    (share,) = plan([sequence(length, index) for index, length in enumerate(lengths)], ranks=1, micro_batch_tokens=64)
    assert computed_tokens(share) == sum(lengths)


def test_a_sequence_over_the_budget_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"65 tokens.*raise learner\.micro_batch_tokens"):
        plan([sequence(BUDGET + 1, 0)], ranks=1, micro_batch_tokens=BUDGET)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no sequences"):
        plan([], ranks=1, micro_batch_tokens=BUDGET)


def test_proximal_log_probs_for_some_sequences_only_are_refused():
    with pytest.raises(ValueError, match="either all"):
        plan([sequence(8, 0), sequence(8, 1, proximal=True)], ranks=1, micro_batch_tokens=BUDGET)


def test_levels_survive():
    (share,) = plan([sequence(8, 0), sequence(8, 1)], ranks=1, micro_batch_tokens=BUDGET)
    assert [LEVELS[level] for batch in share for level in batch.load().levels] == [GroupKind.EPISODE, GroupKind.STEP]
