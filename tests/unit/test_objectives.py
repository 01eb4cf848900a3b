"""The objectives against values worked out by hand, and the properties that every batch must have (spec D.1, E.6)."""

import math
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.policy_batches import a_batch
from thor_ray.config import ObjectiveConfig
from thor_ray.objectives import (
    MissingInputError,
    PolicyBatch,
    TokenCounts,
    clipped_surrogate,
    denominators,
    group_advantages,
    k3_divergence,
    log_ratios,
    policy_loss,
    supervised_sum,
)
from thor_ray.trajectory import GroupKind

EPISODE, STEP = GroupKind.EPISODE, GroupKind.STEP
CONFIG = ObjectiveConfig()


def surrogate(ratio: float, advantage: float, config: ObjectiveConfig = CONFIG) -> tuple[float, float]:
    """Loss of one token, and its derivative by the log-prob."""
    log_prob = torch.tensor([[math.log(ratio)]], requires_grad=True)
    terms = clipped_surrogate(log_prob, torch.tensor([[advantage]]), config)
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

    def test_dr_grpo_only_centres(self):
        centred = group_advantages([1, 0, 0, 0], divide_by_deviation=False)
        assert centred.tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])

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

    @pytest.mark.parametrize("advantage", [2.0, -2.0])
    @pytest.mark.parametrize("dual_clip", [3.0, None])
    @pytest.mark.parametrize("log_ratio", [500.0, -500.0])
    def test_no_ratio_overflows(self, advantage, dual_clip, log_ratio):
        log_prob = torch.tensor([[log_ratio]], requires_grad=True)
        terms = clipped_surrogate(log_prob, torch.tensor([[advantage]]), ObjectiveConfig(dual_clip=dual_clip))
        terms.loss.sum().backward()
        assert log_prob.grad is not None
        assert math.isfinite(terms.loss.item())
        assert log_prob.grad.item() == 0

    def test_flags_tell_the_two_clips_apart(self):
        log_probs = torch.log(torch.tensor([[1.0, 1.5, 5.0]]))
        advantages = torch.tensor([[1.0, 1.0, -1.0]])
        terms = clipped_surrogate(log_probs, advantages, CONFIG)
        assert terms.clipped.tolist() == [[False, True, False]]
        assert terms.dual_clipped.tolist() == [[False, False, True]]


class TestDenominators:
    counts: ClassVar = {EPISODE: TokenCounts(100, 40, 7), STEP: TokenCounts(20, 5, 3)}

    def test_per_level_keeps_each_its_own(self):
        assert denominators(self.counts, "per_level") == self.counts

    def test_shared_adds_both(self):
        assert denominators(self.counts, "shared") == dict.fromkeys(GroupKind, TokenCounts(120, 45, 10))

    def test_a_missing_level_counts_nothing(self):
        assert denominators({EPISODE: TokenCounts(3, 1, 1)}, "per_level")[STEP] == TokenCounts()


class TestPolicyLoss:
    """With ratio 1 everywhere: surrogates -1 (3 tokens), +1 (1 token), -2 (2 tokens), and 0.5 of NLL per token."""

    def loss(self, batch: PolicyBatch | None = None, entropies: Tensor | None = None, **options: object) -> float:
        config, batch = ObjectiveConfig.model_validate({"nll_weight": 0} | options), batch or a_batch()
        divisors = denominators(batch.counts(), config.denominator)
        return policy_loss(torch.full((3, 4), -0.5), batch, divisors, config, entropies)[0].item()

    def test_token_mean_divides_each_level_by_its_tokens(self):
        assert self.loss() == pytest.approx((-3 + 1) / 4 - 4 / 2)

    def test_shared_denominator(self):
        assert self.loss(denominator="shared") == pytest.approx((-3 + 1 - 4) / 6)

    def test_sequence_mean_is_equation_4(self):
        assert self.loss(aggregation="sequence_mean") == pytest.approx((-1 + 1) / 2 - 2)

    def test_token_sum_by_a_constant(self):
        options: dict[str, Any] = {"aggregation": "sequence_mean_token_sum_norm", "norm_tokens": 8}
        assert self.loss(**options) == pytest.approx((-3 / 8 + 1 / 8) / 2 - 4 / 8)

    def test_sequence_means_share_a_denominator_of_sequences(self):
        assert self.loss(aggregation="sequence_mean", denominator="shared") == pytest.approx((-1 + 1 - 2) / 3)

    def test_weights_scale_each_level(self):
        assert self.loss(episode_weight=3, step_weight=0.5) == pytest.approx(3 * -0.5 + 0.5 * -2)

    def test_alpha_weighs_the_likelihood_of_positives_by_their_own_tokens(self):
        assert self.loss(nll_weight=0.1) - self.loss() == pytest.approx(0.1 * (0.5 + 0.5))
        # Episode 3 of the 5 positive tokens, step 2.
        assert self.loss(nll_weight=0.1, denominator="shared") - self.loss(denominator="shared") == pytest.approx(0.05)

    def test_without_positives_there_is_no_likelihood(self):
        negative = a_batch(advantages=torch.tensor([-1.0, -1.0, -1.0]))
        assert self.loss(negative, nll_weight=1) == self.loss(negative)

    def test_the_reference_pulls_by_k3(self):
        reference = torch.full((3, 4), -0.5 + math.log(2))
        pull = 2 - 1 - math.log(2)
        batch = a_batch(reference_log_probs=reference)
        assert self.loss(batch, kl_weight=0.3) - self.loss() == pytest.approx(0.3 * 2 * pull)

    def test_entropy_is_a_bonus(self):
        entropies = torch.full((3, 4), 1.5)
        assert self.loss(entropies=entropies, entropy_weight=0.1) - self.loss() == pytest.approx(-0.1 * 2 * 1.5)

    def test_a_level_without_tokens_adds_nothing(self):
        only_episodes = a_batch(levels=torch.zeros(3, dtype=torch.int64))
        assert self.loss(only_episodes) == pytest.approx((-3 + 1 - 4) / 6)

    def test_what_an_option_needs_must_be_there(self):
        with pytest.raises(MissingInputError, match="reference_log_probs"):
            self.loss(kl_weight=0.1)
        with pytest.raises(MissingInputError, match="entropies"):
            self.loss(entropy_weight=0.1)

    def test_a_row_without_tokens_in_the_loss_is_no_sequence(self):
        mask = a_batch().mask.clone()
        mask[0] = False
        assert a_batch(mask=mask).counts() == {EPISODE: TokenCounts(1, 0, 1), STEP: TokenCounts(2, 2, 1)}

    @pytest.mark.parametrize(
        ("field", "value", "fault"),
        [
            ("mask", torch.ones(3, 4), "bool"),
            ("stale", torch.zeros(2, dtype=torch.bool), "stale has shape"),
            ("behaviour_log_probs", torch.zeros(3, 5), "behaviour_log_probs has shape"),
            ("reference_log_probs", torch.zeros(4, 3), "reference_log_probs has shape"),
        ],
    )
    def test_tensors_that_do_not_fit_are_refused(self, field, value, fault):
        with pytest.raises(ValueError, match=fault):
            a_batch(**{field: value})


class TestMixedBatch:
    """The release averages within micro-batches; the same rows give another loss when they are cut otherwise."""

    config = ObjectiveConfig(nll_weight=0, denominator="shared", mixed_batch=True)

    def loss(self, *micro_batches: list[int]) -> float:
        whole = a_batch()
        divisors = denominators(whole.counts(), "shared")
        total = 0.0
        for rows in micro_batches:
            part = PolicyBatch(
                whole.mask[rows],
                whole.advantages[rows],
                whole.levels[rows],
                whole.stale[rows],
                torch.full((len(rows), 4), -0.5),
            )
            total += policy_loss(torch.full((len(rows), 4), -0.5), part, divisors, self.config)[0].item()
        return total

    def test_pencil_values(self):
        assert self.loss([0, 1, 2]) == pytest.approx(-6 / 6)
        assert self.loss([0], [1, 2]) == pytest.approx(1 / 3 * -3 / 3 + 2 / 3 * (1 - 4) / 3)


class TestSequenceRatio:
    def test_all_tokens_have_the_geometric_mean(self):
        log_probs = torch.tensor([[9.0, -1.0, -2.0, -0.5], [9.0, 9.0, -1.0, 9.0], [9.0, -0.5, -0.3, 9.0]])
        ratios = log_ratios(log_probs, a_batch(), ObjectiveConfig(ratio="sequence"))
        assert ratios.tolist() == [
            pytest.approx([0, -2 / 3, -2 / 3, -2 / 3]),
            pytest.approx([0, 0, -0.5, 0]),
            pytest.approx([0, 0.1, 0.1, 0]),
        ]

    def test_clipping_takes_whole_sequences(self):
        # The sequence's mean is within bounds, though single tokens are far out: all learn, none is clipped.
        log_probs = torch.full((3, 4), -0.5)
        log_probs[0] = torch.tensor([0.0, 0.5, -1.5, -0.5])
        log_probs.requires_grad_()
        config = ObjectiveConfig(ratio="sequence", nll_weight=0, aggregation="sequence_mean")
        batch = a_batch()
        loss, statistics = policy_loss(log_probs, batch, denominators(batch.counts(), "per_level"), config)
        loss.backward()
        assert log_probs.grad is not None
        assert statistics.clipped == 0
        assert log_probs.grad[0, 1:].unique().numel() == 1


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
