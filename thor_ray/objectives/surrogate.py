"""Probability ratios and the clipped surrogate (paper equation 4, spec D.1)."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from thor_ray.config import ObjectiveConfig
from thor_ray.objectives.batch import PolicyBatch

LARGEST_LOG_RATIO: Final = 20.0
"""Log-ratios are held within this, far beyond every bound, so that none overflows. An infinite ratio would make even
the gradient of a clipped token NaN, since autograd multiplies the zero from clipping with it."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyTerms:
    """The clipped surrogate, token by token; all tensors are ``[rows, length]``.

    Attributes:
        loss: float32, to be minimised, with gradient.
        ratio: float32, ``rho = pi / pi_old`` of the token, or of its sequence; detached.
        clipped: bool, where clipping decides the loss, so that the token's gradient is zero.
        dual_clipped: bool, the same for the bound on negative advantages.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    dual_clipped: Tensor


def log_ratios(log_probs: Tensor, batch: PolicyBatch, config: ObjectiveConfig) -> Tensor:
    """``log(pi / pi_old)``, 0 outside the mask: of each token, or of its sequence.

    With ``ratio: sequence`` all tokens of a sequence have its length-normalised ratio
    ``s_i = exp(1/|s_i| sum_t log(pi / pi_old))`` (GSPO, arXiv 2507.18071, equation 7).

    Args:
        log_probs: float32 ``[rows, length]`` of the current policy, with gradient.
        batch: The micro-batch.
        config: ``ratio``.

    Returns:
        float32 ``[rows, length]``, with gradient.
    """
    # Masked before anything is exponentiated, since 0 · inf would make gradients NaN.
    by_token = torch.where(batch.mask, log_probs - batch.old_log_probs, torch.zeros_like(log_probs))
    if config.ratio == "token":
        return by_token
    mean = batch.row_sums(by_token) / batch.lengths().clamp(min=1)
    return torch.where(batch.mask, mean.unsqueeze(1), torch.zeros_like(by_token))


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, config: ObjectiveConfig) -> PolicyTerms:
    """``max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high))``, and for ``A < 0`` at most ``-dual_clip A``.

    Paper equation 4 as a minimisation, with bounds apart (DAPO, arXiv 2503.14476) and the dual clip of the release
    (arXiv 1912.09729; spec D.1).

    Args:
        log_ratio: float32 ``[rows, length]``, ``log(pi / pi_old)``, with gradient.
        advantages: float32, broadcastable to ``[rows, length]``.
        config: Clip bounds.
    """
    ratio = log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss = torch.maximum(unclipped, clipped)
    dual_clipped = torch.zeros_like(loss, dtype=torch.bool)
    if config.dual_clip is not None:
        bound = -config.dual_clip * advantages
        dual_clipped = (advantages < 0) & (loss > bound)
        loss = torch.where(dual_clipped, bound, loss)
    return PolicyTerms(loss, ratio.detach(), (clipped > unclipped).detach(), dual_clipped.detach())
