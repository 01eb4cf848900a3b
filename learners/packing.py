"""How a mini-batch is split over ranks and micro-batches: pure, deterministic, every sequence exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from learners.sequences import TrainingSequence
from thor_ray.trajectory import GroupKind

LEVELS: Final = tuple(GroupKind)
"""``MicroBatch.levels`` holds indices into this."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Sequences of one forward pass, padded on the right with token 0, which no loss mask ever lets in.

    Attributes:
        positions: int64 ``[rows]``, where each row stands in the sequences that were planned.
        ids: int64 ``[rows, length]``.
        loss_mask: bool ``[rows, length]``.
        behaviour_log_probs: float32 ``[rows, length]``.
        proximal_log_probs: float32 ``[rows, length]``, or ``None`` if the sequences carry none.
        advantages: float32 ``[rows]``.
        levels: int64 ``[rows]``, indices into ``LEVELS``.
        filler: The micro-batch weighs nothing and stands for no sequence. It lets a rank with fewer micro-batches
            take part in the collective operations of the others.
    """

    positions: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    behaviour_log_probs: npt.NDArray[np.float32]
    proximal_log_probs: npt.NDArray[np.float32] | None
    advantages: npt.NDArray[np.float32]
    levels: npt.NDArray[np.int64]
    filler: bool = False


def plan(
    sequences: Sequence[TrainingSequence], *, ranks: int, micro_batch_tokens: int
) -> tuple[tuple[MicroBatch, ...], ...]:
    """Splits sequences over ranks and micro-batches.

    Sequences go to ranks longest first, each to the rank with the fewest tokens so far; on a rank, neighbours in
    length share a micro-batch, which keeps padding low. Every rank gets the same number of micro-batches.

    Args:
        sequences: The mini-batch.
        ranks: Number of ranks.
        micro_batch_tokens: Most padded tokens in a micro-batch.

    Returns:
        For each rank its micro-batches.

    Raises:
        ValueError: there is nothing to split, one sequence alone is over the budget, or only some sequences carry
            proximal log-probs.
    """
    if not sequences:
        raise ValueError("there are no sequences to train on")
    longest = max(len(sequence) for sequence in sequences)
    if longest > micro_batch_tokens:
        raise ValueError(
            f"a sequence has {longest} tokens, a micro-batch at most {micro_batch_tokens}: "
            "raise learner.micro_batch_tokens to policy.max_context or more"
        )
    if len({sequence.proximal_log_probs is None for sequence in sequences}) > 1:
        raise ValueError("either all sequences of a mini-batch carry proximal log-probs, or none does")
    shares = _split_over_ranks(sequences, ranks)
    batches = [
        [_micro_batch(sequences, rows) for rows in _split_over_micro_batches(sequences, share, micro_batch_tokens)]
        for share in shares
    ]
    most = max(len(batch) for batch in batches)
    return tuple(tuple(batch) + (_filler(),) * (most - len(batch)) for batch in batches)


def padded_tokens(batches: Sequence[MicroBatch]) -> int:
    """Tokens that go through the model, padding included."""
    return sum(batch.ids.size for batch in batches)


def _split_over_ranks(sequences: Sequence[TrainingSequence], ranks: int) -> list[list[int]]:
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for index in sorted(range(len(sequences)), key=lambda index: (-len(sequences[index]), index)):
        rank = loads.index(min(loads))
        shares[rank].append(index)
        loads[rank] += len(sequences[index])
    return shares


def _split_over_micro_batches(
    sequences: Sequence[TrainingSequence], share: Sequence[int], micro_batch_tokens: int
) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in share:
        # Longest first: the first row of a micro-batch decides its padded length.
        if batches and (len(batches[-1]) + 1) * len(sequences[batches[-1][0]]) <= micro_batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _micro_batch(sequences: Sequence[TrainingSequence], rows: Sequence[int]) -> MicroBatch:
    chosen = [sequences[row] for row in rows]
    shape = (len(rows), max(len(sequence) for sequence in chosen))
    ids = np.zeros(shape, dtype=np.int64)
    loss_mask = np.zeros(shape, dtype=np.bool_)
    behaviour = np.zeros(shape, dtype=np.float32)
    proximal = None if chosen[0].proximal_log_probs is None else np.zeros(shape, dtype=np.float32)
    for row, sequence in enumerate(chosen):
        ids[row, : len(sequence)] = sequence.ids
        loss_mask[row, : len(sequence)] = sequence.loss_mask
        behaviour[row, : len(sequence)] = sequence.behaviour_log_probs
        if proximal is not None and sequence.proximal_log_probs is not None:
            proximal[row, : len(sequence)] = sequence.proximal_log_probs
    return MicroBatch(
        positions=np.asarray(rows, dtype=np.int64),
        ids=ids,
        loss_mask=loss_mask,
        behaviour_log_probs=behaviour,
        proximal_log_probs=proximal,
        advantages=np.asarray([sequence.advantage for sequence in chosen], dtype=np.float32),
        levels=np.asarray([LEVELS.index(sequence.level) for sequence in chosen], dtype=np.int64),
    )


def _filler() -> MicroBatch:
    # One token is in the mask, so that the pass reaches every parameter as a real one does.
    return MicroBatch(
        positions=np.zeros(0, dtype=np.int64),
        ids=np.zeros((1, 2), dtype=np.int64),
        loss_mask=np.array([[False, True]]),
        behaviour_log_probs=np.zeros((1, 2), dtype=np.float32),
        proximal_log_probs=None,
        advantages=np.zeros(1, dtype=np.float32),
        levels=np.zeros(1, dtype=np.int64),
        filler=True,
    )
