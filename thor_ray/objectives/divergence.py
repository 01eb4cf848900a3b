"""Estimates of the divergence between two policies from sampled tokens."""

import torch
from torch import Tensor


def k3_divergence(log_probs: Tensor, sampled_log_probs: Tensor) -> Tensor:
    """Schulman's k3 estimate ``r - 1 - log r`` with ``r = pi / pi_sampled``, of KL(pi_sampled || pi); never negative.

    With the current policy as the second argument and the reference as the first, this is the penalty of GRPO
    (arXiv 2402.03300, equation 4).

    Args:
        log_probs: float32, any shape.
        sampled_log_probs: float32 of the same shape, by the policy that sampled the tokens.

    Returns:
        float32 of the same shape.
    """
    log_ratio = log_probs - sampled_log_probs
    return torch.expm1(log_ratio) - log_ratio
