"""The loss of a micro-batch: ``w_episode L_episode + w_step L_step`` (paper equations 4, 5, 9 and 10).

``L_level = policy + alpha NLL + beta KL - gamma entropy``, where

* policy: importance-weighted clipped surrogate, aggregated as ``aggregation`` says;
* NLL: ``-log pi`` of tokens with positive advantage, divided by their number (equation 5), whatever the aggregation;
* KL: k3 estimate of KL(pi || pi_ref), aggregated like the surrogate;
* entropy: of the policy's next-token distributions, aggregated like the surrogate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thor_ray.config import ObjectiveConfig
from thor_ray.objectives.aggregation import TokenCounts, denominators, divisor, token_weights
from thor_ray.objectives.batch import LEVELS, PolicyBatch
from thor_ray.objectives.divergence import k3_divergence
from thor_ray.objectives.off_policy import importance_weights
from thor_ray.objectives.statistics import PolicyStatistics, policy_statistics
from thor_ray.objectives.surrogate import clipped_surrogate, log_ratios
from thor_ray.trajectory import GroupKind


class MissingInputError(ValueError):
    """An option needs tensors that the learner did not bring."""


@dataclass(frozen=True, slots=True, eq=False)
class LossTerms:
    """The four terms of the loss: of tokens, float32 ``[rows, length]``, or sums of them, scalars; with gradient.

    Attributes:
        policy: The clipped surrogate, each token with its weight of aggregation and of importance.
        nll: ``-log pi`` of tokens whose advantage is positive, else 0.
        divergence: From the reference, each token with its weight of aggregation.
        entropy: Of the next-token distributions, likewise.
    """

    policy: Tensor
    nll: Tensor
    divergence: Tensor
    entropy: Tensor

    def summed_over(self, mask: Tensor) -> "LossTerms":
        """Sums of the terms of tokens over those in ``mask``, bool ``[rows, length]``."""

        def total(values: Tensor) -> Tensor:
            return torch.where(mask, values, torch.zeros_like(values)).sum()

        return LossTerms(total(self.policy), total(self.nll), total(self.divergence), total(self.entropy))


def policy_loss(
    log_probs: Tensor,
    batch: PolicyBatch,
    divisors: Mapping[GroupKind, TokenCounts],
    config: ObjectiveConfig,
    entropies: Tensor | None = None,
) -> tuple[Tensor, PolicyStatistics]:
    """A micro-batch's share of the mini-batch's loss; shares of all micro-batches and ranks add up to it.

    Args:
        log_probs: float32 ``[rows, length]`` of the current policy, with gradient.
        batch: Everything else about the sequences.
        divisors: Of the whole mini-batch: ``denominators(counts, config.denominator)``.
        config: All options.
        entropies: float32 ``[rows, length]``, entropy in nats of the distribution that token ``t`` was drawn from,
            with gradient; needed if ``entropy_weight`` is positive.

    Returns:
        float32 scalar with gradient, and what the update saw.

    Raises:
        MissingInputError: ``kl_weight`` or ``entropy_weight`` is positive without the tensors it needs.
    """
    _require_inputs(batch, config, entropies)
    # What is masked out must not become NaN in a gradient, where 0 meets infinity.
    nothing = torch.zeros_like(log_probs)
    log_probs = torch.where(batch.mask, log_probs, nothing)
    reference = (
        None if batch.reference_log_probs is None else torch.where(batch.mask, batch.reference_log_probs, nothing)
    )
    advantages = batch.advantages.unsqueeze(1)
    terms = clipped_surrogate(log_ratios(log_probs, batch, config), advantages, config)
    importance = importance_weights(batch, config.off_policy)
    weights = token_weights(batch, config)
    by_token = LossTerms(
        policy=weights * importance.weights * terms.loss,
        nll=torch.where(advantages > 0, -log_probs, nothing),
        divergence=nothing if reference is None else weights * k3_divergence(reference, log_probs),
        entropy=nothing if entropies is None else weights * entropies,
    )
    levels = batch.levels.unsqueeze(1)
    sums = {level: by_token.summed_over(batch.mask & (levels == index)) for index, level in enumerate(LEVELS)}
    statistics = policy_statistics(log_probs, batch, terms, importance, entropies)
    if config.mixed_batch:
        return _release_loss(sums, batch, divisors, config), statistics
    return joint_loss(sums, divisors, config), statistics


def joint_loss(
    sums: Mapping[GroupKind, LossTerms], divisors: Mapping[GroupKind, TokenCounts], config: ObjectiveConfig
) -> Tensor:
    """``w_episode L_episode + w_step L_step`` (paper equation 10) of sums; a level without tokens adds nothing.

    Args:
        sums: Of one micro-batch.
        divisors: Of the whole mini-batch.
        config: Weights, and whether tokens or sequences divide.

    Returns:
        float32 scalar with gradient.
    """
    level_weights = {GroupKind.EPISODE: config.episode_weight, GroupKind.STEP: config.step_weight}
    parts = []
    for level, terms in sums.items():
        aggregated = terms.policy + config.kl_weight * terms.divergence - config.entropy_weight * terms.entropy
        likelihood = config.nll_weight * terms.nll / max(1, divisors[level].positive_tokens)
        parts.append(level_weights[level] * (aggregated / divisor(divisors[level], config) + likelihood))
    return torch.stack(parts).sum()


def _release_loss(
    sums: Mapping[GroupKind, LossTerms],
    batch: PolicyBatch,
    divisors: Mapping[GroupKind, TokenCounts],
    config: ObjectiveConfig,
) -> Tensor:
    """Means within the micro-batch, which then counts by its share of the mini-batch's sequences (spec D.1, E.6).

    Depends on the split into micro-batches, as the release does: short micro-batches weigh their tokens more.
    """
    own = denominators(batch.counts(), "shared")
    share = own[GroupKind.EPISODE].sequences / max(1, divisors[GroupKind.EPISODE].sequences)
    return share * joint_loss(sums, own, config)


def _require_inputs(batch: PolicyBatch, config: ObjectiveConfig, entropies: Tensor | None) -> None:
    if config.kl_weight > 0 and batch.reference_log_probs is None:
        raise MissingInputError("rl.objective.kl_weight is positive: the batch needs reference_log_probs")
    if config.entropy_weight > 0 and entropies is None:
        raise MissingInputError("rl.objective.entropy_weight is positive: the loss needs entropies")
