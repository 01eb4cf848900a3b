"""The objectives against values worked out by hand, and the properties that every batch must have (spec D.1, E.6)."""

import math
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from thor_ray.config import ObjectiveConfig, OffPolicyConfig
from thor_ray.objectives import (
    LEVELS,
    MissingInputError,
    PolicyBatch,
    PolicyStatistics,
    TokenCounts,
    clipped_surrogate,
    denominators,
    group_advantages,
    importance_weights,
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


def a_batch(**changes: object) -> PolicyBatch:
    """Two episode rows with 3 + 1 tokens and advantages +1, -1; one step row with 2 tokens and advantage +2."""
    log_probs = torch.full((3, 4), -0.5)
    fields: dict[str, Any] = {
        "mask": torch.tensor([[False, True, True, True], [False, False, True, False], [False, True, True, False]]),
        "advantages": torch.tensor([1.0, -1.0, 2.0]),
        "levels": torch.tensor([LEVELS.index(EPISODE), LEVELS.index(EPISODE), LEVELS.index(STEP)]),
        "stale": torch.zeros(3, dtype=torch.bool),
        "behaviour_log_probs": log_probs,
        "proximal_log_probs": log_probs,
    }
    return PolicyBatch(**(fields | changes))


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


class TestImportanceWeights:
    """Log-weights of +1, -1 in one row and +0.1 in the other."""

    mask = torch.tensor([[True, True], [True, False]])
    gap = torch.tensor([[1.0, -1.0], [0.1, 50.0]])

    def weights(self, stale: tuple[bool, bool] = (True, True), **options: object) -> list[list[float]]:
        behaviour = torch.full((2, 2), -1.0)
        batch = PolicyBatch(
            self.mask,
            torch.ones(2),
            torch.zeros(2, dtype=torch.int64),
            torch.tensor(stale),
            behaviour,
            behaviour + self.gap,
        )
        found: list[list[float]] = importance_weights(batch, OffPolicyConfig.model_validate(options)).weights.tolist()
        return found

    def test_tokens_are_truncated_from_above(self):
        assert self.weights() == [pytest.approx([2.0, math.exp(-1)]), pytest.approx([math.exp(0.1), 1])]

    def test_fresh_sequences_are_left_alone_unless_always(self):
        assert self.weights((False, False)) == [[1, 1], [1, 1]]
        assert self.weights((True, False))[1] == [1, 1]
        assert self.weights((False, False), when="always") == self.weights()

    def test_never_corrects_nothing(self):
        assert self.weights(when="never") == [[1, 1], [1, 1]]

    def test_tokens_out_of_bounds_are_masked_out(self):
        assert self.weights(mode="mask", lower=0.5) == [[0, 0], pytest.approx([math.exp(0.1), 1])]

    def test_sequences_have_the_product_of_their_tokens(self):
        assert self.weights(level="sequence") == [pytest.approx([1, 1]), pytest.approx([math.exp(0.1), 1])]
        assert self.weights(level="sequence", mode="mask", upper=1.05) == [pytest.approx([1, 1]), [0, 1]]

    @pytest.mark.parametrize(("mode", "weight"), [("truncate", 2.0), ("mask", 0.0)])
    def test_a_weight_that_overflows_is_out_of_bounds(self, mode, weight):
        vast = a_batch(stale=torch.ones(3, dtype=torch.bool), behaviour_log_probs=torch.full((3, 4), -400.0))
        found = importance_weights(vast, OffPolicyConfig(level="sequence", mode=mode)).weights
        assert found[vast.mask].eq(weight).all()

    def test_they_scale_the_gradient(self):
        log_probs = torch.full((3, 4), -0.5, requires_grad=True)
        batch = a_batch(
            stale=torch.ones(3, dtype=torch.bool), behaviour_log_probs=torch.full((3, 4), -0.5 - math.log(1.5))
        )
        config = ObjectiveConfig(nll_weight=0)
        loss, statistics = policy_loss(log_probs, batch, denominators(batch.counts(), "per_level"), config)
        loss.backward()
        assert log_probs.grad is not None
        assert log_probs.grad[0, 1].item() == pytest.approx(-1.5 / 4)
        assert statistics.metrics()["corrected_fraction"] == 1
        assert statistics.metrics()["limited_fraction"] == 0

    def test_they_have_no_gradient_themselves(self):
        proximal = torch.full((3, 4), -0.5, requires_grad=True)
        batch = a_batch(stale=torch.ones(3, dtype=torch.bool), proximal_log_probs=proximal)
        assert not importance_weights(batch, OffPolicyConfig()).weights.requires_grad

    def test_without_proximal_log_probs_the_ratio_itself_makes_up_for_it(self):
        batch = a_batch(stale=torch.ones(3, dtype=torch.bool), proximal_log_probs=None)
        assert importance_weights(batch, OffPolicyConfig(when="always")).weights.eq(1).all()


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
    old = torch.full((2, 3), -1.0)

    def of(self, rows: slice, **options: object) -> PolicyStatistics:
        ratios = torch.tensor([[1.0, 1.5, 1.1], [1.0, 5.0, 1.0]])
        batch = PolicyBatch(
            mask=self.mask[rows],
            advantages=torch.tensor([1.0, -1.0])[rows],
            levels=torch.zeros(2, dtype=torch.int64)[rows],
            stale=torch.tensor([True, False])[rows],
            behaviour_log_probs=self.old[rows] - 1,
            proximal_log_probs=self.old[rows],
            reference_log_probs=self.old[rows] + ratios[rows].log() + math.log(2),
        )
        config = ObjectiveConfig.model_validate(options)
        entropies = torch.full((2, 3), 0.25)[rows]
        log_probs = self.old[rows] + ratios[rows].log()
        return policy_loss(log_probs, batch, denominators(batch.counts(), "per_level"), config, entropies)[1]

    def test_pencil_values(self):
        metrics = self.of(slice(None)).metrics()
        assert metrics["ratio_mean"] == pytest.approx((1.5 + 1.1 + 5) / 3)
        assert (metrics["ratio_min"], metrics["ratio_max"]) == pytest.approx((1.1, 5.0))
        assert metrics["clip_fraction"] == pytest.approx(1 / 3)
        assert metrics["dual_clip_fraction"] == pytest.approx(1 / 3)
        assert metrics["mismatch_max_abs"] == pytest.approx(1)
        assert metrics["mismatch_kl"] == pytest.approx(math.e - 1 - 1, rel=1e-5)
        assert metrics["surprisal"] == pytest.approx(1 - math.log(1.5 * 1.1 * 5) / 3)
        assert metrics["reference_kl"] == pytest.approx(2 - 1 - math.log(2), rel=1e-5)
        assert metrics["entropy"] == 0.25

    def test_the_correction_is_told_as_share_of_tokens(self):
        metrics = self.of(slice(None)).metrics()
        assert metrics["importance_mean"] == pytest.approx(math.e)
        assert metrics["effective_samples"] == pytest.approx(1)
        assert metrics["corrected_fraction"] == pytest.approx(2 / 3)
        assert metrics["limited_fraction"] == pytest.approx(2 / 3)
        assert self.of(slice(None), off_policy={"when": "never"}).metrics()["corrected_fraction"] == 0

    def test_uneven_weights_leave_fewer_samples(self):
        # Weights 1, 1, 4 of three tokens: (1 + 1 + 4)² / (3 · 18).
        batch = a_batch(
            mask=torch.tensor([[False, True, True, True]]),
            advantages=torch.ones(1),
            levels=torch.zeros(1, dtype=torch.int64),
            stale=torch.zeros(1, dtype=torch.bool),
            behaviour_log_probs=torch.tensor([[0.0, -0.5, -0.5, -0.5 - math.log(4)]]),
            proximal_log_probs=torch.full((1, 4), -0.5),
        )
        _, statistics = policy_loss(torch.full((1, 4), -0.5), batch, denominators(batch.counts(), "shared"), CONFIG)
        assert statistics.metrics()["effective_samples"] == pytest.approx(36 / 54)

    def test_merging_parts_gives_the_whole(self):
        merged = PolicyStatistics().merge(self.of(slice(0, 1))).merge(self.of(slice(1, 2)))
        assert merged.metrics() == pytest.approx(self.of(slice(None)).metrics())

    def test_figures_of_what_was_not_computed_are_left_out(self):
        batch = a_batch()
        _, statistics = policy_loss(torch.full((3, 4), -0.5), batch, denominators(batch.counts(), "shared"), CONFIG)
        assert not {"reference_kl", "entropy"} & set(statistics.metrics())

    def test_no_tokens_no_metrics(self):
        with pytest.raises(ValueError, match="no tokens"):
            PolicyStatistics().metrics()

    def test_a_micro_batch_without_tokens_in_the_loss_adds_nothing(self):
        batch = a_batch(mask=torch.zeros(3, 4, dtype=torch.bool))
        loss, statistics = policy_loss(torch.full((3, 4), -0.5), batch, denominators(batch.counts(), "shared"), CONFIG)
        assert loss.item() == 0
        assert statistics == PolicyStatistics()
