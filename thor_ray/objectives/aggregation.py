"""From losses of tokens to the loss of a mini-batch: weights of tokens, and what sums are divided by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from thor_ray.config import ObjectiveConfig
from thor_ray.trajectory import GroupKind

if TYPE_CHECKING:
    from thor_ray.objectives.batch import PolicyBatch


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Denominators of one level.

    Attributes:
        tokens: Tokens in the loss.
        positive_tokens: Those among them whose advantage is positive.
        sequences: Sequences with tokens in the loss.
    """

    tokens: int = 0
    positive_tokens: int = 0
    sequences: int = 0

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.tokens + other.tokens,
            self.positive_tokens + other.positive_tokens,
            self.sequences + other.sequences,
        )


def denominators(
    counts: Mapping[GroupKind, TokenCounts], mode: Literal["per_level", "shared"]
) -> dict[GroupKind, TokenCounts]:
    """What each level's sums are divided by.

    Args:
        counts: Counts of the whole mini-batch, over all ranks and micro-batches.
        mode: ``per_level`` divides each level by its own counts, which is ``L_episode + L_step`` as the paper writes
            it (equation 10); ``shared`` divides both by the counts of both, so that a level weighs by its tokens.
    """
    levels = {level: counts.get(level, TokenCounts()) for level in GroupKind}
    if mode == "per_level":
        return levels
    return dict.fromkeys(GroupKind, sum(levels.values(), TokenCounts()))


def token_weights(batch: "PolicyBatch", config: ObjectiveConfig) -> Tensor:
    """Weight of each row's tokens, ``[rows, 1]`` in the dtype of the advantages.

    * ``token_mean``: 1, then divided by tokens (DAPO, arXiv 2503.14476, equation 8).
    * ``sequence_mean``: ``1 / |s_i|``, then divided by sequences (paper equation 4 where groups are of one size).
    * ``sequence_mean_token_sum_norm``: ``1 / norm_tokens``, then divided by sequences (Dr. GRPO, arXiv 2503.20783).
    """
    ones = torch.ones_like(batch.advantages).unsqueeze(1)
    if config.aggregation == "token_mean":
        return ones
    if config.aggregation == "sequence_mean":
        return ones / batch.lengths().clamp(min=1).unsqueeze(1)
    assert config.norm_tokens is not None
    return ones / config.norm_tokens


def divisor(counts: TokenCounts, config: ObjectiveConfig) -> int:
    """What the weighted sum of a level's tokens is divided by: tokens or sequences, at least 1."""
    return max(1, counts.tokens if config.aggregation == "token_mean" else counts.sequences)
