"""What the learner trains on, made from trajectories in one place (invariants 1 and 2).

The group that leads the ranks plans with facts of sequences; only ranks load their tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from thor_ray.objectives import TokenCounts
from thor_ray.selection import SelectedGroup
from thor_ray.trajectory import GroupKind, TokenSource, Trajectory

DEMONSTRATION_UID: Final = "demonstration"
"""Group uid of sequences for supervised learning, which belong to no group."""


LogProbs = npt.NDArray[np.float32]
"""float32 ``[length]``, of the tokens of one sequence."""


class LogProbSource(Protocol):
    """Log-probs that lie elsewhere."""

    def load(self) -> LogProbs:
        """The log-probs themselves."""


class SequenceSource(Protocol):
    """What is known of a sequence without its tokens; attributes as of `TrainingSequence`."""

    @property
    def advantage(self) -> float: ...
    @property
    def level(self) -> GroupKind: ...
    @property
    def group_uid(self) -> str: ...
    @property
    def oldest_version(self) -> int: ...
    @property
    def loss_tokens(self) -> int: ...
    @property
    def proximal_log_probs(self) -> LogProbs | LogProbSource | None: ...
    @property
    def reference_log_probs(self) -> LogProbs | LogProbSource | None: ...

    def __len__(self) -> int: ...

    def load(self) -> "TrainingSequence":
        """The sequence itself."""

    def with_proximal_log_probs(self, log_probs: LogProbs | LogProbSource) -> Self:
        """The same sequence with the learner's log-probs attached."""

    def with_reference_log_probs(self, log_probs: LogProbs | LogProbSource) -> Self:
        """The same sequence with the reference policy's log-probs attached."""


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One sequence with everything that the losses need; arrays run parallel to ``ids``.

    Attributes:
        ids: int64 ``[length]``, exactly as the engine sampled them.
        loss_mask: bool ``[length]``, tokens that the loss may see; never the first one, which nothing predicts.
        behaviour_log_probs: float32 ``[length]``, by the engine that sampled; 0 where masked out.
        advantage: Of the whole sequence; 0 for demonstrations.
        level: Whose loss it belongs to.
        group_uid: The group it came from.
        oldest_version: Of the weights that sampled a token in the loss; 0 for demonstrations.
        proximal_log_probs: float32 ``[length]``, by the learner before the round's first update. The ratio compares
            with them where they are present, else with ``behaviour_log_probs``.
        reference_log_probs: float32 ``[length]``, by the frozen policy that the stage began with; for the KL term.

    Raises:
        ValueError: lengths differ, no token is in the loss, or the first one is.
    """

    ids: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    behaviour_log_probs: LogProbs
    advantage: float
    level: GroupKind
    group_uid: str
    oldest_version: int = 0
    proximal_log_probs: LogProbs | None = None
    reference_log_probs: LogProbs | None = None

    def __post_init__(self) -> None:
        optional = (self.proximal_log_probs, self.reference_log_probs)
        lengths = {len(self.ids), len(self.loss_mask), len(self.behaviour_log_probs)}
        lengths |= {len(log_probs) for log_probs in optional if log_probs is not None}
        if len(lengths) > 1:
            raise ValueError(f"sequence of group {self.group_uid}: arrays have different lengths {sorted(lengths)}")
        if not self.loss_mask.any():
            raise ValueError(
                f"sequence of group {self.group_uid}: the loss mask is empty, so there is nothing to learn"
            )
        if self.loss_mask[0]:
            raise ValueError(f"sequence of group {self.group_uid}: the first token cannot be predicted")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def loss_tokens(self) -> int:
        """Tokens in the loss."""
        return int(self.loss_mask.sum())

    def load(self) -> "TrainingSequence":
        """It is here."""
        return self

    def with_proximal_log_probs(self, log_probs: LogProbs | LogProbSource) -> "TrainingSequence":
        """The same sequence with the learner's log-probs attached."""
        return replace(self, proximal_log_probs=loaded(log_probs))

    def with_reference_log_probs(self, log_probs: LogProbs | LogProbSource) -> "TrainingSequence":
        """The same sequence with the reference policy's log-probs attached."""
        return replace(self, reference_log_probs=loaded(log_probs))


@dataclass(frozen=True, slots=True)
class SampledSequence:
    """A trajectory's sequence, whose tokens and log-probs may lie elsewhere; attributes as of `TrainingSequence`.

    Attributes:
        tokens: The trajectory's.
        loss_runs: Tokens ``[start, end)`` that the loss may see.
    """

    tokens: TokenSource
    loss_runs: tuple[tuple[int, int], ...]
    advantage: float
    level: GroupKind
    group_uid: str
    oldest_version: int
    proximal_log_probs: LogProbs | LogProbSource | None = None
    reference_log_probs: LogProbs | LogProbSource | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def loss_tokens(self) -> int:
        """Tokens in the loss."""
        return sum(end - start for start, end in self.loss_runs)

    def load(self) -> TrainingSequence:
        """The sequence with everything in this process's memory."""
        tokens, mask = self.tokens.load(), np.zeros(len(self), dtype=np.bool_)
        for start, end in self.loss_runs:
            mask[start:end] = True
        return TrainingSequence(
            np.asarray(tokens.ids, dtype=np.int64),
            mask,
            tokens.log_probs,
            self.advantage,
            self.level,
            self.group_uid,
            self.oldest_version,
            None if self.proximal_log_probs is None else loaded(self.proximal_log_probs),
            None if self.reference_log_probs is None else loaded(self.reference_log_probs),
        )

    def with_proximal_log_probs(self, log_probs: LogProbs | LogProbSource) -> "SampledSequence":
        """The same sequence with the learner's log-probs attached."""
        return replace(self, proximal_log_probs=log_probs)

    def with_reference_log_probs(self, log_probs: LogProbs | LogProbSource) -> "SampledSequence":
        """The same sequence with the reference policy's log-probs attached."""
        return replace(self, reference_log_probs=log_probs)


def loaded(log_probs: LogProbs | LogProbSource) -> LogProbs:
    """Log-probs in this process's memory."""
    return log_probs if isinstance(log_probs, np.ndarray) else log_probs.load()


def from_trajectory(trajectory: Trajectory, *, advantage: float, level: GroupKind, group_uid: str) -> SampledSequence:
    """A sequence for reinforcement learning; the loss sees the tokens which this trajectory sampled.

    Raises:
        ValueError: the loss would see nothing, or a token that no policy sampled and that has no behaviour log-prob.
    """
    sampled, runs = trajectory.tokens.version_counts(), trajectory.loss_runs
    in_loss = sum(end - start for start, end in runs)
    if not in_loss:
        raise ValueError(f"trajectory {trajectory.id} has no tokens in the loss, so there is nothing to learn")
    if in_loss != sum(sampled.values()):
        raise ValueError(f"trajectory {trajectory.id} holds tokens in the loss which no policy sampled")
    return SampledSequence(trajectory.tokens, runs, advantage, level, group_uid, min(sampled))


def from_groups(groups: Iterable[SelectedGroup]) -> list[SampledSequence]:
    """All sequences of selected groups, in order."""
    return [
        from_trajectory(trajectory, advantage=advantage, level=selected.group.kind, group_uid=selected.group.uid)
        for selected in groups
        for trajectory, advantage in zip(selected.group.trajectories, selected.advantages, strict=True)
    ]


def from_demonstration(trajectory: Trajectory, *, mask_observations: bool = True) -> TrainingSequence:
    """A sequence for supervised learning, whoever wrote it.

    Args:
        trajectory: The demonstration.
        mask_observations: Keep observations out of the loss (spec section C [N]); else the loss sees everything
            after the prompt, as equation 3 may be read.
    """
    mask = trajectory.loss_mask()
    if not mask_observations:
        mask[trajectory.prompt_length :] = True
    return TrainingSequence(
        ids=np.asarray(trajectory.ids, dtype=np.int64),
        loss_mask=mask,
        behaviour_log_probs=np.zeros(len(trajectory.ids), dtype=np.float32),
        advantage=0.0,
        level=GroupKind.EPISODE,
        group_uid=DEMONSTRATION_UID,
    )


def token_counts(sequences: Iterable[SequenceSource]) -> Mapping[GroupKind, TokenCounts]:
    """Tokens in the loss by level: the global denominators of a mini-batch (invariant 9)."""
    counts = dict.fromkeys(GroupKind, TokenCounts())
    for sequence in sequences:
        tokens = sequence.loss_tokens
        counts[sequence.level] += TokenCounts(tokens, tokens if sequence.advantage > 0 else 0, 1)
    return counts
