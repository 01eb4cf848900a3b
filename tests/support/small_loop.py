"""The real RL stage in small: two rounds of a few groups, of which none is filtered, without a learning rate.

Weights, and with them all that is sampled, are so the same in every run of it, whatever is killed on the way.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from thor_ray.config import Recipe, validate_recipe
from thor_ray.records import Record, Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog
from thor_ray.stages.hierarchical_rl import hierarchical_rl
from thor_ray.stages.plan import make_plan
from thor_ray.stages.workers import Workers

ROUNDS, GROUPS, SIBLINGS = 2, 6, 2


def small_recipe(policy: Path, engines: int = 1, **rl: Any) -> Recipe:
    """A recipe of the loop for a tiny policy; keyword arguments change section ``rl``."""
    return validate_recipe(
        {
            "policy": {"model": str(policy), "max_context": 512},
            "problems": {"train": {"families": ["gcd"], "levels": [1], "count": 16}, "heldout": {"count": 2}},
            "sandbox": {"timeout_seconds": 60, "preload": []},
            "engine": {
                "actors": engines,
                "max_sequences": 16,
                "kv_cache_mib": 64,
                # Whoever is slow on a busy machine may be taken for dead; that costs time, and nothing else.
                "restarts": {"most": 9, "delay_seconds": 0.1},
                "liveness": {"silence_seconds": 5, "token_seconds": 20},
            },
            "rl": {
                "rounds": ROUNDS,
                "groups_per_round": GROUPS,
                "group_size": SIBLINGS,
                "step_level": False,
                "sampling": {"max_rounds": 2, "max_new_tokens": 96},
                "filters": {"failed_code": False, "min_survivors": 0.0, "zero_variance": False},
                "optimizer": {"learning_rate": 0.0},
                **rl,
            },
        },
        "test",
    )


def train(
    workers: Workers, recipe: Recipe, log: RunLog, on_round: Callable[..., None] = lambda *_: None, done: int = 0
) -> list[Record]:
    """Runs the RL stage, and returns all that it recorded; ``done`` rounds of an earlier attempt stand."""
    plan = make_plan(recipe, (Stage.RL,))
    log.keep_tokenizer(plan.model)
    with log.stage(Stage.RL, done):
        hierarchical_rl(workers, plan.problems, recipe, log, on_round)
    return recorded(log)


def recorded(run: RunDirectory) -> list[Record]:
    """What the RL stage has recorded so far."""
    return list(read_records(run.record_files(Stage.RL)))


def trained(rows: list[Record]) -> list[str]:
    """Ids of the trajectories that trained, in order; one that trained twice stands there twice."""
    return sorted(row.trajectory.id for row in rows if row.learned.advantage is not None)
