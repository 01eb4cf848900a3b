"""A packed row holds every sequence once, and knows which of its tokens predicts what."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from learners.packed_row import lay_out

lengths_of_rows = st.lists(st.integers(2, 9), min_size=1, max_size=6)


@given(lengths_of_rows, st.integers(1, 7), st.randoms(use_true_random=False))
def test_sequences_come_out_of_the_row_as_they_went_in(lengths, multiple_of, random):
    longest = max(lengths)
    ids = torch.randint(1, 99, (len(lengths), longest), generator=torch.Generator().manual_seed(random.randint(0, 99)))
    mask = torch.tensor(
        [[0 < column < length and random.random() < 0.6 for column in range(longest)] for length in lengths]
    )
    row = lay_out(ids, mask, torch.tensor(lengths), multiple_of)

    assert len(row.ids) == len(row.positions) == len(row.predicts) == len(row.targets) == row.starts[-1]
    assert len(row.ids) % multiple_of == 0
    assert 0 <= len(row.ids) - sum(lengths) < multiple_of
    pieces = row.starts.diff().tolist()
    assert pieces[: len(lengths)] == lengths
    assert row.longest >= max(pieces)
    for index, piece in enumerate(row.ids.split(pieces)[: len(lengths)]):
        assert piece.tolist() == ids[index, : lengths[index]].tolist()
    assert row.positions.tolist() == [position for piece in pieces for position in range(piece)]
    assert row.targets[row.predicts].tolist() == ids[mask].tolist()
    # What predicts a token stands right before it, in the same sequence.
    assert not row.predicts[row.starts[1:] - 1].any()


def test_a_row_that_is_full_gets_no_empty_sequence():
    row = lay_out(torch.ones(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.bool), torch.tensor([4, 2]), 3)
    assert row.starts.tolist() == [0, 4, 6]
