"""A rank refuses calls that come too early, and settings that would train wrongly."""

from pathlib import Path

import pytest

from learners.policy_spec import PolicySpec
from learners.worker import LearnerStateError, LearnerWorker
from thor_ray.config import OptimizerConfig


def test_no_update_before_a_stage_begins():
    with pytest.raises(LearnerStateError, match="begin_sft or begin_rl"):
        LearnerWorker().update_sft([], 1)


def test_no_stage_before_the_policy_is_there():
    with pytest.raises(LearnerStateError, match="setup"):
        LearnerWorker().configure_optimizer(OptimizerConfig(), 1, 1.0)


def test_bfloat16_needs_zero():
    with pytest.raises(ValueError, match="use stage 1"):
        PolicySpec(Path("model"), "bfloat16", 0, gradient_checkpointing=False, packing=False, threads=1)
