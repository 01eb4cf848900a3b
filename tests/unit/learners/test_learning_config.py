"""Sections of the recipe on learning refuse what would do nothing or cannot work (invariant 13)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from learners.zero import engine_config
from thor_ray.config import LearnerConfig, OffloadConfig, OptimizerConfig, Recipe

DISK = Path("/disk")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_stage": 2, "offload": {"parameters": "cpu"}}, r"offload\.parameters needs zero_stage: 3, not 2"),
        ({"zero_stage": 0, "offload": {"optimizer": "cpu"}}, "does nothing with zero_stage: 0"),
        ({"zero_stage": 2, "offload": {"optimizer": "nvme", "nvme_path": "/disk"}}, "nvme needs zero_stage: 3"),
        ({"zero_stage": 3, "offload": {"optimizer": "nvme"}}, "need each other"),
        ({"zero_stage": 3, "offload": {"optimizer": "cpu", "nvme_path": "/disk"}}, "need each other"),
        ({"checkpoints_kept": 0}, "greater than or equal to 1"),
        ({"max_skipped_updates": 0}, "greater than or equal to 1"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"ranks": 3, "sequence_parallel": 2}, r"sequence_parallel is 2, which does not divide learner\.ranks 3"),
        ({"sequence_parallel": 2}, r"does not divide learner\.ranks 1"),
        ({"ranks": 2, "sequence_parallel": 2, "packing": False}, r"set learner\.packing: true"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        LearnerConfig.model_validate(options)


def test_ranks_that_share_sequences_make_room_for_longer_ones():
    learner = {"ranks": 2, "micro_batch_tokens": 512}
    with pytest.raises(ValidationError, match="max_context 1024 tokens must fit a micro-batch"):
        Recipe.model_validate({"learner": learner, "policy": {"max_context": 1024}})
    shared = {"learner": {**learner, "sequence_parallel": 2}}
    Recipe.model_validate({**shared, "policy": {"max_context": 1024}})
    with pytest.raises(ValidationError, match=r"is 512 on each of 2 ranks: .*max_context 1025"):
        Recipe.model_validate({**shared, "policy": {"max_context": 1025}})


def test_offloading_is_handed_to_deepspeed():
    offload = OffloadConfig(optimizer="nvme", parameters="cpu", nvme_path=DISK)
    found = engine_config(OptimizerConfig(), 3, torch.bfloat16, offload)["zero_optimization"]
    assert found == {
        "stage": 3,
        "offload_optimizer": {"device": "nvme", "nvme_path": "/disk"},
        "offload_param": {"device": "cpu"},
    }


def test_without_offloading_nothing_is_said_of_it():
    found = engine_config(OptimizerConfig(), 2, torch.float32, OffloadConfig())
    assert found["zero_optimization"] == {"stage": 2}
