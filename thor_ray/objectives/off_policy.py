"""Importance weights for samples whose engine was not the learner before the round (lessons 4, 8-5).

The surrogate trusts that tokens were sampled from ``pi_old``. They were sampled from ``pi_behaviour``, which differs by
staleness, and by the engine's arithmetic. ``w = pi_old / pi_behaviour``, bounded, makes up for it: the decoupled
objective (arXiv 2110.00641) in the form of AReaL (arXiv 2505.24298), truncated as in V-trace
(arXiv 1802.01561) or with unlikely samples masked out (IcePop, arXiv 2510.18855).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from thor_ray.config.reinforcement import OffPolicyConfig
from thor_ray.objectives.batch import PolicyBatch


@dataclass(frozen=True, slots=True, eq=False)
class ImportanceWeights:
    """How much each token's surrogate counts; all tensors are ``[rows, length]``, without gradient.

    Attributes:
        weights: float32; 1 where nothing is corrected.
        corrected: bool, tokens in the loss that the correction concerns.
        limited: bool, those among them whose weight was truncated, or masked out.
    """

    weights: Tensor
    corrected: Tensor
    limited: Tensor


@torch.no_grad()
def importance_weights(batch: PolicyBatch, config: OffPolicyConfig) -> ImportanceWeights:
    """Bounded ``pi_old / pi_behaviour`` of each token, or of the whole sequence it lies in.

    * ``level: token``: ``w_t``; ``level: sequence``: ``w_i = prod_t w_t``, the same for all of a sequence's tokens.
    * ``mode: truncate``: ``min(w, upper)``; ``mode: mask``: ``w`` within ``[lower, upper]``, else 0.

    Without proximal log-probs the ratio compares with the behaviour policy itself; every weight is then 1.

    Denominators stay what they were: a masked token teaches nothing, the others do not count for more.
    """
    ones = torch.ones_like(batch.behaviour_log_probs)
    nowhere = torch.zeros_like(batch.mask)
    if config.when == "never" or batch.proximal_log_probs is None:
        return ImportanceWeights(ones, nowhere, nowhere)
    corrected = batch.mask if config.when == "always" else batch.mask & batch.stale.unsqueeze(1)
    log_weights = batch.proximal_log_probs - batch.behaviour_log_probs
    if config.level == "sequence":
        log_weights = batch.row_sums(log_weights).unsqueeze(1).expand_as(batch.mask)
    weights = log_weights.exp()  # A product may overflow to infinity, which lies out of bounds like any other.
    if config.mode == "truncate":
        limited = corrected & (weights > config.upper)
        bounded = weights.clamp(max=config.upper)
    else:
        limited = corrected & ((weights > config.upper) | (weights < config.lower))
        bounded = torch.where(limited, torch.zeros_like(weights), weights)
    return ImportanceWeights(torch.where(corrected, bounded, ones), corrected, limited)
