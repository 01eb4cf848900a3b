"""The objectives once more, in float64 and token by token, written from the equations (spec D.1, E.1, E.6).

Nothing is shared with ``thor_ray.objectives`` but the batch it is given and the recipe's options.
"""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from thor_ray.config import ObjectiveConfig, OffPolicyConfig
from thor_ray.objectives import LEVELS, PolicyBatch
from thor_ray.trajectory import GroupKind


@dataclass(frozen=True)
class RaggedBatch:
    """Random sequences of random lengths. Outside the mask everything is NaN, so that nobody may look."""

    log_probs: Tensor
    entropies: Tensor
    batch: PolicyBatch

    def rows(self, chosen: list[int], log_probs: Tensor) -> tuple[Tensor, PolicyBatch, Tensor]:
        """A micro-batch of some rows, with ``log_probs`` in place of the batch's: arguments of ``policy_loss``."""
        whole = self.batch
        part = PolicyBatch(
            mask=whole.mask[chosen],
            advantages=whole.advantages[chosen],
            levels=whole.levels[chosen],
            stale=whole.stale[chosen],
            behaviour_log_probs=whole.behaviour_log_probs[chosen],
            proximal_log_probs=None if whole.proximal_log_probs is None else whole.proximal_log_probs[chosen],
            reference_log_probs=None if whole.reference_log_probs is None else whole.reference_log_probs[chosen],
        )
        return log_probs[chosen], part, self.entropies[chosen]


@st.composite
def ragged_batches(draw: st.DrawFn) -> RaggedBatch:
    rows, length = draw(st.integers(1, 7)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(rows, length, generator=generator) < 0.6
    mask[:, 1] = True
    log_probs = -3 * torch.rand(rows, length, generator=generator, dtype=torch.float64)
    proximal = log_probs + 0.4 * normal(rows, length)
    behaviour = proximal + 0.4 * normal(rows, length)
    reference = log_probs + 0.4 * normal(rows, length)
    entropies = normal(rows, length).abs()
    for tensor in (log_probs, proximal, behaviour, reference, entropies):
        tensor[~mask] = math.nan
    return RaggedBatch(
        log_probs,
        entropies,
        PolicyBatch(
            mask=mask,
            advantages=normal(rows) * (torch.rand(rows, generator=generator) < 0.9),
            levels=(torch.rand(rows, generator=generator) < 0.4).long(),
            stale=torch.rand(rows, generator=generator) < 0.5,
            behaviour_log_probs=behaviour,
            proximal_log_probs=proximal if draw(st.integers(0, 4)) else None,
            reference_log_probs=reference,
        ),
    )


@st.composite
def objectives(draw: st.DrawFn, *, mixed_batch: bool = False) -> ObjectiveConfig:
    """Any combination of options that the recipe allows."""
    aggregation = draw(st.sampled_from(["token_mean", "sequence_mean", "sequence_mean_token_sum_norm"]))
    when, mode = draw(st.sampled_from(["stale", "always", "never"])), draw(st.sampled_from(["truncate", "mask"]))
    off_policy = {
        "level": draw(st.sampled_from(["token", "sequence"])),
        "mode": mode,
        "upper": draw(st.sampled_from([1.1, 2.0])),
        **({"lower": 0.7} if mode == "mask" else {}),
    }
    levels = {"denominator": draw(st.sampled_from(["per_level", "shared"])), "step_weight": 0.7, "episode_weight": 1.2}
    pooled = {"denominator": "shared", "mixed_batch": True}
    return ObjectiveConfig.model_validate(
        {
            "ratio": draw(st.sampled_from(["token", "sequence"])),
            "dual_clip": draw(st.sampled_from([None, 1.3, 3.0])),
            "aggregation": "token_mean" if mixed_batch else aggregation,
            "norm_tokens": 11 if aggregation == "sequence_mean_token_sum_norm" and not mixed_batch else None,
            "nll_weight": draw(st.sampled_from([0.0, 0.3])),
            "kl_weight": draw(st.sampled_from([0.0, 0.2])),
            "entropy_weight": draw(st.sampled_from([0.0, 0.1])),
            "off_policy": {"when": when, **({} if when == "never" else off_policy)},
            **(pooled if mixed_batch else levels),
        }
    )


def reference_loss(ragged: RaggedBatch, log_probs: Tensor, config: ObjectiveConfig) -> Tensor:
    """Equation 10 of the whole mini-batch."""
    rows = [_Row(ragged, index, log_probs) for index in range(len(log_probs))]
    loss = torch.zeros((), dtype=torch.float64)
    for level, weight in ((GroupKind.EPISODE, config.episode_weight), (GroupKind.STEP, config.step_weight)):
        members = [row for row in rows if row.level is level]
        counted = rows if config.denominator == "shared" else members
        tokens = sum(len(row.positions) for row in counted)
        positive_tokens = sum(len(row.positions) for row in counted if row.advantage > 0)
        for row in members:
            terms = [row.policy(t, config) + row.regularisation(t, config) for t in row.positions]
            match config.aggregation:
                case "token_mean":
                    loss = loss + weight * sum(terms) / tokens
                case "sequence_mean":
                    loss = loss + weight * sum(terms) / len(row.positions) / len(counted)
                case "sequence_mean_token_sum_norm":
                    assert config.norm_tokens is not None
                    loss = loss + weight * sum(terms) / config.norm_tokens / len(counted)
            if row.advantage > 0:
                nll = sum(-row.log_probs[t] for t in row.positions)
                loss = loss + weight * config.nll_weight * nll / positive_tokens
    return loss


def release_loss(
    ragged: RaggedBatch, log_probs: Tensor, micro_batches: list[list[int]], config: ObjectiveConfig
) -> Tensor:
    """What the release minimises: micro-batch means, weighted by ``#sequences / mini-batch size`` (spec D.1, E.6)."""
    loss = torch.zeros((), dtype=torch.float64)
    for chosen in micro_batches:
        rows = [_Row(ragged, index, log_probs) for index in chosen]
        terms = [row.policy(t, config) + row.regularisation(t, config) for row in rows for t in row.positions]
        nlls = [-row.log_probs[t] for row in rows for t in row.positions if row.advantage > 1e-7]
        mean = sum(terms) / len(terms) + config.nll_weight * sum(nlls) / max(1, len(nlls))
        loss = loss + mean * len(chosen) / len(log_probs)
    return loss


class _Row:
    def __init__(self, ragged: RaggedBatch, index: int, log_probs: Tensor) -> None:
        batch = ragged.batch
        self.positions = [t for t in range(batch.mask.shape[1]) if batch.mask[index, t]]
        self.level = LEVELS[int(batch.levels[index])]
        self.advantage = batch.advantages[index].item()
        self.stale = bool(batch.stale[index])
        self.log_probs = log_probs[index]
        self.behaviour = batch.behaviour_log_probs[index]
        self.proximal = None if batch.proximal_log_probs is None else batch.proximal_log_probs[index]
        self.reference = batch.reference_log_probs[index] if batch.reference_log_probs is not None else None
        self.entropies = ragged.entropies[index]

    def policy(self, t: int, config: ObjectiveConfig) -> Tensor:
        """Minus the clipped surrogate of equation 4, at most ``-c A`` for negative advantages."""
        rho, a = self.ratio(t, config), torch.tensor(self.advantage, dtype=torch.float64)
        gain = torch.minimum(rho * a, torch.clip(rho, 1 - config.clip_low, 1 + config.clip_high) * a)
        if a < 0 and config.dual_clip is not None:
            gain = torch.maximum(gain, config.dual_clip * a)
        return -self.importance(t, config.off_policy) * gain

    def ratio(self, t: int, config: ObjectiveConfig) -> Tensor:
        old = self.behaviour if self.proximal is None else self.proximal
        if config.ratio == "token":
            return torch.exp(self.log_probs[t] - old[t])
        product = math.prod([torch.exp(self.log_probs[u] - old[u]) for u in self.positions], start=torch.ones(()))
        return product ** (1 / len(self.positions))

    def importance(self, t: int, config: OffPolicyConfig) -> float:
        if config.when == "never" or (config.when == "stale" and not self.stale) or self.proximal is None:
            return 1.0
        chosen = [t] if config.level == "token" else self.positions
        weight = math.exp(sum((self.proximal[u] - self.behaviour[u]).item() for u in chosen))
        if config.mode == "truncate":
            return min(weight, config.upper)
        return weight if config.lower <= weight <= config.upper else 0.0

    def regularisation(self, t: int, config: ObjectiveConfig) -> Tensor:
        """``beta (r - 1 - log r) - gamma H`` with ``r = pi_ref / pi``."""
        assert self.reference is not None
        r = torch.exp(self.reference[t]) / torch.exp(self.log_probs[t])
        return config.kl_weight * (r - 1 - torch.log(r)) - config.entropy_weight * self.entropies[t]
