"""What an update saw, in a form that merges over micro-batches and ranks."""

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from thor_ray.objectives.batch import PolicyBatch
from thor_ray.objectives.divergence import k3_divergence
from thor_ray.objectives.off_policy import ImportanceWeights
from thor_ray.objectives.surrogate import LARGEST_LOG_RATIO, PolicyTerms

EXTREMES: Final = {"ratio_min": min, "ratio_max": max, "mismatch_max": max}


@dataclass(frozen=True, slots=True)
class PolicyStatistics:
    """Sums over tokens in the loss, and extremes.

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
        importance_sum: Of ``pi_old / pi_behaviour`` of tokens, unbounded, whether or not it was used.
        importance_square_sum: Of its square.
        corrected: Tokens that the off-policy correction concerned.
        limited: Those among them whose weight it truncated or masked out.
        surprisal_sum: Of ``-log pi``; its mean estimates the entropy where tokens are sampled from ``pi``.
        reference_tokens: Tokens with a reference log-prob.
        reference_divergence_sum: k3 estimate of KL(pi || pi_ref).
        entropy_tokens: Tokens with an entropy.
        entropy_sum: Of the entropies, in nats.
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
    importance_sum: float = 0.0
    importance_square_sum: float = 0.0
    corrected: float = 0.0
    limited: float = 0.0
    surprisal_sum: float = 0.0
    reference_tokens: float = 0.0
    reference_divergence_sum: float = 0.0
    entropy_tokens: float = 0.0
    entropy_sum: float = 0.0

    def merge(self, other: "PolicyStatistics") -> "PolicyStatistics":
        """Of the union of both sets of tokens."""
        values = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            values[field.name] = EXTREMES[field.name](mine, theirs) if field.name in EXTREMES else mine + theirs
        return PolicyStatistics(**values)

    def metrics(self) -> dict[str, float]:
        """Means per token, and extremes.

        ``effective_samples`` is the share ``(sum w)² / (n sum w²)`` of tokens that the importance weights
        ``pi_old / pi_behaviour`` leave: 1 on policy, towards 0 the staler the samples.

        Raises:
            ValueError: no token was seen.
        """
        if self.tokens == 0:
            raise ValueError("no tokens, no metrics")
        metrics = {
            "ratio_mean": self.ratio_sum / self.tokens,
            "ratio_min": self.ratio_min,
            "ratio_max": self.ratio_max,
            "clip_fraction": self.clipped / self.tokens,
            "dual_clip_fraction": self.dual_clipped / self.tokens,
            "update_kl": self.update_divergence_sum / self.tokens,
            "mismatch_kl": self.mismatch_divergence_sum / self.tokens,
            "mismatch_max_abs": self.mismatch_max,
            "importance_mean": self.importance_sum / self.tokens,
            "effective_samples": self.importance_sum**2 / (self.tokens * self.importance_square_sum),
            "corrected_fraction": self.corrected / self.tokens,
            "limited_fraction": self.limited / self.tokens,
            "surprisal": self.surprisal_sum / self.tokens,
        }
        if self.reference_tokens:
            metrics["reference_kl"] = self.reference_divergence_sum / self.reference_tokens
        if self.entropy_tokens:
            metrics["entropy"] = self.entropy_sum / self.entropy_tokens
        return metrics


@torch.no_grad()
def policy_statistics(
    log_probs: Tensor,
    batch: PolicyBatch,
    terms: PolicyTerms,
    importance: ImportanceWeights,
    entropies: Tensor | None = None,
) -> PolicyStatistics:
    """Statistics of one micro-batch; empty if none of its tokens is in the loss.

    Args:
        log_probs: float32 ``[rows, length]`` of the current policy.
        batch: The micro-batch.
        terms: Its surrogate.
        importance: Its importance weights.
        entropies: float32 ``[rows, length]``, if the learner computed them.
    """
    mask = batch.mask
    if not mask.any():
        return PolicyStatistics()
    ratio, current = terms.ratio[mask], log_probs[mask]
    mismatch = (batch.old_log_probs - batch.behaviour_log_probs)[mask]
    importance_ratio = mismatch.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    count = torch.tensor(float(ratio.numel()), device=ratio.device)
    none = torch.zeros_like(count)
    values = {
        "tokens": count,
        "ratio_sum": ratio.sum(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "clipped": (terms.clipped & ~terms.dual_clipped)[mask].sum(),
        "dual_clipped": terms.dual_clipped[mask].sum(),
        "update_divergence_sum": k3_divergence(current, batch.old_log_probs[mask]).sum(),
        "mismatch_divergence_sum": (torch.expm1(mismatch) - mismatch).sum(),
        "mismatch_max": mismatch.abs().max(),
        "importance_sum": importance_ratio.sum(),
        "importance_square_sum": importance_ratio.square().sum(),
        "corrected": importance.corrected.sum(),
        "limited": importance.limited.sum(),
        "surprisal_sum": -current.sum(),
        "reference_tokens": none if batch.reference_log_probs is None else count,
        "reference_divergence_sum": none
        if batch.reference_log_probs is None
        else k3_divergence(batch.reference_log_probs[mask], current).sum(),
        "entropy_tokens": none if entropies is None else count,
        "entropy_sum": none if entropies is None else entropies[mask].sum(),
    }
    # One transfer from the device for all of them.
    numbers = torch.stack([value.to(count.dtype) for value in values.values()]).tolist()
    return PolicyStatistics(**dict(zip(values, numbers, strict=True)))
