"""The learning rate, set by hand for each update."""

import math

from thor_ray.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, update: int, total_updates: int) -> float:
    """The learning rate of one update.

    It rises linearly over ``warmup_updates``; then it stays, or falls, in a line or along half a cosine, so that it
    would be 0 at ``total_updates``. The first update already learns, and so does the last one.

    Args:
        config: Peak and shape.
        update: Counts from 0.
        total_updates: Planned number of updates; only schedules that decay look at it.
    """
    if update < config.warmup_updates:
        return config.learning_rate * (update + 1) / config.warmup_updates
    if config.schedule == "constant":
        return config.learning_rate
    remaining = max(0, total_updates - update) / max(1, total_updates - config.warmup_updates)
    if config.schedule == "linear":
        return config.learning_rate * remaining
    return config.learning_rate * (1 - math.cos(math.pi * remaining)) / 2
