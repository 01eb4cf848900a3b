"""How a mini-batch is split over ranks and micro-batches: pure, deterministic, every sequence exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.sequences import SequenceSource, TrainingSequence
from thor_ray.objectives import LEVELS


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """The sequences of one forward pass, before their tokens are loaded.

    Attributes:
        positions: Where each stands in the sequences that were planned.
        sequences: They themselves.
        packed: The model computes nothing for padding.
        filler: The micro-batch weighs nothing and stands for no sequence. It lets a rank with fewer micro-batches
            take part in the collective operations of the others.
    """

    positions: tuple[int, ...]
    sequences: tuple[SequenceSource, ...]
    packed: bool = False
    filler: bool = False

    @property
    def computed_tokens(self) -> int:
        """Tokens that go through the model."""
        if self.filler:
            return _filler(self.packed).computed_tokens
        lengths = [len(sequence) for sequence in self.sequences]
        return sum(lengths) if self.packed else len(lengths) * max(lengths)

    def load(self) -> "MicroBatch":
        """Its tensors; loads the sequences."""
        if self.filler:
            return _filler(self.packed)
        return _micro_batch([sequence.load() for sequence in self.sequences], self.positions, self.packed)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Sequences of one forward pass, padded on the right with token 0, which no loss mask ever lets in.

    Whether packed or not, a row is a sequence: what the losses see is the same. Packing is the model's affair, which
    then gets the tokens of all rows in a single one, without the padding.

    Attributes:
        positions: int64 ``[rows]``, where each row stands in the sequences that were planned.
        ids: int64 ``[rows, length]``.
        lengths: int64 ``[rows]``, without padding.
        loss_mask: bool ``[rows, length]``.
        behaviour_log_probs: float32 ``[rows, length]``.
        proximal_log_probs: float32 ``[rows, length]``, or ``None`` if the sequences carry none.
        reference_log_probs: float32 ``[rows, length]``, or ``None`` if the sequences carry none.
        advantages: float32 ``[rows]``.
        levels: int64 ``[rows]``, indices into ``LEVELS``.
        oldest_versions: int64 ``[rows]``, of the oldest weights that sampled a token of the row.
        packed: The model computes nothing for padding.
        filler: As of `PlannedBatch`.
    """

    positions: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    behaviour_log_probs: npt.NDArray[np.float32]
    proximal_log_probs: npt.NDArray[np.float32] | None
    reference_log_probs: npt.NDArray[np.float32] | None
    advantages: npt.NDArray[np.float32]
    levels: npt.NDArray[np.int64]
    oldest_versions: npt.NDArray[np.int64]
    packed: bool = False
    filler: bool = False

    def row(self, index: int) -> "MicroBatch":
        """The micro-batch of one of its rows alone."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        one: dict[str, Any] = {
            name: value[index : index + 1] for name, value in values.items() if isinstance(value, np.ndarray)
        }
        return replace(self, **one)

    @property
    def computed_tokens(self) -> int:
        """Tokens that go through the model."""
        return int(self.lengths.sum()) if self.packed else self.ids.size


def plan(
    sequences: Sequence[SequenceSource], *, ranks: int, micro_batch_tokens: int, packing: bool = False
) -> tuple[tuple[PlannedBatch, ...], ...]:
    """Splits sequences over ranks and micro-batches.

    Sequences go to ranks longest first, each to the rank with the fewest tokens so far. On a rank, neighbours in
    length share a micro-batch, which keeps padding low; with packing there is none, and each sequence goes into the
    first micro-batch that has room. Every rank gets the same number of micro-batches.

    Args:
        sequences: The mini-batch.
        ranks: Number of ranks; where several share sequences, of groups of them.
        micro_batch_tokens: Most tokens that go through the model at once, padding included where there is any.
        packing: Leave padding out.

    Returns:
        For each rank its micro-batches.

    Raises:
        ValueError: there is nothing to split, one sequence alone is over the budget, or only some sequences carry
            proximal or reference log-probs.
    """
    if not sequences:
        raise ValueError("there are no sequences to train on")
    longest = max(len(sequence) for sequence in sequences)
    if longest > micro_batch_tokens:
        raise ValueError(
            f"a sequence has {longest} tokens, a micro-batch at most {micro_batch_tokens}: "
            "raise learner.micro_batch_tokens times learner.sequence_parallel to policy.max_context or more"
        )
    for name in ("proximal_log_probs", "reference_log_probs"):
        if len({getattr(sequence, name) is None for sequence in sequences}) > 1:
            raise ValueError(f"either all sequences of a mini-batch carry {name}, or none does")
    lengths = [len(sequence) for sequence in sequences]
    split = _first_fit if packing else _neighbours
    batches = [
        [
            PlannedBatch(tuple(rows), tuple(sequences[row] for row in rows), packing)
            for rows in split(lengths, share, micro_batch_tokens)
        ]
        for share in _split_over_ranks(lengths, ranks)
    ]
    most = max(len(batch) for batch in batches)
    filler = PlannedBatch((), (), packing, filler=True)
    return tuple((*batch, *[filler] * (most - len(batch))) for batch in batches)


def computed_tokens(batches: Sequence[PlannedBatch]) -> int:
    """Tokens that go through the model, padding included."""
    return sum(batch.computed_tokens for batch in batches)


def _split_over_ranks(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        rank = loads.index(min(loads))
        shares[rank].append(index)
        loads[rank] += lengths[index]
    return shares


def _neighbours(lengths: Sequence[int], share: Sequence[int], budget: int) -> list[list[int]]:
    """Cuts a share, longest first, where padding to the first row's length would be over the budget."""
    batches: list[list[int]] = []
    for index in share:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _first_fit(lengths: Sequence[int], share: Sequence[int], budget: int) -> list[list[int]]:
    """Packs a share, longest first, each into the first bin with room: at most 11/9 of the fewest bins, plus one."""
    batches: list[list[int]] = []
    room: list[int] = []
    for index in share:
        bin_index = next((bin_index for bin_index, left in enumerate(room) if left >= lengths[index]), len(room))
        if bin_index == len(room):
            batches.append([])
            room.append(budget)
        batches[bin_index].append(index)
        room[bin_index] -= lengths[index]
    return batches


def _micro_batch(chosen: Sequence[TrainingSequence], positions: Sequence[int], packed: bool) -> MicroBatch:
    first = chosen[0]
    return MicroBatch(
        positions=np.asarray(positions, dtype=np.int64),
        ids=_padded([sequence.ids for sequence in chosen], np.int64),
        lengths=np.asarray([len(sequence) for sequence in chosen], dtype=np.int64),
        loss_mask=_padded([sequence.loss_mask for sequence in chosen], np.bool_),
        behaviour_log_probs=_padded([sequence.behaviour_log_probs for sequence in chosen], np.float32),
        proximal_log_probs=None
        if first.proximal_log_probs is None
        else _padded([sequence.proximal_log_probs for sequence in chosen], np.float32),
        reference_log_probs=None
        if first.reference_log_probs is None
        else _padded([sequence.reference_log_probs for sequence in chosen], np.float32),
        advantages=np.asarray([sequence.advantage for sequence in chosen], dtype=np.float32),
        levels=np.asarray([LEVELS.index(sequence.level) for sequence in chosen], dtype=np.int64),
        oldest_versions=np.asarray([sequence.oldest_version for sequence in chosen], dtype=np.int64),
        packed=packed,
    )


def _padded(rows: Sequence[npt.NDArray[Any] | None], dtype: type[np.generic]) -> npt.NDArray[Any]:
    present = [row for row in rows if row is not None]
    padded = np.zeros((len(present), max(map(len, present))), dtype=dtype)
    for row, values in zip(padded, present, strict=True):
        row[: len(values)] = values
    return padded


def _filler(packed: bool) -> MicroBatch:
    # One token is in the mask, so that the pass reaches every parameter as a real one does.
    return MicroBatch(
        positions=np.zeros(0, dtype=np.int64),
        ids=np.zeros((1, 2), dtype=np.int64),
        lengths=np.array([2], dtype=np.int64),
        loss_mask=np.array([[False, True]]),
        behaviour_log_probs=np.zeros((1, 2), dtype=np.float32),
        proximal_log_probs=None,
        reference_log_probs=None,
        advantages=np.zeros(1, dtype=np.float32),
        levels=np.zeros(1, dtype=np.int64),
        oldest_versions=np.zeros(1, dtype=np.int64),
        packed=packed,
        filler=True,
    )
