"""Differences of learner and engine by the age of the weights that sampled."""

import numpy as np
import pytest
import torch

from learners.mismatch import lag_name, mismatch_by_lag
from learners.sequences import TrainingSequence
from thor_ray.config import OffPolicyConfig
from thor_ray.metrics_registry import LAGS
from thor_ray.objectives import PolicyBatch, importance_weights
from thor_ray.trajectory import GroupKind


def sequence(oldest: int, gap: float, attached: bool = True) -> TrainingSequence:
    """Three sampled tokens on which the learner is ``gap`` more certain; what is masked out differs far more."""
    behaviour = np.array([0, -1, -1, -1, 0], np.float32)
    proximal = behaviour + np.float32(gap)
    proximal[4] = 50
    return TrainingSequence(
        ids=np.arange(5),
        loss_mask=np.array([False, True, True, True, False]),
        behaviour_log_probs=behaviour,
        advantage=1.0,
        level=GroupKind.EPISODE,
        group_uid="g",
        oldest_version=oldest,
        proximal_log_probs=proximal if attached else None,
    )


def test_each_lag_has_its_own_figures_and_masked_tokens_none():
    figures = mismatch_by_lag(
        [sequence(7, 0.0), sequence(6, 0.5), sequence(6, -0.5)], version=7, off_policy=OffPolicyConfig()
    )
    assert figures["mismatch_abs/lag_0"] == figures["mismatch_k3/lag_0"] == 0
    assert figures["mismatch_abs/lag_1"] == figures["mismatch_p99/lag_1"] == pytest.approx(0.5)
    assert figures["mismatch_k3/lag_1"] == pytest.approx((np.exp(0.5) + np.exp(-0.5)) / 2 - 1)
    assert {name.partition("/")[2] for name in figures} == {"lag_0", "lag_1"}


def test_there_are_as_many_names_of_lags_as_are_registered():
    assert tuple(dict.fromkeys(lag_name(lag) for lag in range(9))) == LAGS


def test_a_sequence_without_the_learners_log_probs_is_refused():
    with pytest.raises(ValueError, match="group g has no log-probs"):
        mismatch_by_lag([sequence(0, 0.0, attached=False)], version=0, off_policy=OffPolicyConfig())


def test_without_a_correction_no_token_is_out_of_bounds():
    figures = mismatch_by_lag([sequence(6, 5.0)], 7, OffPolicyConfig(when="never"))
    assert figures["mismatch_limited/lag_1"] == 0


@pytest.mark.parametrize("when", ["stale", "always"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(("mode", "lower"), [("truncate", 0.0), ("mask", 0.0), ("mask", 0.5)])
def test_the_share_out_of_bounds_is_that_of_the_objective(when, level, mode, lower):
    """The objective's own weights are the reference, on sequences of three versions."""
    config = OffPolicyConfig(when=when, level=level, mode=mode, upper=2.0, lower=lower)
    gaps = np.random.default_rng(0).normal(0, 1, 40)
    sequences = [sequence(7 - index % 3, gap) for index, gap in enumerate(gaps)]
    figures = mismatch_by_lag(sequences, 7, config)
    for lag in range(3):
        rows = sequences[lag::3]
        stacked = {
            name: torch.tensor(np.stack([getattr(row, name) for row in rows]))
            for name in ("loss_mask", "behaviour_log_probs", "proximal_log_probs")
        }
        batch = PolicyBatch(
            behaviour_log_probs=stacked["behaviour_log_probs"],
            proximal_log_probs=stacked["proximal_log_probs"],
            mask=stacked["loss_mask"],
            stale=torch.tensor([lag > 0] * len(rows)),
            advantages=torch.ones(len(rows)),
            levels=torch.zeros(len(rows), dtype=torch.long),
        )
        limited = importance_weights(batch, config).limited
        assert figures[f"mismatch_limited/lag_{lag}"] == pytest.approx(float(limited.sum() / batch.mask.sum()))
