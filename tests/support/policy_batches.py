"""A mini-batch of three short sequences for the objectives."""

from typing import Any

import torch

from thor_ray.objectives import (
    LEVELS,
    PolicyBatch,
)
from thor_ray.trajectory import GroupKind

EPISODE, STEP = GroupKind.EPISODE, GroupKind.STEP


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
