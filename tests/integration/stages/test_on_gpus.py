"""An engine and a learner rank in turns on one GPU; skipped where there is none.

The tiny policy leaves room for both at once, so the same processes also show what would have come without turns.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.sampler import RolloutSettings
from learners.publish import WeightPublication
from learners.sequences import from_demonstration
from thor_ray.config import OptimizerConfig, Recipe, SamplingConfig, validate_recipe
from thor_ray.problems import Problem
from thor_ray.stages.workers import Workers, started_workers
from thor_ray.trajectory import Group

pytestmark = pytest.mark.gpu

SHARE = 0.3
"""Of the GPU's memory that the engine takes, most of it cache."""

PROBLEMS = [Problem(f"p{first}", f"What is {first} + 5?", str(first + 5), "test") for first in range(2, 8)]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return validate_recipe(
        {
            "policy": {"max_context": 512},
            "placement": {"mode": "colocated"},
            "publishing": {"transport": "cuda_ipc", "verification": "full"},
            "engine": {"max_sequences": 16, "gpu_memory_utilization": SHARE},
            "sandbox": {"workers": 1, "preload": []},
        },
        "test",
    )


@pytest.fixture(scope="module")
def workers(ray_cluster: Any, tiny_policies: Any, recipe: Recipe) -> Iterator[Workers]:
    if not torch.cuda.is_available():
        pytest.skip("a CUDA device is needed, and there is none")
    with started_workers(recipe, tiny_policies.taught) as started:
        yield started


def free_share() -> float:
    """Of one GPU's memory; the others are not used."""
    return sum(free / whole for free, whole in map(torch.cuda.mem_get_info, range(torch.cuda.device_count())))


def sample(workers: Workers, recipe: Recipe) -> list[Group]:
    settings = RolloutSettings(SamplingConfig(temperature=0.0, max_new_tokens=64), "bare", recipe.policy.max_context)
    uids = [f"g{index}" for index in range(len(PROBLEMS))]
    return workers.fleet.episode_groups(PROBLEMS, uids, group_size=1, settings=settings, seed=0)


def tokens(groups: list[Group]) -> list[tuple[int, ...]]:
    return [tuple(trajectory.ids) for group in groups for trajectory in group.trajectories]


def begin(workers: Workers) -> None:
    workers.learners_turn()
    workers.learners.begin_sft(OptimizerConfig(learning_rate=1e-3), total_updates=2)


def two_rounds(workers: Workers, recipe: Recipe) -> tuple[list[Any], list[WeightPublication]]:
    """What is sampled before, between and after two updates on the first samples; and both publications."""
    groups = sample(workers, recipe)
    sequences = [from_demonstration(t, mask_observations=True) for group in groups for t in group.trajectories]
    sampled, published = [tokens(groups)], []
    for _ in range(2):
        workers.learners_turn()
        workers.learners.sft(sequences)
        published.append(workers.publish())
        sampled.append(tokens(sample(workers, recipe)))
    return sampled, published


def test_memory_goes_to_whose_turn_it_is(workers: Workers, recipe: Recipe) -> None:
    before, answers = free_share(), tokens(sample(workers, recipe))
    for _ in range(2):
        begin(workers)
        assert free_share() - before > 0.8 * SHARE, "the engine sleeps, and keeps its memory"
        workers.engines_turn()
        assert free_share() - before < 0.2 * SHARE
        assert tokens(sample(workers, recipe)) == answers, "its weights are not those with which it fell asleep"


def test_rounds_in_turns_are_those_of_an_engine_and_a_learner_that_never_rest(
    workers: Workers, recipe: Recipe, tmp_path: Path
) -> None:
    begin(workers)
    workers.learners.save(tmp_path / "checkpoint")
    results = []
    for share_gpus in (True, False):
        begin(workers)
        workers.learners.load(tmp_path / "checkpoint")
        workers.publish()
        if not share_gpus:
            workers.learners.reload_states()
        results.append(two_rounds(replace(workers, share_gpus=share_gpus), recipe))
    (in_turns, published), (at_once, _) = results
    assert in_turns == at_once
    assert all(publication.max_logprob_gap < 1e-3 for publication in published)
