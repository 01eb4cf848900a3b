"""Importance weights of stale sequences, and what the loss tells about itself (spec D.4)."""

import math

import pytest
import torch

from tests.support.policy_batches import a_batch
from thor_ray.config import ObjectiveConfig, OffPolicyConfig
from thor_ray.objectives import (
    PolicyBatch,
    PolicyStatistics,
    denominators,
    importance_weights,
    policy_loss,
)

CONFIG = ObjectiveConfig()


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
