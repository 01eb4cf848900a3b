"""THOR's objectives in pure torch: ``L = w_episode L_episode + w_step L_step`` (spec sections C, D.1, E.6).

Nothing here divides by a number of tokens that it counted itself. Losses are *sums*; what they are divided by are counts
over the whole mini-batch, over all micro-batches and ranks. That makes gradients independent of how a mini-batch is
split (invariant 9). The release averages within each micro-batch instead, which ``mixed_batch`` reproduces.

Shapes: a row is a sequence; ``[rows, length]`` tensors run parallel to the token ids, so that entry ``t`` belongs to token
``t`` of a row, and a log-prob at ``t`` is that of token ``t`` given all tokens before it.

Modules: ``advantages``, ``batch`` (tensors of a micro-batch), ``surrogate`` (ratios and clipping), ``off_policy``
(importance weights), ``aggregation`` (what sums are divided by), ``policy_loss`` (all of it together), ``supervised``,
``divergence``, ``statistics``.
"""

from thor_ray.objectives.advantages import ADVANTAGE_EPSILON, group_advantages
from thor_ray.objectives.aggregation import TokenCounts, denominators, token_weights
from thor_ray.objectives.batch import LEVELS, PolicyBatch
from thor_ray.objectives.divergence import k3_divergence
from thor_ray.objectives.off_policy import ImportanceWeights, importance_weights
from thor_ray.objectives.policy_loss import LossTerms, MissingInputError, joint_loss, policy_loss
from thor_ray.objectives.statistics import PolicyStatistics
from thor_ray.objectives.supervised import supervised_sum
from thor_ray.objectives.surrogate import PolicyTerms, clipped_surrogate, log_ratios

__all__ = [
    "ADVANTAGE_EPSILON",
    "LEVELS",
    "ImportanceWeights",
    "LossTerms",
    "MissingInputError",
    "PolicyBatch",
    "PolicyStatistics",
    "PolicyTerms",
    "TokenCounts",
    "clipped_surrogate",
    "denominators",
    "group_advantages",
    "importance_weights",
    "joint_loss",
    "k3_divergence",
    "log_ratios",
    "policy_loss",
    "supervised_sum",
    "token_weights",
]
