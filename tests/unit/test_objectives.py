"""The objectives against values worked out by hand, and the properties that every batch must have (spec D.1, E.6)."""

import itertools
import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thor_ray.config import ObjectiveConfig
from thor_ray.objectives import (
    LevelSums,
    PolicyStatistics,
    TokenCounts,
    clipped_surrogate,
    denominators,
    group_advantages,
    joint_loss,
    k3_divergence,
    level_sums,
    policy_statistics,
    supervised_sum,
)
from thor_ray.trajectory import GroupKind

EPISODE, STEP = GroupKind.EPISODE, GroupKind.STEP
CONFIG = ObjectiveConfig()


def surrogate(ratio: float, advantage: float, config: ObjectiveConfig = CONFIG) -> tuple[float, float]:
    """Loss of one token, and its derivative by the log-prob."""
    log_prob = torch.tensor([[math.log(ratio)]], requires_grad=True)
    terms = clipped_surrogate(log_prob, torch.zeros(1, 1), torch.tensor([[advantage]]), config)
    terms.loss.sum().backward()
    assert log_prob.grad is not None
    return terms.loss.item(), log_prob.grad.item()


class TestGroupAdvantages:
    def test_pencil_values(self):
        # Mean 0.25, unbiased variance (0.75² + 3 · 0.25²) / 3 = 0.25, deviation 0.5.
        assert group_advantages([1, 0, 0, 0]).tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)

    def test_a_group_of_one_has_mean_zero_and_deviation_one(self):
        assert group_advantages([1.0]).tolist() == pytest.approx([1 / (1 + 1e-6)])
        assert group_advantages([0.0]).tolist() == [0.0]

    def test_no_survivors_are_refused(self):
        with pytest.raises(ValueError, match="without survivors"):
            group_advantages([])

    @given(st.lists(st.sampled_from([0.0, 1.0, -0.5]), min_size=2, max_size=32))
    def test_mean_is_zero_and_deviation_one_or_zero(self, rewards):
        advantages = group_advantages(rewards)
        assert advantages.mean().item() == pytest.approx(0, abs=1e-5)
        expected = 0.0 if len(set(rewards)) == 1 else 1.0
        assert advantages.std().item() == pytest.approx(expected, abs=1e-4)

    @given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16))
    def test_better_rewards_have_larger_advantages(self, rewards):
        pairs = sorted(zip(rewards, group_advantages(rewards).tolist(), strict=True))
        assert [advantage for _, advantage in pairs] == sorted(advantage for _, advantage in pairs)


class TestClippedSurrogate:
    @pytest.mark.parametrize(
        ("ratio", "advantage", "loss", "gradient"),
        [
            (1.0, 2.0, -2.0, -2.0),
            (1.25, 2.0, -2.5, -2.5),  # within 1.28
            (1.5, 2.0, -2.56, 0.0),  # clipped high: 2 · 1.28
            (0.5, 2.0, -1.0, -1.0),  # a good token that became rare is pulled back without bound
            (0.5, -2.0, 1.6, 0.0),  # clipped low: 2 · 0.8
            (0.9, -2.0, 1.8, 1.8),
            (2.0, -2.0, 4.0, 4.0),
            (5.0, -2.0, 6.0, 0.0),  # dual clip: 3 · 2
        ],
    )
    def test_pencil_values(self, ratio, advantage, loss, gradient):
        assert surrogate(ratio, advantage) == pytest.approx((loss, gradient), rel=1e-5)

    def test_the_upper_bound_lies_further_from_one_than_the_lower(self):
        # At the same distance of 0.25 a rising good token still learns, a falling bad one does not.
        assert surrogate(1.25, 1.0)[1] != 0
        assert surrogate(0.75, -1.0)[1] == 0

    def test_without_dual_clip_the_loss_of_negative_advantages_has_no_bound(self):
        loss, gradient = surrogate(50.0, -2.0, ObjectiveConfig(dual_clip=None))
        assert (loss, gradient) == pytest.approx((100.0, 100.0), rel=1e-5)

    @given(st.floats(-5, 5), st.floats(-3, 3))
    def test_it_never_promises_more_than_the_unclipped_surrogate(self, log_ratio, advantage):
        config = ObjectiveConfig(dual_clip=None)
        loss, _ = surrogate(math.exp(log_ratio), advantage, config)
        promised = -advantage * math.exp(log_ratio)
        assert loss >= promised - 1e-3 * abs(promised) - 1e-30

    def test_flags_tell_the_two_clips_apart(self):
        log_probs = torch.log(torch.tensor([[1.0, 1.5, 5.0]]))
        advantages = torch.tensor([[1.0, 1.0, -1.0]])
        terms = clipped_surrogate(log_probs, torch.zeros(1, 3), advantages, CONFIG)
        assert terms.clipped.tolist() == [[False, True, False]]
        assert terms.dual_clipped.tolist() == [[False, False, True]]


class TestDenominators:
    counts: ClassVar = {EPISODE: TokenCounts(100, 40), STEP: TokenCounts(20, 5)}

    def test_per_level_keeps_each_its_own(self):
        assert denominators(self.counts, "per_level") == self.counts

    def test_shared_adds_both(self):
        assert denominators(self.counts, "shared") == dict.fromkeys(GroupKind, TokenCounts(120, 45))

    def test_a_missing_level_counts_nothing(self):
        assert denominators({EPISODE: TokenCounts(3, 1)}, "per_level")[STEP] == TokenCounts()


def loss_of(
    log_probs: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    is_step: Tensor,
    config: ObjectiveConfig,
    divisors: dict[GroupKind, TokenCounts] | None = None,
) -> Tensor:
    """The joint loss of a batch, with the batch's own token counts unless others are given."""
    column = advantages.unsqueeze(1)
    rows = {EPISODE: ~is_step.unsqueeze(1), STEP: is_step.unsqueeze(1)}
    if divisors is None:
        divisors = counts_of(advantages, mask, is_step, config)
    terms = clipped_surrogate(log_probs, old, column, config)
    sums = {level: level_sums(terms, log_probs, column, mask & rows[level]) for level in GroupKind}
    return joint_loss(sums, divisors, config)


def counts_of(
    advantages: Tensor, mask: Tensor, is_step: Tensor, config: ObjectiveConfig
) -> dict[GroupKind, TokenCounts]:
    positive = (advantages > 0).unsqueeze(1)
    rows = {EPISODE: ~is_step.unsqueeze(1), STEP: is_step.unsqueeze(1)}
    counts = {
        level: TokenCounts(int((mask & chosen).sum()), int((mask & chosen & positive).sum()))
        for level, chosen in rows.items()
    }
    return denominators(counts, config.denominator)


class TestJointLoss:
    # Two episode rows with 3 + 1 tokens and advantages +1, -1; one step row with 2 tokens and advantage +2.
    mask = torch.tensor([[False, True, True, True], [False, False, True, False], [False, True, True, False]])
    advantages = torch.tensor([1.0, -1.0, 2.0])
    is_step = torch.tensor([False, False, True])
    log_probs = torch.full((3, 4), -0.5)

    def loss(self, **options: object) -> float:
        config = ObjectiveConfig.model_validate(options)
        return loss_of(self.log_probs, self.log_probs, self.advantages, self.mask, self.is_step, config).item()

    def test_pencil_value_per_level(self):
        # Ratio 1 everywhere: episode (-3 + 1) / 4 = -0.5, step -4 / 2 = -2; NLL 0.5 per level, times alpha 0.01.
        assert self.loss() == pytest.approx(-0.5 - 2.0 + 0.01 * (0.5 + 0.5))

    def test_pencil_value_shared(self):
        # Policy (-2 - 4) / 6; NLL over 5 positive tokens (3 · 0.5 + 2 · 0.5) / 5.
        assert self.loss(denominator="shared") == pytest.approx(-1.0 + 0.01 * 0.5)

    def test_weights_scale_each_level(self):
        assert self.loss(episode_weight=3, step_weight=0.5) == pytest.approx(3 * (-0.5 + 0.005) + 0.5 * (-2 + 0.005))

    def test_alpha_scales_the_negative_log_likelihood_of_positives_alone(self):
        assert self.loss(nll_weight=1) - self.loss(nll_weight=0) == pytest.approx(0.5 + 0.5)

    def test_a_level_without_tokens_adds_nothing(self):
        only_episodes = torch.zeros(3, dtype=torch.bool)
        config = ObjectiveConfig(nll_weight=0)
        loss = loss_of(self.log_probs, self.log_probs, self.advantages, self.mask, only_episodes, config)
        assert loss.item() == pytest.approx((-3 + 1 - 4) / 6)

    def test_only_tokens_in_the_mask_have_a_gradient(self):
        values = self.log_probs.clone().requires_grad_()
        loss_of(values, self.log_probs, self.advantages, self.mask, self.is_step, CONFIG).backward()
        assert values.grad is not None
        assert values.grad[~self.mask].eq(0).all()
        assert values.grad[self.mask].ne(0).all()


@st.composite
def batches(draw):
    rows, length = draw(st.integers(1, 7)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    mask = torch.rand(rows, length, generator=generator) < 0.6
    mask[:, 1] = True
    log_probs = -3 * torch.rand(rows, length, generator=generator, dtype=torch.float64)
    old = log_probs + 0.5 * torch.randn(rows, length, generator=generator, dtype=torch.float64)
    advantages = torch.randn(rows, generator=generator, dtype=torch.float64)
    is_step = torch.rand(rows, generator=generator) < 0.4
    cuts = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=rows))) if rows > 1 else []
    return log_probs, old, advantages, mask, is_step, [0, *cuts, rows]


@given(batches(), st.sampled_from(["per_level", "shared"]))
def test_gradients_do_not_depend_on_the_split_into_micro_batches(batch, mode):
    log_probs, old, advantages, mask, is_step, cuts = batch
    config = ObjectiveConfig(denominator=mode, step_weight=0.7, nll_weight=0.1)
    divisors = counts_of(advantages, mask, is_step, config)
    whole, split = (log_probs.clone().requires_grad_() for _ in range(2))
    loss = loss_of(whole, old, advantages, mask, is_step, config)
    loss.backward()
    total = 0.0
    for start, end in itertools.pairwise(cuts):
        part = slice(start, end)
        share = loss_of(split[part], old[part], advantages[part], mask[part], is_step[part], config, divisors)
        share.backward()
        total += share.item()
    assert total == pytest.approx(loss.item(), abs=1e-12)
    assert whole.grad is not None
    assert split.grad is not None
    torch.testing.assert_close(split.grad, whole.grad, rtol=1e-12, atol=1e-12)


@given(batches())
def test_the_joint_loss_is_the_equation(batch):
    """Equations 4, 5 and 10, read token by token in plain Python."""
    log_probs, old, advantages, mask, is_step, _ = batch
    expected = 0.0
    for level in (False, True):
        policy, nll = [], []
        for row in range(len(advantages)):
            for token in range(mask.shape[1]):
                if bool(is_step[row]) is not level or not mask[row, token]:
                    continue
                a = advantages[row].item()
                rho = math.exp(log_probs[row, token].item() - old[row, token].item())
                gain = min(rho * a, min(max(rho, 1 - 0.2), 1 + 0.28) * a)
                policy.append(-max(gain, 3 * a) if a < 0 else -gain)
                if a > 0:
                    nll.append(-log_probs[row, token].item())
        expected += (sum(policy) / len(policy) if policy else 0) + 0.01 * (sum(nll) / len(nll) if nll else 0)
    assert loss_of(log_probs, old, advantages, mask, is_step, CONFIG).item() == pytest.approx(expected, abs=1e-9)


def test_supervised_sum_sees_only_the_mask():
    log_probs = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]], requires_grad=True)
    mask = torch.tensor([[False, True, False], [False, True, True]])
    loss = supervised_sum(log_probs, mask)
    loss.backward()
    assert loss.item() == 50.0
    assert log_probs.grad is not None
    assert torch.equal(log_probs.grad, -mask.float())


@given(st.floats(-4, 4))
def test_k3_is_never_negative_and_zero_at_equality(gap):
    assert k3_divergence(torch.tensor(gap), torch.tensor(0.0)).item() >= 0
    assert k3_divergence(torch.tensor(gap), torch.tensor(gap)).item() == 0


def test_k3_estimates_the_divergence():
    old, new = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    estimate = (old * k3_divergence(new.log(), old.log())).sum()
    assert estimate.item() == pytest.approx((old * (old / new).log()).sum().item(), rel=1e-5)


class TestStatistics:
    mask = torch.tensor([[False, True, True], [False, True, False]])
    behaviour = torch.full((2, 3), -1.0)

    def of(self, rows: slice) -> PolicyStatistics:
        ratios = torch.tensor([[1.0, 1.5, 1.1], [1.0, 5.0, 1.0]])
        log_probs = (self.behaviour + ratios.log())[rows]
        advantages = torch.tensor([[1.0], [-1.0]])[rows]
        old, mask = self.behaviour[rows], self.mask[rows]
        terms = clipped_surrogate(log_probs, old, advantages, CONFIG)
        return policy_statistics(terms, log_probs, old, old, old - 0.25, mask)

    def test_pencil_values(self):
        metrics = self.of(slice(None)).metrics()
        assert metrics["ratio_mean"] == pytest.approx((1.5 + 1.1 + 5) / 3)
        assert (metrics["ratio_min"], metrics["ratio_max"]) == pytest.approx((1.1, 5.0))
        assert metrics["clip_fraction"] == pytest.approx(1 / 3)
        assert metrics["dual_clip_fraction"] == pytest.approx(1 / 3)
        assert metrics["mismatch_max_abs"] == pytest.approx(0.25)
        assert metrics["mismatch_kl"] == pytest.approx(math.exp(-0.25) - 1 + 0.25)
        assert metrics["surprisal"] == pytest.approx(1 - math.log(1.5 * 1.1 * 5) / 3)

    def test_merging_parts_gives_the_whole(self):
        merged = PolicyStatistics().merge(self.of(slice(0, 1))).merge(self.of(slice(1, 2)))
        assert merged.metrics() == pytest.approx(self.of(slice(None)).metrics())

    def test_no_tokens_no_metrics(self):
        with pytest.raises(ValueError, match="no tokens"):
            PolicyStatistics().metrics()


def test_level_sums_of_nothing_are_zero():
    log_probs = torch.full((1, 2), -1.0)
    terms = clipped_surrogate(log_probs, log_probs, torch.ones(1, 1), CONFIG)
    sums = level_sums(terms, log_probs, torch.ones(1, 1), torch.zeros(1, 2, dtype=torch.bool))
    assert sums == LevelSums(torch.zeros(()), torch.zeros(()))
