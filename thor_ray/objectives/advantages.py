"""Group-relative advantages (after paper equation 4; spec D.1)."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

ADVANTAGE_EPSILON: Final = 1e-6
"""Added to the standard deviation of a group's rewards (spec D.1)."""


def group_advantages(rewards: Sequence[float], *, divide_by_deviation: bool = True) -> Tensor:
    """``A_i = (R_i - mean(R)) / (std(R) + 1e-6)`` over the siblings that survived the filters.

    Args:
        rewards: Rewards of the survivors. The standard deviation is unbiased (n - 1); a group of one has mean 0 and
            standard deviation 1 by definition.
        divide_by_deviation: ``False`` leaves ``A_i = R_i - mean(R)``, so that groups that are nearly all right or
            all wrong do not weigh more than others (Dr. GRPO, arXiv 2503.20783).

    Returns:
        float32 ``[len(rewards)]``.

    Raises:
        ValueError: there are no rewards.
    """
    if not rewards:
        raise ValueError("a group without survivors has no advantages")
    values = torch.tensor(rewards, dtype=torch.float64)
    mean, deviation = (values.mean(), values.std()) if len(rewards) > 1 else (values.new_zeros(()), values.new_ones(()))
    centred = values - mean
    return (centred / (deviation + ADVANTAGE_EPSILON) if divide_by_deviation else centred).to(torch.float32)
