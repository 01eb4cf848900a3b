"""Differences of learner and engine by the age of the weights that sampled."""

import numpy as np
import pytest

from learners.mismatch import lag_name, mismatch_by_lag
from learners.sequences import TrainingSequence
from thor_ray.metrics_registry import LAGS
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
    figures = mismatch_by_lag([sequence(7, 0.0), sequence(6, 0.5), sequence(6, -0.5)], version=7)
    assert figures["mismatch_abs/lag_0"] == figures["mismatch_k3/lag_0"] == 0
    assert figures["mismatch_abs/lag_1"] == figures["mismatch_p99/lag_1"] == pytest.approx(0.5)
    assert figures["mismatch_k3/lag_1"] == pytest.approx((np.exp(0.5) + np.exp(-0.5)) / 2 - 1)
    assert {name.partition("/")[2] for name in figures} == {"lag_0", "lag_1"}


def test_there_are_as_many_names_of_lags_as_are_registered():
    assert tuple(dict.fromkeys(lag_name(lag) for lag in range(9))) == LAGS


def test_a_sequence_without_the_learners_log_probs_is_refused():
    with pytest.raises(ValueError, match="group g has no log-probs"):
        mismatch_by_lag([sequence(0, 0.0, attached=False)], version=0)
