"""The tensors of a micro-batch, other than the current log-probs."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from thor_ray.objectives.aggregation import TokenCounts
from thor_ray.trajectory import GroupKind

LEVELS: Final = tuple(GroupKind)
"""``PolicyBatch.levels`` holds indices into this."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyBatch:
    """What the policy's loss needs of a micro-batch besides the current log-probs.

    A row is a sequence, whole; rows that went through the model packed are padded again by then. Outside ``mask``,
    tensors may hold anything, NaN included.

    Attributes:
        mask: bool ``[rows, length]``, tokens in the loss.
        advantages: float32 ``[rows]``.
        levels: int64 ``[rows]``, indices into ``LEVELS``.
        stale: bool ``[rows]``, whether some of a sequence's tokens in the loss were sampled by weights older than
            those which the proximal log-probs come from.
        behaviour_log_probs: float32 ``[rows, length]``, ``log pi_behaviour`` as the engine sampled.
        proximal_log_probs: float32 ``[rows, length]``, ``log pi_old`` by the learner before the round's first update,
            or ``None``: then ratios compare with the behaviour policy, which is the same for fresh samples.
        reference_log_probs: float32 ``[rows, length]``, ``log pi_ref`` by the frozen reference policy, at the
            temperature of the others; needed if ``kl_weight`` is positive.

    Raises:
        ValueError: shapes do not fit together, or the mask is not bool.
    """

    mask: Tensor
    advantages: Tensor
    levels: Tensor
    stale: Tensor
    behaviour_log_probs: Tensor
    proximal_log_probs: Tensor | None = None
    reference_log_probs: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask is {self.mask.dtype}, must be bool")
        by_token = {
            "behaviour_log_probs": self.behaviour_log_probs,
            "proximal_log_probs": self.proximal_log_probs,
            "reference_log_probs": self.reference_log_probs,
        }
        by_sequence = {"levels": self.levels, "stale": self.stale}
        for expected, tensors in ((self.mask.shape, by_token), (self.advantages.shape, by_sequence)):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.shape != expected:
                    raise ValueError(f"{name} has shape {tuple(tensor.shape)}, must be {tuple(expected)}")

    @property
    def old_log_probs(self) -> Tensor:
        """What ratios compare with, float32 ``[rows, length]``: the proximal policy, else the behaviour policy."""
        return self.behaviour_log_probs if self.proximal_log_probs is None else self.proximal_log_probs

    def row_sums(self, values: Tensor) -> Tensor:
        """Sums of values, ``[rows, length]``, over each row's tokens in the loss: ``[rows]``."""
        return torch.where(self.mask, values, torch.zeros_like(values)).sum(dim=1)

    def lengths(self) -> Tensor:
        """Tokens in the loss of each row: int64 ``[rows]``."""
        return self.mask.sum(dim=1)

    def counts(self) -> dict[GroupKind, TokenCounts]:
        """What each level brings to the denominators; those of all micro-batches and ranks add up."""
        lengths = self.lengths()
        counts = {}
        for index, level in enumerate(LEVELS):
            chosen = self.levels == index
            positive = chosen & (self.advantages > 0)
            counts[level] = TokenCounts(
                tokens=int(lengths[chosen].sum()),
                positive_tokens=int(lengths[positive].sum()),
                sequences=int((lengths[chosen] > 0).sum()),
            )
        return counts
