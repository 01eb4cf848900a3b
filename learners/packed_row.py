"""Sequences one after the other in a single row: what a model gets when packing leaves padding out."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True)
class PackedRow:
    """The sequences of a micro-batch in one row.

    Attributes:
        ids: int64 ``[tokens]``.
        positions: int64 ``[tokens]``, from 0 in each sequence.
        predicts: bool ``[tokens]``, whether the next token is in the loss.
        targets: int64 ``[tokens]``, the next token; without meaning where ``predicts`` is false.
        starts: int32 ``[sequences + 1]``, where each sequence begins, and the end.
        longest: Of the sequences.
    """

    ids: Tensor
    positions: Tensor
    predicts: Tensor
    targets: Tensor
    starts: Tensor
    longest: int


def lay_out(ids: Tensor, loss_mask: Tensor, lengths: Tensor, multiple_of: int = 1) -> PackedRow:
    """Lays the rows of a micro-batch one after the other.

    Args:
        ids: int64 ``[rows, length]``, padded on the right.
        loss_mask: bool ``[rows, length]``; the first column is all false.
        lengths: int64 ``[rows]``, without padding.
        multiple_of: The row is filled up to such a number of tokens, by a further sequence that predicts nothing.
    """
    columns = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    inside = columns < lengths.unsqueeze(1)
    row, positions, in_loss = ids[inside], columns[inside], loss_mask[inside]
    longest = ids.shape[1]
    if surplus := -len(row) % multiple_of:
        row, in_loss = pad(row, (0, surplus)), pad(in_loss, (0, surplus))
        positions = torch.cat([positions, torch.arange(surplus, device=ids.device)])
        lengths = pad(lengths, (0, 1), value=surplus)
        longest = max(longest, surplus)
    # A sequence's first token is never in the loss, so what stands before a token in the loss is its own past.
    predicts, targets = (pad(following[1:], (0, 1)) for following in (in_loss, row))
    starts = pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return PackedRow(row, positions, predicts, targets, starts, longest)
