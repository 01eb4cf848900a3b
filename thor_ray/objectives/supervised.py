"""Supervised fine-tuning (paper equation 3, spec section C)."""

import torch
from torch import Tensor


def supervised_sum(log_probs: Tensor, mask: Tensor) -> Tensor:
    """``-sum log pi(y_t)`` over the tokens in the loss (paper equation 3), to be divided by their global count.

    Args:
        log_probs: float32 ``[rows, length]``, with gradient.
        mask: bool ``[rows, length]``; without observations by default, with them where ``cold_start.mask_observations``
            is off (spec section C [N]).

    Returns:
        float32 scalar, with gradient.
    """
    return -torch.where(mask, log_probs, torch.zeros_like(log_probs)).sum()
