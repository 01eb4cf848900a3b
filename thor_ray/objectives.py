"""THOR's objectives in pure torch: ``L = w_episode L_episode + w_step L_step`` (spec sections C, D.1, E.6).

Nothing here divides by a number of tokens that it counted itself. Functions return *sums*; what they are divided by
are counts over the whole mini-batch, over all micro-batches and ranks. That makes gradients independent of how a
mini-batch is split (invariant 9); the release averages within each micro-batch, which does not have this property.

Shapes: ``[batch, length]`` tensors run parallel to the token ids, so that entry ``t`` belongs to token ``t`` of a
sequence, and a log-prob at ``t`` is that of token ``t`` given all tokens before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal

import torch
from torch import Tensor

from thor_ray.config import ObjectiveConfig
from thor_ray.trajectory import GroupKind

ADVANTAGE_EPSILON: Final = 1e-6
"""Added to the standard deviation of a group's rewards (spec D.1)."""


def group_advantages(rewards: Sequence[float]) -> Tensor:
    """Group-relative advantages ``A_i = (R_i - mean(R)) / (std(R) + 1e-6)`` (after paper equation 4, spec D.1).

    Args:
        rewards: Rewards of the siblings that survived the filters. The standard deviation is unbiased (n - 1); a
            group of one has mean 0 and standard deviation 1 by definition.

    Returns:
        float32 ``[len(rewards)]``.

    Raises:
        ValueError: there are no rewards.
    """
    if not rewards:
        raise ValueError("a group without survivors has no advantages")
    values = torch.tensor(rewards, dtype=torch.float64)
    mean, deviation = (values.mean(), values.std()) if len(rewards) > 1 else (values.new_zeros(()), values.new_ones(()))
    return ((values - mean) / (deviation + ADVANTAGE_EPSILON)).to(torch.float32)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Denominators of one level: tokens in the loss, and those among them whose advantage is positive."""

    tokens: int = 0
    positive_tokens: int = 0

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(self.tokens + other.tokens, self.positive_tokens + other.positive_tokens)


def denominators(
    counts: Mapping[GroupKind, TokenCounts], mode: Literal["per_level", "shared"]
) -> dict[GroupKind, TokenCounts]:
    """What each level's sums are divided by.

    Args:
        counts: Token counts of the whole mini-batch, over all ranks and micro-batches.
        mode: ``per_level`` divides each level by its own tokens, which is ``L_episode + L_step`` as the paper writes
            it (equation 10); ``shared`` divides both by the tokens of both, so that a level weighs by its tokens.
    """
    levels = {level: counts.get(level, TokenCounts()) for level in GroupKind}
    if mode == "per_level":
        return levels
    return dict.fromkeys(GroupKind, sum(levels.values(), TokenCounts()))


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """The clipped surrogate, token by token; all tensors have the shape of the log-probs.

    Attributes:
        loss: float32, to be minimised.
        ratio: float32, ``rho = pi / pi_old``, detached.
        clipped: bool, where clipping decides the loss, so that the token's gradient is zero.
        dual_clipped: bool, the same for the bound on negative advantages.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    dual_clipped: Tensor


def clipped_surrogate(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, config: ObjectiveConfig
) -> PolicyTerms:
    """The token-level clipped surrogate with dual clip (paper equation 4 as a minimisation, spec D.1).

    ``max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high))``, and for ``A < 0`` at most ``-dual_clip A``.

    Args:
        log_probs: float32 ``[batch, length]`` of the current policy, with gradient.
        old_log_probs: float32 ``[batch, length]`` of the policy that the ratio compares with.
        advantages: float32, broadcastable to ``[batch, length]``.
        config: Clip bounds.
    """
    ratio = torch.exp(log_probs - old_log_probs)
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss = torch.maximum(unclipped, clipped)
    dual_clipped = torch.zeros_like(loss, dtype=torch.bool)
    if config.dual_clip is not None:
        bound = -config.dual_clip * advantages
        dual_clipped = (advantages < 0) & (loss > bound)
        loss = torch.where(dual_clipped, bound, loss)
    return PolicyTerms(loss, ratio.detach(), (clipped > unclipped).detach(), dual_clipped.detach())


@dataclass(frozen=True, slots=True)
class LevelSums:
    """Sums over the tokens of one level in one micro-batch; float32 scalars with gradient.

    Attributes:
        policy: Sum of the clipped surrogate over the tokens in the loss.
        nll: Sum of ``-log pi`` over those among them whose advantage is positive (paper equation 5).
    """

    policy: Tensor
    nll: Tensor


def level_sums(terms: PolicyTerms, log_probs: Tensor, advantages: Tensor, mask: Tensor) -> LevelSums:
    """Sums the terms of one level.

    Args:
        terms: Of the whole micro-batch, ``[batch, length]``.
        log_probs: float32 ``[batch, length]`` of the current policy, with gradient.
        advantages: float32 ``[batch, 1]``.
        mask: bool ``[batch, length]``, tokens in the loss that belong to this level.
    """
    positive = mask & (advantages > 0)
    return LevelSums(policy=_masked_sum(terms.loss, mask), nll=-_masked_sum(log_probs, positive))


def joint_loss(
    sums: Mapping[GroupKind, LevelSums], divisors: Mapping[GroupKind, TokenCounts], config: ObjectiveConfig
) -> Tensor:
    """``w_episode L_episode + w_step L_step``, where ``L = policy / tokens + alpha nll / positive tokens``.

    Equations 4, 5 and 10 of the paper. A level without tokens contributes nothing. The losses of the micro-batches
    of all ranks *add up* to the mini-batch's loss, since ``divisors`` are global.
    """
    weights = {GroupKind.EPISODE: config.episode_weight, GroupKind.STEP: config.step_weight}
    parts = [
        weights[level]
        * (
            level_sum.policy / max(1, divisors[level].tokens)
            + config.nll_weight * level_sum.nll / max(1, divisors[level].positive_tokens)
        )
        for level, level_sum in sums.items()
    ]
    return torch.stack(parts).sum()


def supervised_sum(log_probs: Tensor, mask: Tensor) -> Tensor:
    """``-sum log pi(y_t)`` over the masked-in tokens (paper equation 3), to be divided by their global count.

    Args:
        log_probs: float32 ``[batch, length]``, with gradient.
        mask: bool ``[batch, length]``; without observations by default (spec section C [N]).

    Returns:
        float32 scalar.
    """
    return -_masked_sum(log_probs, mask)


def k3_divergence(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Schulman's k3 estimate ``r - 1 - log r``, ``r = pi / pi_ref``, of KL(pi_ref || pi); never negative.

    Tokens must have been sampled from the reference. Same shape as the arguments.
    """
    log_ratio = log_probs - reference_log_probs
    return torch.expm1(log_ratio) - log_ratio


@dataclass(frozen=True, slots=True)
class PolicyStatistics:
    """What an update saw, in a form that merges over micro-batches and ranks: sums, and extremes.

    Attributes:
        tokens: Tokens in the loss.
        ratio_sum: Of ``pi / pi_old``.
        ratio_min: Smallest ratio.
        ratio_max: Largest ratio.
        clipped: Tokens whose gradient the clip removed.
        dual_clipped: Tokens whose gradient the dual clip removed.
        update_divergence_sum: k3 estimate of KL(pi_old || pi).
        mismatch_divergence_sum: k3 estimate of KL(behaviour || proximal): how far the engine that sampled is from
            the learner, for equal weights an error of arithmetic, else staleness.
        mismatch_max: Largest absolute difference of the two log-probs.
        surprisal_sum: Of ``-log pi``; its mean estimates the entropy where tokens are sampled from ``pi``.
    """

    tokens: float = 0.0
    ratio_sum: float = 0.0
    ratio_min: float = float("inf")
    ratio_max: float = float("-inf")
    clipped: float = 0.0
    dual_clipped: float = 0.0
    update_divergence_sum: float = 0.0
    mismatch_divergence_sum: float = 0.0
    mismatch_max: float = 0.0
    surprisal_sum: float = 0.0

    def merge(self, other: "PolicyStatistics") -> "PolicyStatistics":
        """Of the union of both sets of tokens."""
        combine = {"ratio_min": min, "ratio_max": max, "mismatch_max": max}
        values = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            values[field.name] = combine[field.name](mine, theirs) if field.name in combine else mine + theirs
        return PolicyStatistics(**values)

    def metrics(self) -> dict[str, float]:
        """Means per token, and extremes.

        Raises:
            ValueError: no token was seen.
        """
        if self.tokens == 0:
            raise ValueError("no tokens, no metrics")
        return {
            "ratio_mean": self.ratio_sum / self.tokens,
            "ratio_min": self.ratio_min,
            "ratio_max": self.ratio_max,
            "clip_fraction": self.clipped / self.tokens,
            "dual_clip_fraction": self.dual_clipped / self.tokens,
            "update_kl": self.update_divergence_sum / self.tokens,
            "mismatch_kl": self.mismatch_divergence_sum / self.tokens,
            "mismatch_max_abs": self.mismatch_max,
            "surprisal": self.surprisal_sum / self.tokens,
        }


@torch.no_grad()
def policy_statistics(
    terms: PolicyTerms,
    log_probs: Tensor,
    old_log_probs: Tensor,
    behaviour_log_probs: Tensor,
    proximal_log_probs: Tensor,
    mask: Tensor,
) -> PolicyStatistics:
    """Statistics of one micro-batch.

    Args:
        terms: Of the micro-batch.
        log_probs: float32 ``[batch, length]`` of the current policy.
        old_log_probs: float32 ``[batch, length]``, what the ratio compares with.
        behaviour_log_probs: float32 ``[batch, length]``, as the engine sampled.
        proximal_log_probs: float32 ``[batch, length]``, as the learner computed them before the round's updates.
        mask: bool ``[batch, length]``, tokens in the loss; at least one.
    """
    ratio, current = terms.ratio[mask], log_probs[mask]
    mismatch = proximal_log_probs[mask] - behaviour_log_probs[mask]
    values = torch.stack(
        [
            torch.tensor(float(ratio.numel()), device=ratio.device),
            ratio.sum(),
            ratio.min(),
            ratio.max(),
            (terms.clipped & ~terms.dual_clipped)[mask].sum().float(),
            terms.dual_clipped[mask].sum().float(),
            k3_divergence(current, old_log_probs[mask]).sum(),
            k3_divergence(proximal_log_probs[mask], behaviour_log_probs[mask]).sum(),
            mismatch.abs().max(),
            -current.sum(),
        ]
    )
    return PolicyStatistics(*values.tolist())


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, torch.zeros_like(values)).sum()
